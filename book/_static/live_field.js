// A random SIREN in two dimensions, as nevf_lite.fields.SirenField draws it: equation B5.
//
// A field is { layers, omega }; a layer { weight, bias, rows, columns } with weights row by row.
// Values on a grid are in the order of playground_field.js: two planes, voxel (i, j) at
// i * shape[1] + j.
"use strict";

window.nevfSiren = (() => {
  // Mulberry32: small, seeded, good enough for weights.
  function random(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  // The first layer's weights lie within 1 / d, the later ones' within sqrt(6 / n) / omega; biases
  // as torch starts them, that of the head at 0.
  function start(omega, { seed = 1, width = 48, depth = 4 } = {}) {
    const draw = random(seed);
    const layers = [];
    for (let k = 0; k <= depth; k++) {
      const columns = k === 0 ? 2 : width;
      const rows = k === depth ? 2 : width;
      const bound = k === 0 ? 1 / 2 : Math.sqrt(6 / width) / omega;
      const weight = Float32Array.from({ length: rows * columns }, () => (2 * draw() - 1) * bound);
      const spread = k === depth ? 0 : 1 / Math.sqrt(columns);
      const bias = Float32Array.from({ length: rows }, () => (2 * draw() - 1) * spread);
      layers.push({ weight, bias, rows, columns });
    }
    return { layers, omega };
  }

  // What the field says at the nodes of a lattice over the box of `shape`, corners shared: two
  // planes of nodes[0] * nodes[1] values.
  function onLattice({ layers, omega }, shape, nodes) {
    const count = nodes[0] * nodes[1];
    const longest = Math.max(...shape) - 1;
    const out = new Float32Array(2 * count);
    let before = new Float32Array(64);
    let after = new Float32Array(64);
    for (let i = 0, p = 0; i < nodes[0]; i++) {
      for (let j = 0; j < nodes[1]; j++, p++) {
        before[0] = (((2 * i) / (nodes[0] - 1) - 1) * (shape[0] - 1)) / longest;
        before[1] = (((2 * j) / (nodes[1] - 1) - 1) * (shape[1] - 1)) / longest;
        for (let k = 0; k < layers.length; k++) {
          const { weight, bias, rows, columns } = layers[k];
          for (let row = 0, at = 0; row < rows; row++) {
            let sum = bias[row];
            for (let column = 0; column < columns; column++) sum += weight[at++] * before[column];
            after[row] = k < layers.length - 1 ? Math.sin(omega * sum) : sum;
          }
          [before, after] = [after, before];
        }
        out[p] = before[0];
        out[count + p] = before[1];
      }
    }
    return out;
  }

  // Linear interpolation of two planes from one lattice over a box to another, corners shared.
  function resize(values, from, to) {
    const out = new Float32Array(2 * to[0] * to[1]);
    const place = (k, axis) => {
      const x = (k * (from[axis] - 1)) / (to[axis] - 1);
      const low = Math.min(Math.floor(x), from[axis] - 2);
      return [low, x - low];
    };
    for (let i = 0, p = 0; i < to[0]; i++) {
      const [a, fx] = place(i, 0);
      for (let j = 0; j < to[1]; j++, p++) {
        const [b, fy] = place(j, 1);
        for (let c = 0; c < 2; c++) {
          const q = c * from[0] * from[1] + a * from[1] + b;
          const low = values[q] + fy * (values[q + 1] - values[q]);
          const r = q + from[1];
          const high = values[r] + fy * (values[r + 1] - values[r]);
          out[c * to[0] * to[1] + p] = low + fx * (high - low);
        }
      }
    }
    return out;
  }

  // Takes the mean off each plane and makes the longest vector `largest` long, in place.
  function scaled(values, largest) {
    const n = values.length / 2;
    for (let c = 0; c < 2; c++) {
      let mean = 0;
      for (let p = 0; p < n; p++) mean += values[c * n + p] / n;
      for (let p = 0; p < n; p++) values[c * n + p] -= mean;
    }
    let longest = 0;
    for (let p = 0; p < n; p++) longest = Math.max(longest, Math.hypot(values[p], values[n + p]));
    for (let p = 0; p < 2 * n; p++) values[p] *= largest / (longest || 1);
    return values;
  }

  // The correlation of the field with itself, 0 to far - 1 voxels away along both axes.
  function autocorrelation(values, shape, far) {
    const [columns, rows] = shape;
    const n = columns * rows;
    const sums = new Float64Array(far);
    for (let k = 0; k < far; k++) {
      for (const [di, dj] of [
        [k, 0],
        [0, k],
      ]) {
        let sum = 0;
        for (let c = 0; c < 2; c++) {
          for (let i = 0; i + di < columns; i++) {
            for (let j = 0; j + dj < rows; j++) {
              const p = c * n + i * rows + j;
              sum += values[p] * values[p + di * rows + dj];
            }
          }
        }
        sums[k] += sum / ((columns - di) * (rows - dj));
      }
    }
    return Array.from(sums, (sum) => sum / sums[0]);
  }

  return { random, start, onLattice, resize, scaled, autocorrelation };
})();
