// A wind of arrows as chapter "Velocity fields" makes it, random numbers smoothed over some voxels,
// and the paths of dust in it, as nevf_lite.integrate.integrate_ode walks them.
//
// Values are in the order of playground_field.js: two planes, voxel (i, j) at i * shape[1] + j.
"use strict";

window.nevfWind = (() => {
  // Gaussian smoothing of one plane along one axis, edge values going on: nevf_lite.grid.blur.
  function blur(values, [columns, rows], sigma, axis) {
    const reach = Math.max(1, Math.ceil(3 * sigma));
    const kernel = Array.from({ length: 2 * reach + 1 }, (_, k) =>
      Math.exp(-0.5 * ((k - reach) / sigma) ** 2),
    );
    const total = kernel.reduce((a, b) => a + b, 0);
    const [size, stride] = axis ? [rows, 1] : [columns, rows];
    const out = new Float32Array(values.length);
    for (let p = 0; p < values.length; p++) {
      const at = axis ? p % rows : Math.floor(p / rows);
      let sum = 0;
      for (let k = -reach; k <= reach; k++) {
        const other = Math.min(size - 1, Math.max(0, at + k));
        sum += kernel[k + reach] * values[p + (other - at) * stride];
      }
      out[p] = sum / total;
    }
    return out;
  }

  // A random field whose longest arrow is 1 voxel, cut from a larger one: near a rim, where edge
  // values go on, smoothed noise would be larger.
  function field(shape, sigma, seed) {
    const draw = window.nevfSiren.random(seed);
    const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
    const rim = Math.ceil(3 * sigma);
    const wide = shape.map((size) => size + 2 * rim);
    const n = shape[0] * shape[1];
    const out = new Float32Array(2 * n);
    for (let c = 0; c < 2; c++) {
      const noise = Float32Array.from({ length: wide[0] * wide[1] }, normal);
      const smooth = blur(blur(noise, wide, sigma, 0), wide, sigma, 1);
      for (let i = 0; i < shape[0]; i++) {
        const from = (i + rim) * wide[1] + rim;
        out.set(smooth.subarray(from, from + shape[1]), c * n + i * shape[1]);
      }
    }
    let longest = 0;
    for (let p = 0; p < n; p++) longest = Math.max(longest, Math.hypot(out[p], out[n + p]));
    return out.map((value) => value / longest);
  }

  // The wind at a place, between four voxels; beyond the border its value goes on.
  function at(v, [columns, rows], x, y) {
    const n = columns * rows;
    const i = Math.min(Math.max(x, 0), columns - 1);
    const j = Math.min(Math.max(y, 0), rows - 1);
    const a = Math.min(Math.floor(i), columns - 2);
    const b = Math.min(Math.floor(j), rows - 2);
    const [fx, fy, p] = [i - a, j - b, a * rows + b];
    return [p, n + p].map((q) => {
      const low = v[q] + fy * (v[q + 1] - v[q]);
      const high = v[q + rows] + fy * (v[q + rows + 1] - v[q + rows]);
      return low + fx * (high - low);
    });
  }

  // One step of length h from (x, y), by each of the rules of the chapter.
  const RULES = {
    euler: (wind, x, y, h) => wind(x, y).map((value) => h * value),
    midpoint: (wind, x, y, h) => {
      const [a, b] = wind(x, y);
      return wind(x + (h / 2) * a, y + (h / 2) * b).map((value) => h * value);
    },
    rk4: (wind, x, y, h) => {
      const k1 = wind(x, y);
      const k2 = wind(x + (h / 2) * k1[0], y + (h / 2) * k1[1]);
      const k3 = wind(x + (h / 2) * k2[0], y + (h / 2) * k2[1]);
      const k4 = wind(x + h * k3[0], y + h * k3[1]);
      return [0, 1].map((c) => (h / 6) * (k1[c] + 2 * k2[c] + 2 * k3[c] + k4[c]));
    },
  };

  // Where dust from (x, y) is after each of `steps` equal steps of one unit of time in all.
  function trail(v, shape, [x, y], method, steps) {
    const wind = (i, j) => at(v, shape, i, j);
    const path = [[x, y]];
    for (let k = 0; k < steps; k++) {
      const [dx, dy] = RULES[method](wind, x, y, 1 / steps);
      [x, y] = [x + dx, y + dy];
      path.push([x, y]);
    }
    return path;
  }

  // An arrow from (x, y) by (dx, dy), in pixels, with a tip that is no longer than half of it.
  function arrow(pen, x, y, dx, dy, tip) {
    const length = Math.hypot(dx, dy);
    const angle = Math.atan2(dy, dx);
    pen.moveTo(x, y);
    pen.lineTo(x + dx, y + dy);
    for (const side of [-2.6, 2.6]) {
      const barb = Math.min(tip, 0.5 * length);
      pen.moveTo(x + dx, y + dy);
      pen.lineTo(x + dx + barb * Math.cos(angle + side), y + dy + barb * Math.sin(angle + side));
    }
  }

  // The field on the canvas: an arrow every `every` voxels. Those of length `most`, by default the
  // longest of all, are as long as that; longer ones are drawn so, too.
  function arrows(pen, to, v, shape, every, most = 0) {
    const n = shape[0] * shape[1];
    const size = (p) => Math.hypot(v[p], v[n + p]);
    let whole = most;
    for (let p = 0; p < n && !most; p++) whole = Math.max(whole, size(p));
    pen.beginPath();
    for (let i = Math.floor(every / 2); i < shape[0]; i += every) {
      for (let j = Math.floor(every / 2); j < shape[1]; j += every) {
        const p = i * shape[1] + j;
        const length = (every * to.size) / Math.max(whole, size(p), 1e-12);
        const [dx, dy] = [length * v[p], -length * v[n + p]];
        if (Math.hypot(dx, dy) < 0.06 * every * to.size) continue;
        arrow(pen, to.x(i) - dx / 2, to.y(j) - dy / 2, dx, dy, 0.35 * every * to.size);
      }
    }
    pen.stroke();
  }

  // Runs draw(share) with share from 0 to 1 in `seconds`, again and again with a rest at the end,
  // while the canvas is on the screen. Nothing runs by itself where the reader wants no motion.
  function player(canvas, seconds, draw) {
    const rest = 1.2;
    let [frame, began, seen, wanted] = [0, 0, false, !window.nevfLive.still()];
    const button = window.nevfLive.button("", () => {
      wanted = !wanted;
      tell();
    });
    const step = (now) => {
      // a frame may be stamped before the moment at which it was asked for
      const passed = Math.max(0, (now - began) / 1000) % (seconds + rest);
      draw(Math.min(1, passed / seconds));
      frame = requestAnimationFrame(step);
    };
    const tell = () => {
      button.textContent = wanted ? "Pause" : "Play";
      cancelAnimationFrame(frame);
      if (!wanted || !seen) return;
      began = performance.now();
      frame = requestAnimationFrame(step);
    };
    new IntersectionObserver(([entry]) => {
      seen = entry.isIntersecting;
      tell();
    }).observe(canvas);
    tell();
    const stop = () => {
      wanted = false;
      tell();
    };
    return { button, stop };
  }

  return { blur, field, at, trail, arrow, arrows, player };
})();
