'use strict';
// The page's data, unpacked, and interpolated at any time and position. Lengths are mm along the
// box's axes (0 right, 1 front, 2 up). Arrays have three axes, the last one fastest; a slice has
// one voxel along the third.

async function inflate(text) {
  const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const product = (shape) => shape.reduce((a, b) => a * b, 1);
const clamp = (value, low, high) => Math.max(low, Math.min(value, high));

// Zigzag integers (0, -1, 1, -2, ...): all low bytes, then all high bytes.
function unpack(bytes, offset, count) {
  const values = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const code = bytes[offset + i] + 256 * bytes[offset + count + i];
    values[i] = code % 2 ? -(code + 1) / 2 : code / 2;
  }
  return values;
}

// Grey levels, stored as differences along the last two axes.
function unpackScan(bytes, offset, shape) {
  const [n0, n1, n2] = shape;
  const values = bytes.slice(offset, offset + n0 * n1 * n2);
  for (let i = 0; i < n0 * n1; i++) {
    for (let k = 1; k < n2; k++) values[i * n2 + k] += values[i * n2 + k - 1];
    if (i % n1) for (let k = 0; k < n2; k++) values[i * n2 + k] += values[(i - 1) * n2 + k];
  }
  return values;
}

class Model {
  constructor(meta, bytes) {
    Object.assign(this, meta); // ndim, lattice, scan, extent, frames, step, folds, levels, ...
    const { ndim, frames } = meta;
    const n = product(this.lattice);
    const counts = this.folds.map((f) => f.shown * ndim);
    const total = frames * ndim * n + counts.reduce((a, b) => a + b, 0);
    const ints = unpack(bytes, 0, total);
    const last = ints.subarray(0, ndim * n);
    for (let i = 0; i < last.length; i++) if (i % n) last[i] += last[i - 1];
    this.keyframes = [new Float32Array(3 * n)];
    for (let f = 1; f <= frames; f++) {
      const u = new Float32Array(3 * n);
      for (let i = 0; i < ndim * n; i++) {
        const linear = Math.floor((f * last[i]) / frames + 0.5);
        u[i] = this.step * (f < frames ? ints[f * ndim * n + i] + linear : last[i]);
      }
      this.keyframes.push(u);
    }
    let offset = frames * ndim * n;
    this.foldPoints = [[], ...counts.map((c) => ints.subarray(offset, (offset += c)))];
    const bits = 2 * total;
    const bit = (_, i) => (bytes[bits + (i >> 3)] >> (7 - (i & 7))) & 1;
    this.brain = Float32Array.from({ length: n }, bit);
    const scans = bits + ((n + 7) >> 3);
    const size = product(this.scan);
    this.moving = unpackScan(bytes, scans, this.scan);
    this.fixed = this.hasFixed ? unpackScan(bytes, scans + size, this.scan) : null;
    this.cell = this.lattice.map((m, a) => (m > 1 ? this.extent[a] / (m - 1) : 1));
    this.spacing = this.scan.map((m, a) => (m > 1 ? this.extent[a] / (m - 1) : 1));
    this.stride = [this.lattice[1] * this.lattice[2], this.lattice[2], 1];
    this.n = n;
    this.setTime(0);
  }

  // Sets the nodes' displacement u, (3, nodes), and position x + u(x) at time t.
  setTime(t) {
    const { frames, n } = this;
    const k = Math.min(Math.floor(t * frames), frames - 1);
    const fraction = t * frames - k;
    const [a, b] = [this.keyframes[k], this.keyframes[k + 1]];
    this.time = t;
    this.u = a.map((value, i) => value + fraction * (b[i] - value));
    this.position = this.u.slice();
    const [n0, n1, n2] = this.lattice;
    let i = 0;
    this.maxDisplacement = 0;
    for (let x = 0; x < n0; x++)
      for (let y = 0; y < n1; y++)
        for (let z = 0; z < n2; z++, i++) {
          const [p, q, r] = [this.u[i], this.u[n + i], this.u[2 * n + i]];
          if (this.brain[i])
            this.maxDisplacement = Math.max(this.maxDisplacement, Math.hypot(p, q, r));
          this.position[i] = p + x * this.cell[0];
          this.position[n + i] = q + y * this.cell[1];
          this.position[2 * n + i] = r + z * this.cell[2];
        }
    this.frame = Math.round(t * frames); // the nearest time with a fold count
    this.jacobian = this.determinants();
  }

  // The Jacobian determinant at each node, by finite differences.
  determinants() {
    const { n, ndim, lattice, position, stride } = this;
    const out = new Float32Array(n);
    const j = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    for (let i = 0; i < n; i++) {
      const index = this.index(i);
      for (let a = 0; a < ndim; a++) {
        const low = index[a] > 0 ? i - stride[a] : i;
        const high = index[a] < lattice[a] - 1 ? i + stride[a] : i;
        const length = (this.cell[a] * (high - low)) / stride[a];
        for (let c = 0; c < ndim; c++)
          j[a][c] = (position[c * n + high] - position[c * n + low]) / length;
      }
      const [[a, b, c], [d, e, f], [g, h, k]] = j;
      out[i] = a * (e * k - f * h) - b * (d * k - f * g) + c * (d * h - e * g);
    }
    return out;
  }

