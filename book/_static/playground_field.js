// The numerics of the playground: nevf_lite's grid, warp and integrate in two dimensions.
//
// A field is a Float32Array of 2 * n values for a grid `shape` = [columns, rows], n = their product:
// first the components along axis 0 (to the right), then those along axis 1 (up), in voxels. Voxel
// (i, j) has the index i * shape[1] + j. As in nevf_lite, a displacement u stands for the map
// phi(x) = x + u(x), interpolation is linear, and outside the grid the edge value goes on.
"use strict";

window.nevfField = (() => {
  const SPAN = 4; // a Gaussian ends at four sigma

  // The velocity of one stroke: its tangent, smoothed. A long straight stroke has speed 1 along its
  // middle; one shorter than about two sigma has less; going over a place twice gives twice as much.
  // stroke: [[x, y], ...] in voxels. sigma: voxels.
  function strokeField(stroke, sigma, shape) {
    const [columns, rows] = shape;
    const n = columns * rows;
    const drawn = splat(stroke, shape);
    const reach = Math.floor(SPAN * sigma + 0.5);
    const kernel = new Float64Array(2 * reach + 1);
    for (let k = -reach; k <= reach; k++) kernel[k + reach] = Math.exp(-0.5 * (k / sigma) ** 2);
    const total = kernel.reduce((a, b) => a + b, 0);
    for (let k = 0; k < kernel.length; k++) kernel[k] /= total;

    const field = new Float32Array(2 * n);
    const line = new Float64Array(rows);
    const gain = Math.sqrt(2 * Math.PI) * sigma;
    for (let c = 0; c < 2; c++) {
      for (let i = 0; i < columns; i++) {
        if (!smoothLine(drawn, c * n + i * rows, rows, kernel, reach, line)) continue;
        const last = Math.min(columns - 1, i + reach);
        for (let a = Math.max(0, i - reach); a <= last; a++) {
          const weight = gain * kernel[a - i + reach];
          const at = c * n + a * rows;
          for (let j = 0; j < rows; j++) field[at + j] += weight * line[j];
        }
      }
    }
    return field;
  }

  // The pieces of a stroke, at most a voxel long, shared out to the four voxels around each.
  function splat(stroke, shape) {
    const [columns, rows] = shape;
    const n = columns * rows;
    const drawn = new Float64Array(2 * n);
    for (let s = 1; s < stroke.length; s++) {
      const [x0, y0] = stroke[s - 1];
      const dx = stroke[s][0] - x0;
      const dy = stroke[s][1] - y0;
      const parts = Math.max(1, Math.ceil(Math.hypot(dx, dy)));
      for (let p = 0; p < parts; p++) {
        const x = x0 + (dx * (p + 0.5)) / parts;
        const y = y0 + (dy * (p + 0.5)) / parts;
        const i = Math.floor(x);
        const j = Math.floor(y);
        for (let a = 0; a < 2; a++) {
          for (let b = 0; b < 2; b++) {
            if (i + a < 0 || i + a >= columns || j + b < 0 || j + b >= rows) continue;
            const share = (1 - Math.abs(x - i - a)) * (1 - Math.abs(y - j - b));
            const at = (i + a) * rows + j + b;
            drawn[at] += (share * dx) / parts;
            drawn[n + at] += (share * dy) / parts;
          }
        }
      }
    }
    return drawn;
  }

  // Smooths `size` values from `start` into `line`; false, and nothing done, where all are zero.
  function smoothLine(values, start, size, kernel, reach, line) {
    let any = false;
    for (let j = 0; j < size; j++) {
      const value = values[start + j];
      if (value === 0) continue;
      if (!any) line.fill(0);
      any = true;
      const last = Math.min(size - 1, j + reach);
      for (let b = Math.max(0, j - reach); b <= last; b++) line[b] += value * kernel[b - j + reach];
    }
    return any;
  }

  // The displacement of x -> second(first(x)): first(x) + second(x + first(x)), border padding.
  function compose(first, second, shape, out = new Float32Array(first.length)) {
    const [columns, rows] = shape;
    const n = columns * rows;
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++) {
        const x = Math.min(Math.max(i + first[p], 0), columns - 1);
        const y = Math.min(Math.max(j + first[n + p], 0), rows - 1);
        const a = Math.min(x | 0, columns - 2);
        const b = Math.min(y | 0, rows - 2);
        const fx = x - a;
        const fy = y - b;
        const w00 = (1 - fx) * (1 - fy);
        const w01 = (1 - fx) * fy;
        const w10 = fx * (1 - fy);
        const w11 = fx * fy;
        const q = a * rows + b;
        const r = q + rows;
        out[p] =
          first[p] + w00 * second[q] + w01 * second[q + 1] + w10 * second[r] + w11 * second[r + 1];
        const s = q + n;
        const t = r + n;
        out[n + p] =
          first[n + p] +
          w00 * second[s] +
          w01 * second[s + 1] +
          w10 * second[t] +
          w11 * second[t + 1];
      }
    }
    return out;
  }

  // exp(v) by scaling and squaring, equation 2: divide by 2^steps, then compose `steps` times.
  function scalingAndSquaring(velocity, steps, shape) {
    let u = velocity.map((value) => value / 2 ** steps);
    let spare = new Float32Array(u.length);
    for (let k = 0; k < steps; k++) [u, spare] = [compose(u, u, shape, spare), u];
    return u;
  }

  // det(I + grad u) by forward differences: (columns - 1) x (rows - 1) cells, a fold at 0 or below.
  function jacobianDeterminant(u, shape) {
    const [columns, rows] = shape;
    const n = columns * rows;
    const cells = new Float32Array((columns - 1) * (rows - 1));
    for (let i = 0, c = 0; i < columns - 1; i++) {
      for (let j = 0; j < rows - 1; j++, c++) {
        const p = i * rows + j;
        const xx = 1 + u[p + rows] - u[p];
        const xy = u[n + p + rows] - u[n + p];
        const yx = u[p + 1] - u[p];
        const yy = 1 + u[n + p + 1] - u[n + p];
        cells[c] = xx * yy - xy * yx;
      }
    }
    return cells;
  }

  // How far phi(inverse(x)) lies from x, in voxels: mean and largest over the voxels that `inverse`
  // keeps on the grid (beyond it there is nothing to come back to).
  function roundTrip(u, inverse, shape) {
    const [columns, rows] = shape;
    const n = columns * rows;
    const left = compose(inverse, u, shape);
    let sum = 0;
    let count = 0;
    let max = 0;
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++) {
        const x = i + inverse[p];
        const y = j + inverse[n + p];
        if (x < 0 || x > columns - 1 || y < 0 || y > rows - 1) continue;
        const error = Math.hypot(left[p], left[n + p]);
        sum += error;
        count++;
        if (error > max) max = error;
      }
    }
    return { mean: count ? sum / count : 0, max };
  }

  // Everything the page shows of a velocity: integrated (`flows`), or used as a displacement. The
  // opposite map is exp(-v) or -v; `across` are its determinants.
  function study(velocity, flows, steps, shape) {
    const minus = velocity.map((value) => -value);
    const displacement = flows ? scalingAndSquaring(velocity, steps, shape) : velocity;
    const inverse = flows ? scalingAndSquaring(minus, steps, shape) : minus;
    const determinants = jacobianDeterminant(displacement, shape);
    const found = { velocity, displacement, inverse, determinants, folds: 0, longest: 0 };
    found.across = jacobianDeterminant(inverse, shape);
    found.low = found.high = determinants[0];
    for (const value of determinants) {
      if (value <= 0) found.folds++;
      if (value < found.low) found.low = value;
      if (value > found.high) found.high = value;
    }
    const n = shape[0] * shape[1];
    for (let p = 0; p < n; p++) {
      const moved = Math.hypot(displacement[p], displacement[n + p]);
      if (moved > found.longest) found.longest = moved;
    }
    found.roundTrip = roundTrip(displacement, inverse, shape);
    return found;
  }

  return { strokeField, compose, scalingAndSquaring, jacobianDeterminant, roundTrip, study };
})();
