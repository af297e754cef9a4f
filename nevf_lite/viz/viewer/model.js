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
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

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
    let longest = 0;
    for (let x = 0; x < n0; x++)
      for (let y = 0; y < n1; y++)
        for (let z = 0; z < n2; z++, i++) {
          const p = this.u[i], q = this.u[n + i], r = this.u[2 * n + i];
          if (this.brain[i]) longest = Math.max(longest, p * p + q * q + r * r);
          this.position[i] = p + x * this.cell[0];
          this.position[n + i] = q + y * this.cell[1];
          this.position[2 * n + i] = r + z * this.cell[2];
        }
    this.maxDisplacement = Math.sqrt(longest);
    this.frame = Math.round(t * frames); // the nearest time with a fold count
    this.jacobian = this.determinants();
  }

  // The Jacobian determinant at each node, by finite differences.
  determinants() {
    const { n, ndim, lattice, position, stride, cell } = this;
    const out = new Float32Array(n);
    const j = [1, 0, 0, 0, 1, 0, 0, 0, 1]; // of a slice, the third axis stays
    for (let i = 0; i < n; i++) {
      for (let a = 0; a < ndim; a++) {
        const k = Math.floor(i / stride[a]) % lattice[a];
        const low = k > 0 ? i - stride[a] : i, high = k < lattice[a] - 1 ? i + stride[a] : i;
        const length = (cell[a] * (high - low)) / stride[a];
        for (let c = 0; c < ndim; c++)
          j[3 * a + c] = (position[c * n + high] - position[c * n + low]) / length;
      }
      out[i] = j[0] * (j[4] * j[8] - j[5] * j[7]) - j[1] * (j[3] * j[8] - j[5] * j[6])
        + j[2] * (j[3] * j[7] - j[4] * j[6]);
    }
    return out;
  }

  // Node values, `channels` of them at i, n + i, ..., at points (point, 3), linearly interpolated:
  // (point, channels).
  atNodes(values, channels, points) {
    const { n, stride, cell } = this;
    const [n0, n1, n2] = this.lattice;
    const out = new Float32Array((points.length / 3) * channels);
    for (let i = 0, o = 0; i < points.length; i += 3) {
      const x = clamp(points[i] / cell[0], 0, n0 - 1), x0 = Math.min(Math.floor(x), n0 - 2);
      const y = clamp(points[i + 1] / cell[1], 0, n1 - 1), y0 = Math.min(Math.floor(y), n1 - 2);
      const z = n2 > 1 ? clamp(points[i + 2] / cell[2], 0, n2 - 1) : 0;
      const z0 = n2 > 1 ? Math.min(Math.floor(z), n2 - 2) : 0, up = n2 > 1 ? 1 : 0;
      const [a, b, c] = [x - x0, y - y0, z - z0];
      for (let k = 0; k < channels; k++, o++) {
        const p = k * n + x0 * stride[0] + y0 * stride[1] + z0;
        const q = p + stride[1], r = p + stride[0], s = r + stride[1];
        out[o] = (1 - c) * ((1 - a) * ((1 - b) * values[p] + b * values[q])
            + a * ((1 - b) * values[r] + b * values[s]))
          + c * ((1 - a) * ((1 - b) * values[p + up] + b * values[q + up])
            + a * ((1 - b) * values[r + up] + b * values[s + up]));
      }
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

  // What `onPlane` gave, linearly interpolated to `width` x `height` pixels, the first row on top.
  spread(flat, channels, across, width, height) {
    const [nb, nc] = this.planeAxes(across).map((a) => this.lattice[a]);
    const columns = Array.from({ length: width }, (_, x) =>
      this.neighbours(nb, (x / (width - 1)) * (nb - 1)));
    const out = new Float32Array(channels * width * height);
    for (let y = 0, o = 0; y < height; y++) {
      const [[j0, v0], [j1, v1]] = this.neighbours(nc, (1 - y / (height - 1)) * (nc - 1));
      for (let x = 0; x < width; x++) {
        const [[i0, w0], [i1, w1]] = columns[x];
        const [p, q] = [channels * (i0 * nc + j0), channels * (i0 * nc + j1)];
        const [r, s] = [channels * (i1 * nc + j0), channels * (i1 * nc + j1)];
        for (let k = 0; k < channels; k++, o++)
          out[o] = w0 * (v0 * flat[p + k] + v1 * flat[q + k]) +
            w1 * (v0 * flat[r + k] + v1 * flat[s + k]);
      }
    }
    return out;
  }

  // Where the pixels of a plane at `level` mm are taken from, (pixel, 3): their own positions, or
  // if `warped` those positions carried by phi_t, which are positions in the moving scan.
  places(across, level, width, height, warped) {
    const [b, c] = this.planeAxes(across);
    const out = warped
      ? this.spread(this.onPlane(this.u, 3, across, level), 3, across, width, height)
      : new Float32Array(3 * width * height);
    for (let y = 0, o = 0; y < height; y++)
      for (let x = 0; x < width; x++, o += 3) {
        out[o + b] += (x / (width - 1)) * this.extent[b];
        out[o + c] += (1 - y / (height - 1)) * this.extent[c];
        out[o + across] += level;
      }
    return out;
  }

  // A plane of a scan at `level` mm: `width` x `height` values from 0 to 1, the first row at the
  // top. If `warped`, each is sampled at its deformed position.
  slice(scan, across, level, width, height, warped) {
    return this.sampleAll(scan, this.places(across, level, width, height, warped));
  }

  // A scan at many places, (place, 3).
  sampleAll(scan, places) {
    const out = new Float32Array(places.length / 3);
    for (let i = 0, o = 0; i < out.length; i++, o += 3)
      out[i] = this.sample(scan, places[o], places[o + 1], places[o + 2]);
    return out;
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
