// Chapter "Voxel parameter or neural field?": who moves when one point asks, for a voxel
// parameter, a SIREN and lattices of four spacings that are summed.
"use strict";

// The tangent kernel of the first component: the derivatives of v(x) and of v(x0) by all
// parameters, multiplied and summed. A step along the gradient of v(x0) changes v(x) by it.
window.nevfTangent = (() => {
  // What every point keeps of each layer: what went into it, and how v hangs on what came out.
  function remember({ layers, omega }, shape) {
    const longest = Math.max(...shape) - 1;
    const last = layers.length - 1;
    const width = layers[0].rows;
    const count = shape[0] * shape[1];
    const inputs = layers.map(({ columns }) => new Float32Array(count * columns));
    const pulls = layers.map(({ rows }, k) => (k === last ? null : new Float32Array(count * rows)));
    const slopes = Array.from({ length: last }, () => new Float32Array(width));
    for (let i = 0, p = 0; i < shape[0]; i++) {
      for (let j = 0; j < shape[1]; j++, p++) {
        inputs[0][2 * p] = (((2 * i) / (shape[0] - 1) - 1) * (shape[0] - 1)) / longest;
        inputs[0][2 * p + 1] = (((2 * j) / (shape[1] - 1) - 1) * (shape[1] - 1)) / longest;
        for (let k = 0; k < last; k++) {
          const { weight, bias, rows, columns } = layers[k];
          for (let row = 0, at = 0; row < rows; row++) {
            let sum = bias[row];
            for (let c = 0; c < columns; c++) sum += weight[at++] * inputs[k][p * columns + c];
            inputs[k + 1][p * rows + row] = Math.sin(omega * sum);
            slopes[k][row] = omega * Math.cos(omega * sum);
          }
        }
        for (let k = last - 1; k >= 0; k--) {
          const { weight, rows, columns } = layers[k + 1];
          const above = k === last - 1 ? 1 : rows; // of the head, the first component alone
          for (let c = 0; c < columns; c++) {
            let sum = 0;
            for (let row = 0; row < above; row++) {
              const pull = k === last - 1 ? 1 : pulls[k + 1][p * rows + row];
              sum += weight[row * columns + c] * pull;
            }
            pulls[k][p * columns + c] = sum * slopes[k][c];
          }
        }
      }
    }
    return { inputs, pulls, layers };
  }

  const dot = (values, size, p, q) => {
    let sum = 0;
    for (let c = 0; c < size; c++) sum += values[p * size + c] * values[q * size + c];
    return sum;
  };

  // The kernel of a SIREN between every point and point q, from what `remember` returned.
  function siren({ inputs, pulls, layers }, q) {
    const count = inputs[0].length / 2;
    const out = new Float32Array(count);
    for (let p = 0; p < count; p++) {
      layers.forEach(({ rows, columns }, k) => {
        const through = 1 + dot(inputs[k], columns, p, q); // 1: the bias
        out[p] += through * (pulls[k] ? dot(pulls[k], rows, p, q) : 1);
      });
    }
    return out;
  }

  // The share of each node of a lattice of n / spacing nodes at voxel x of an axis of n.
  function hats(n, spacing, x) {
    const nodes = Math.ceil(n / spacing);
    const at = (x * (nodes - 1)) / (n - 1);
    return Array.from({ length: nodes }, (_, node) => Math.max(0, 1 - Math.abs(at - node)));
  }

  // The kernel of velocities on lattices of several spacings, summed: one spacing of 1 is a voxel
  // parameter.
  function lattices(spacings, shape, [x, y]) {
    const out = new Float32Array(shape[0] * shape[1]);
    for (const spacing of spacings) {
      const along = [x, y].map((place, axis) => {
        const asked = hats(shape[axis], spacing, place);
        return Array.from({ length: shape[axis] }, (_, k) =>
          hats(shape[axis], spacing, k).reduce((sum, share, node) => sum + share * asked[node], 0),
        );
      });
      for (let i = 0, p = 0; i < shape[0]; i++) {
        for (let j = 0; j < shape[1]; j++, p++) out[p] += along[0][i] * along[1][j];
      }
    }
    return out;
  }

  return { remember, siren, lattices };
})();

