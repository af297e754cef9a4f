// The surface of a brain, and how it is carried.
//
// The page is drawn in the frame of the fixed scan. The map phi_t is a pull-back: at time t the
// place p shows what the moving scan has at phi_t(p) = p + u_t(p). A point y of the moving brain is
// therefore seen at the place p with phi_t(p) = y. Its path p(t) is the inverse of phi_t at y: it
// begins at y itself and ends where the registration puts it. So the moving brain's own surface is
// carried, and at t = 1 it is as close to the fixed brain as the registration is good; the fixed
// brain's surface carried by phi_t would run the other way, and would match whatever happened.

// How much of a voxel is tissue, 0 to 255, a little blurred. If `filled`, all counts as tissue that
// the air outside does not reach: the ventricles too.
function shapeOf(scan, shape, filled) {
  const [n0, n1, n2] = shape;
  const counts = new Uint32Array(256);
  for (const value of scan) counts[value] += 1;
  const tissue = counts.slice(4).reduce((a, b) => a + b, 0) / 2;
  let middle = 4;
  for (let sum = 0; middle < 255 && (sum += counts[middle]) < tissue; middle++);
  const edge = middle / 2;
  const strides = [n1 * n2, n2, 1];
  const inside = filled ? new Uint8Array(scan.length).fill(255)
    : scan.map((value) => (value < edge ? 0 : 255));
  const queue = [];
  const reach = (i) => {
    if (!inside[i] || scan[i] >= edge) return;
    inside[i] = 0;
    queue.push(i);
  };
  for (let i = 0; i < scan.length; i++) {
    const at = [Math.floor(i / strides[0]), Math.floor(i / n2) % n1, i % n2];
    if (filled && at.some((k, a) => shape[a] > 1 && (k === 0 || k === shape[a] - 1))) reach(i);
  }
  while (queue.length) {
    const i = queue.pop();
    const at = [Math.floor(i / strides[0]), Math.floor(i / n2) % n1, i % n2];
    for (let a = 0; a < 3; a++) {
      if (at[a] > 0) reach(i - strides[a]);
      if (at[a] < shape[a] - 1) reach(i + strides[a]);
    }
  }
  let values = Float32Array.from(inside);
  for (let a = 0; a < 3; a++) {
    if (shape[a] < 3) continue;
    const blurred = values.slice();
    for (let i = 0; i < values.length; i++) {
      const k = Math.floor(i / strides[a]) % shape[a];
      if (k > 0 && k < shape[a] - 1)
        blurred[i] = (values[i - strides[a]] + 2 * values[i] + values[i + strides[a]]) / 4;
      else blurred[i] = 0; // closed at the border of the box
    }
    values = blurred;
  }
  return values;
}

// Naive surface nets at half of 255: one point in each cell that the surface crosses, and two
// triangles for each crossed edge, seen counter-clockwise from outside.
function surfaceNet(field, shape, spacing) {
  const [n0, n1, n2] = shape;
  const strides = [n1 * n2, n2, 1];
  const corners = [0, 1, 2, 3, 4, 5, 6, 7]
    .map((c) => (c & 1) * strides[0] + ((c >> 1) & 1) * strides[1] + (c >> 2));
  const points = [], triangles = [];
  const ids = new Int32Array(field.length).fill(-1);
  const level = 127.5;
  for (let x = 0; x < n0 - 1; x++) for (let y = 0; y < n1 - 1; y++) for (let z = 0; z < n2 - 1; z++) {
    const cell = x * strides[0] + y * strides[1] + z;
    let mask = 0;
    for (let c = 0; c < 8; c++) if (field[cell + corners[c]] > level) mask |= 1 << c;
    if (mask === 0 || mask === 255) continue;
    const sum = [0, 0, 0];
    let crossings = 0;
    for (let c = 0; c < 8; c++)
      for (let a = 0; a < 3; a++) {
        const d = c | (1 << a);
        if (d === c || ((mask >> c) & 1) === ((mask >> d) & 1)) continue;
        const [low, high] = [field[cell + corners[c]], field[cell + corners[d]]];
        for (let k = 0; k < 3; k++) sum[k] += (c >> k) & 1;
        sum[a] += (level - low) / (high - low);
        crossings += 1;
      }
    ids[cell] = points.length / 3;
    points.push(...[x, y, z].map((k, a) => (k + sum[a] / crossings) * spacing[a]));
    for (let a = 0; a < 3; a++) {
      const [b, c] = [(a + 1) % 3, (a + 2) % 3];
      if (![x, y, z].every((k, d) => d === a || k > 0)) continue;
      const [here, there] = [mask & 1, (mask >> (1 << a)) & 1];
      if (here === there) continue;
      const [p, q] = [ids[cell - strides[b]], ids[cell - strides[c]]];
      const [r, s] = [ids[cell - strides[b] - strides[c]], ids[cell]];
      triangles.push(...(here ? [s, p, r, s, r, q] : [s, r, p, s, q, r]));
    }
  }
  return { points: Float32Array.from(points), triangles: Uint32Array.from(triangles) };
}