  // The position of a point of the fixed scan at this time, linearly interpolated.
  mapPoint(point) {
    const { n, lattice } = this;
    const [x, y, z] = [0, 1, 2].map((a) => this.neighbours(lattice[a], point[a] / this.cell[a]));
    const out = point.slice();
    for (const [i, wx] of x) for (const [j, wy] of y) for (const [k, wz] of z) {
      const node = (i * lattice[1] + j) * lattice[2] + k;
      for (let c = 0; c < 3; c++) out[c] += wx * wy * wz * this.u[c * n + node];
    }
    return out;
  }

  // [index, weight] of the nodes around a coordinate on an axis of `count` nodes.
  neighbours(count, coordinate) {
    const low = clamp(Math.floor(coordinate), 0, count - 2);
    const weight = clamp(coordinate - low, 0, 1);
    return count > 1 ? [[low, 1 - weight], [low + 1, weight]] : [[0, 1]];
  }

  // Node values, `channels` of them at i, n + i, ..., on a plane across an axis.
  onPlane(values, channels, across, level) {
    const { lattice, n, cell, stride } = this;
    const [b, c] = this.planeAxes(across);
    const out = new Float32Array(channels * lattice[b] * lattice[c]);
    for (const [m, weight] of this.neighbours(lattice[across], level / cell[across]))
      for (let i = 0, o = 0; i < lattice[b]; i++)
        for (let j = 0; j < lattice[c]; j++)
          for (let k = 0; k < channels; k++, o++)
            out[o] += weight * values[k * n + i * stride[b] + j * stride[c] + m * stride[across]];
    return out;
  }

  // A plane of a scan at `level` mm: `width` x `height` values from 0 to 1, the first row at the
  // top. If `warped`, each is sampled at its deformed position.
  slice(scan, across, level, width, height, warped) {
    const [b, c] = this.planeAxes(across);
    const { lattice } = this;
    const flat = warped ? this.onPlane(this.u, 3, across, level) : null;
    const columns = Array.from({ length: width }, (_, x) =>
      this.neighbours(lattice[b], (x / (width - 1)) * (lattice[b] - 1)));
    const out = new Float32Array(width * height);
    const point = [0, 0, 0];
    const u = [0, 0, 0];
    for (let y = 0, o = 0; y < height; y++) {
      const up = 1 - y / (height - 1);
      const [[j0, v0], [j1, v1]] = this.neighbours(lattice[c], up * (lattice[c] - 1));
      for (let x = 0; x < width; x++, o++) {
        if (warped) {
          const [[i0, w0], [i1, w1]] = columns[x];
          const m = lattice[c];
          for (let k = 0; k < 3; k++)
            u[k] = w0 * (v0 * flat[3 * (i0 * m + j0) + k] + v1 * flat[3 * (i0 * m + j1) + k]) +
              w1 * (v0 * flat[3 * (i1 * m + j0) + k] + v1 * flat[3 * (i1 * m + j1) + k]);
        }
        point[b] = (x / (width - 1)) * this.extent[b] + u[b];
        point[c] = up * this.extent[c] + u[c];
        point[across] = level + u[across];
        out[o] = this.sample(scan, point[0], point[1], point[2]);
      }
    }
    return out;
  }

  // A node's index along each axis.
  index(node) {
    const [, n1, n2] = this.lattice;
    return [Math.floor(node / (n1 * n2)), Math.floor(node / n2) % n1, node % n2];
  }

  // The axes that run right and up in a plane.
  planeAxes(across) {
    return [0, 1, 2].filter((a) => a !== across);
  }

  // A scan at a point, linearly interpolated, 0 outside.
  sample(scan, x, y, z) {
    const [n0, n1, n2] = this.scan;
    x /= this.spacing[0]; y /= this.spacing[1]; z /= this.spacing[2];
    const i = Math.floor(x), j = Math.floor(y), k = Math.floor(z);
    if (i < -1 || j < -1 || k < -1 || i >= n0 || j >= n1 || k >= n2) return 0;
    const [a, b, c] = [x - i, y - j, z - k];
    const s0 = n1 * n2;
    let sum = 0;
    if (i >= 0 && j >= 0 && k >= 0 && i < n0 - 1 && j < n1 - 1 && k < n2 - 1) {
      const o = i * s0 + j * n2 + k; // unrolled for speed
      const front = (1 - c) * ((1 - b) * scan[o] + b * scan[o + n2]) +
        c * ((1 - b) * scan[o + 1] + b * scan[o + n2 + 1]);
      const back = (1 - c) * ((1 - b) * scan[o + s0] + b * scan[o + s0 + n2]) +
        c * ((1 - b) * scan[o + s0 + 1] + b * scan[o + s0 + n2 + 1]);
      return ((1 - a) * front + a * back) / (this.levels - 1);
    }
    for (let e = 0; e < 8; e++) { // at the border: 0 outside
      const [p, q, r] = [i + (e & 1), j + ((e >> 1) & 1), k + (e >> 2)];
      if (p < 0 || q < 0 || r < 0 || p >= n0 || q >= n1 || r >= n2) continue;
      const weight = (e & 1 ? a : 1 - a) * (e & 2 ? b : 1 - b) * (e & 4 ? c : 1 - c);
      sum += weight * scan[p * s0 + q * n2 + r];
    }
    return sum / (this.levels - 1);
  }
}