(() => {
  const live = window.nevfLive;
  const { start } = window.nevfSiren;
  const { remember, siren, lattices } = window.nevfTangent;
  const SHAPE = [61, 73];
  const OMEGAS = [5, 7, 10, 14, 20, 30, 42, 60];
  const SPACINGS = [16, 8, 4, 2];

  live.mount("kernel", (host) => {
    const state = { omega: 10, seed: 1, x: 30, y: 36 };
    const panels = [
      live.panel("Voxel parameter", "Who moves with a voxel parameter: one voxel"),
      live.panel("SIREN", "Who moves with a SIREN: a spot, and faint waves"),
      live.panel("Lattices, summed", "Who moves with lattices of four spacings: a spot with a rim"),
    ];
    const words = live.make("p", { class: "nl-words", role: "status" });
    let known = null;
    const later = live.onFrame(draw);
    const set = (name) => (value) => {
      state[name] = value;
      if (name === "omega") known = null;
      later();
    };
    const voxels = (n) => Array.from({ length: n }, (_, k) => k);
    const omega = live.slider("Frequency ω₀", OMEGAS, state.omega, String, set("omega"));
    const across = live.slider("Point, across", voxels(SHAPE[0]), state.x, String, set("x"));
    const up = live.slider("Point, up", voxels(SHAPE[1]), state.y, String, set("y"));
    const again = live.button("Another network", () => {
      state.seed += 1;
      known = null;
      later();
    });
    host.append(
      live.make("div", { class: "nl-controls" }, omega.element, across.element, up.element),
      live.make("div", { class: "nevf-buttons" }, again),
      live.make("div", { class: "nl-bench nl-three" }, ...panels.map(({ element }) => element)),
      words,
    );

    for (const { canvas } of panels) {
      const ask = (event) => {
        const box = canvas.getBoundingClientRect();
        const share = [(event.clientX - box.left) / box.width, (box.bottom - event.clientY) / box.height];
        [state.x, state.y] = share.map((s, c) =>
          Math.min(SHAPE[c] - 1, Math.max(0, Math.floor(s * SHAPE[c]))),
        );
        across.set(state.x);
        up.set(state.y);
        later();
      };
      canvas.addEventListener("pointermove", ask);
      canvas.addEventListener("pointerdown", ask);
    }

    // A cross that leaves the point itself free.
    function cross(pen, { width, height }) {
      const [x, y] = [((state.x + 0.5) / SHAPE[0]) * width, (1 - (state.y + 0.5) / SHAPE[1]) * height];
      const size = width / SHAPE[0];
      pen.strokeStyle = live.STYLE.FIXED;
      pen.lineWidth = Math.max(1, width / 260);
      pen.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + 1.2 * size * dx, y + 1.2 * size * dy);
        pen.lineTo(x + 3.2 * size * dx, y + 3.2 * size * dy);
      }
      pen.stroke();
    }

    function draw() {
      known ??= remember(start(state.omega, { seed: state.seed }), SHAPE);
      const place = [state.x, state.y];
      const point = state.x * SHAPE[1] + state.y;
      const kernels = [
        lattices([1], SHAPE, place),
        siren(known, point),
        lattices(SPACINGS, SHAPE, place),
      ];
      const half = kernels.map((values, k) => {
        const top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const { canvas } = panels[k];
        cross(live.paint(canvas, values, SHAPE, (v) => live.signed(v / top), k > 0), canvas);
        return values.reduce((sum, value) => sum + (value > top / 2), 0);
      });
      words.textContent =
        "At least half as much as the point itself move: voxel parameter " +
        `${half[0]} voxel, SIREN ${half[1]}, lattices ${half[2]}.`;
      host.dataset.measured = JSON.stringify({ ...state, half });
    }
    return draw;
  });
})();