class Surface {
  constructor(model, shape) {
    Object.assign(this, surfaceNet(shape, model.scan, model.spacing));
    this.model = model;
    this.count = this.points.length / 3;
    this.hollow = this.hollows();
    this.paths = null;
  }

  // How deep each point lies between its neighbours, from -1 on a ridge to 1 in a groove.
  hollows() {
    const { points, triangles, count } = this;
    const [sum, degree] = [new Float32Array(3 * count), new Float32Array(count)];
    for (let i = 0; i < triangles.length; i++) {
      const [from, to] = [triangles[i], triangles[i % 3 < 2 ? i + 1 : i - 2]];
      degree[from] += 1;
      for (let a = 0; a < 3; a++) sum[3 * from + a] += points[3 * to + a];
    }
    const normals = normalsOf(points, triangles);
    return Float32Array.from({ length: count }, (_, i) => {
      let depth = 0;
      for (let a = 0; a < 3; a++)
        depth += normals[3 * i + a] * (sum[3 * i + a] / degree[i] - points[3 * i + a]);
      return clamp(1.6 * depth / this.model.spacing[0], -1, 1);
    });
  }

  // The points at each stored time: p + u(p) = y, by fixed points, each time from the one before.
  carry() {
    const { model, points } = this;
    const paths = [points];
    for (let f = 1; f <= model.frames; f++) {
      const now = paths[f - 1].slice();
      for (let round = 0; round < 8; round++) {
        const u = model.atNodes(model.keyframes[f], 3, now);
        // damped, for where the map nearly folds
        for (let i = 0; i < now.length; i++) now[i] += 0.9 * (points[i] - u[i] - now[i]);
      }
      paths.push(now);
    }
    return paths;
  }

  // The points at time t.
  at(t) {
    this.paths ??= this.carry();
    const { frames } = this.model;
    const k = Math.min(Math.floor(t * frames), frames - 1);
    const [a, b, w] = [this.paths[k], this.paths[k + 1], t * frames - k];
    return a.map((value, i) => value + w * (b[i] - value));
  }
}

function normalsOf(points, triangles) {
  const out = new Float32Array(points.length);
  for (let i = 0; i < triangles.length; i += 3) {
    const a = 3 * triangles[i], b = 3 * triangles[i + 1], c = 3 * triangles[i + 2];
    const x = points[a], y = points[a + 1], z = points[a + 2];
    const ux = points[b] - x, uy = points[b + 1] - y, uz = points[b + 2] - z;
    const vx = points[c] - x, vy = points[c + 1] - y, vz = points[c + 2] - z;
    const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    out[a] += nx; out[a + 1] += ny; out[a + 2] += nz;
    out[b] += nx; out[b + 1] += ny; out[b + 2] += nz;
    out[c] += nx; out[c + 1] += ny; out[c + 2] += nz;
  }
  for (let i = 0; i < out.length; i += 3) {
    const x = out[i], y = out[i + 1], z = out[i + 2];
    const length = Math.sqrt(x * x + y * y + z * z) || 1;
    out[i] /= length; out[i + 1] /= length; out[i + 2] /= length;
  }
  return out;
}
