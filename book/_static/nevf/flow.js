// Interpolation, scaling and squaring, and their derivatives: nevf_lite/grid.py, warp.py and
// integrate.py. Fields have 2 * n values: first the components along axis 0, then along axis 1.
"use strict";

function nevfFlow() {
  // Where each of `to` samples lies among `from`, corners shared: lower neighbour and fraction.
  function places(from, to) {
    const low = new Int32Array(to);
    const part = new Float64Array(to);
    for (let k = 0; k < to; k++) {
      const at = (k * (from - 1)) / (to - 1);
      low[k] = Math.min(Math.floor(at), from - 2);
      part[k] = at - low[k];
    }
    return { low, part };
  }

  // A plan of `grid.resize` for fields, from one grid to another.
  function resizer(from, to) {
    return { from, to, x: places(from[0], to[0]), y: places(from[1], to[1]) };
  }

  // Linear interpolation of a field (2, *from) to (2, *to).
  function resize({ from, to, x, y }, field, out) {
    const [n, m] = [from[0] * from[1], to[0] * to[1]];
    for (let c = 0; c < 2; c++) {
      for (let i = 0, p = c * m; i < to[0]; i++) {
        const left = c * n + x.low[i] * from[1];
        const right = left + from[1];
        const fx = x.part[i];
        for (let j = 0; j < to[1]; j++, p++) {
          const b = y.low[j];
          const fy = y.part[j];
          const start = (1 - fy) * field[left + b] + fy * field[left + b + 1];
          const end = (1 - fy) * field[right + b] + fy * field[right + b + 1];
          out[p] = (1 - fx) * start + fx * end;
        }
      }
    }
    return out;
  }

  // Its adjoint: the gradient of the field from that of the result.
  function resizeBack({ from, to, x, y }, gradientOut, gradient) {
    const [n, m] = [from[0] * from[1], to[0] * to[1]];
    gradient.fill(0);
    for (let c = 0; c < 2; c++) {
      for (let i = 0, p = c * m; i < to[0]; i++) {
        const left = c * n + x.low[i] * from[1];
        const right = left + from[1];
        const fx = x.part[i];
        for (let j = 0; j < to[1]; j++, p++) {
          const b = y.low[j];
          const fy = y.part[j];
          const g = gradientOut[p];
          gradient[left + b] += (1 - fx) * (1 - fy) * g;
          gradient[left + b + 1] += (1 - fx) * fy * g;
          gradient[right + b] += fx * (1 - fy) * g;
          gradient[right + b + 1] += fx * fy * g;
        }
      }
    }
    return gradient;
  }

  // u(x) + u(x + u(x)): a displacement composed with itself. Outside, the edge value goes on.
  function square(u, [columns, rows], out) {
    const n = columns * rows;
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++) {
        const x = Math.min(Math.max(i + u[p], 0), columns - 1);
        const y = Math.min(Math.max(j + u[n + p], 0), rows - 1);
        const a = Math.min(x | 0, columns - 2);
        const b = Math.min(y | 0, rows - 2);
        const [fx, fy] = [x - a, y - b];
        const q = a * rows + b;
        const r = q + rows;
        const [w00, w01] = [(1 - fx) * (1 - fy), (1 - fx) * fy];
        const [w10, w11] = [fx * (1 - fy), fx * fy];
        out[p] = u[p] + w00 * u[q] + w01 * u[q + 1] + w10 * u[r] + w11 * u[r + 1];
        out[n + p] =
          u[n + p] + w00 * u[n + q] + w01 * u[n + q + 1] + w10 * u[n + r] + w11 * u[n + r + 1];
      }
    }
    return out;
  }

  // The gradient of u from that of `square(u)`, which reaches u in three ways: as what is added, as
  // the corners that were read, and as the place of reading. Beyond the rim the last is 0.
  function squareBack(u, [columns, rows], gradientOut, gradient) {
    const n = columns * rows;
    gradient.set(gradientOut);
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++) {
        const [px, py] = [i + u[p], j + u[n + p]];
        const x = Math.min(Math.max(px, 0), columns - 1);
        const y = Math.min(Math.max(py, 0), rows - 1);
        const a = Math.min(x | 0, columns - 2);
        const b = Math.min(y | 0, rows - 2);
        const [fx, fy] = [x - a, y - b];
        const q = a * rows + b;
        const r = q + rows;
        let [slopeX, slopeY] = [0, 0];
        for (let c = 0; c < 2; c++) {
          const s = c * n;
          const g = gradientOut[s + p];
          gradient[s + q] += (1 - fx) * (1 - fy) * g;
          gradient[s + q + 1] += (1 - fx) * fy * g;
          gradient[s + r] += fx * (1 - fy) * g;
          gradient[s + r + 1] += fx * fy * g;
          const [u00, u01, u10, u11] = [u[s + q], u[s + q + 1], u[s + r], u[s + r + 1]];
          slopeX += g * ((1 - fy) * (u10 - u00) + fy * (u11 - u01));
          slopeY += g * ((1 - fx) * (u01 - u00) + fx * (u11 - u10));
        }
        if (px > 0 && px < columns - 1) gradient[p] += slopeX;
        if (py > 0 && py < rows - 1) gradient[n + p] += slopeY;
      }
    }
    return gradient;
  }

  // Room for exp(v) on a grid: the displacement after each squaring, and two gradients.
  function room(shape, steps) {
    const size = 2 * shape[0] * shape[1];
    const stages = Array.from({ length: steps + 1 }, () => new Float64Array(size));
    return { shape, steps, stages, back: [new Float64Array(size), new Float64Array(size)] };
  }

  // exp(v) by scaling and squaring: the displacement, in the last stage of the room.
  function exponential(velocity, { shape, steps, stages }) {
    for (let k = 0; k < velocity.length; k++) stages[0][k] = velocity[k] / 2 ** steps;
    for (let k = 0; k < steps; k++) square(stages[k], shape, stages[k + 1]);
    return stages[steps];
  }

  // The gradient of the velocity from that of the displacement: the squarings, last to first.
  function exponentialBack({ shape, steps, stages, back }, gradientOut) {
    let [now, next] = back;
    now.set(gradientOut);
    for (let k = steps - 1; k >= 0; k--) {
      squareBack(stages[k], shape, now, next);
      [now, next] = [next, now];
    }
    for (let k = 0; k < now.length; k++) now[k] /= 2 ** steps;
    return now;
  }

  // The moving image at x + u(x), zero outside; `slopes` (2 * n) gets its slope there, by which the
  // gradient of u is that of the warped image times the slope.
  function pull(image, u, [columns, rows], out, slopes) {
    const n = columns * rows;
    const at = (a, b) =>
      a >= 0 && a < columns && b >= 0 && b < rows ? image[a * rows + b] : 0;
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++) {
        const [x, y] = [i + u[p], j + u[n + p]];
        const [a, b] = [Math.floor(x), Math.floor(y)];
        const [fx, fy] = [x - a, y - b];
        const [v00, v01] = [at(a, b), at(a, b + 1)];
        const [v10, v11] = [at(a + 1, b), at(a + 1, b + 1)];
        const [left, right] = [(1 - fy) * v00 + fy * v01, (1 - fy) * v10 + fy * v11];
        out[p] = (1 - fx) * left + fx * right;
        slopes[p] = right - left;
        slopes[n + p] = (1 - fx) * (v01 - v00) + fx * (v11 - v10);
      }
    }
    return out;
  }

  return {
    resizer,
    resize,
    resizeBack,
    square,
    squareBack,
    room,
    exponential,
    exponentialBack,
    pull,
  };
}
