// The three-dimensional scene: planes of the moving scan, the lattice on them and around
// them. A slice of two axes is the same scene, seen from above, with one plane.

function camera(wide, high) {
  const [cy, sy] = [Math.cos(state.yaw), Math.sin(state.yaw)];
  const [cp, sp] = [Math.cos(state.pitch), Math.sin(state.pitch)];
  const right = [cy, sy, 0], up = [-sy * sp, cy * sp, cp], toward = [sy * cp, -cy * cp, sp];
  const longest = Math.max(...meta.extent);
  const scale = three ? Math.min(wide / longest / 1.12, high / longest / 1.12)
    : Math.min((wide - 44) / meta.extent[0], (high - 44) / meta.extent[1]);
  const middle = meta.extent.map((e) => e / 2);
  const dot = (v, p) => v.reduce((sum, x, a) => sum + x * p[a], 0);
  const [r0, u0, d0] = [dot(right, middle), dot(up, middle), dot(toward, middle)];
  return {
    right, up, toward, scale,
    x: (p) => wide / 2 + scale * (dot(right, p) - r0),
    y: (p) => high / 2 - scale * (dot(up, p) - u0),
    depth: (p) => (dot(toward, p) - d0) / (longest / 2),
  };
}

// The colour of a determinant: which of `meta.colours`, the last of which is that of folds.
function hue(determinant) {
  const bins = meta.colours.length - 1;
  if (determinant <= 0) return bins;
  const bin = Math.round((Math.log2(determinant) / meta.reach + 1) / 2 * (bins - 1));
  return Math.max(0, Math.min(bin, bins - 1));
}

// Pieces of lattice line between neighbouring nodes of the brain: [node, node, octant, colour].
function cage() {
  const { lattice, position, n, jacobian, brain } = model;
  const stride = [lattice[1] * lattice[2], lattice[2], 1];
  const found = [];
  for (let i = 0; i < n; i++) {
    const index = model.index(i);
    for (let a = 0; a < 3; a++) {
      const j = i + stride[a];
      if (index[a] + 1 >= lattice[a] || !brain[i] || !brain[j]) continue;
      if (index.some((k, b) => b !== a && k % meta.every)) continue;
      const first = i - (index[a] % meta.every) * stride[a]; // whole edges of cells, no loose ends
      if (!brain[first] || !brain[first + meta.every * stride[a]]) continue;
      let octant = 0;
      for (let b = 0; b < 3; b++)
        if (position[b * n + i] + position[b * n + j] > 2 * state.at[b]) octant |= 1 << b;
      found.push([i, j, octant, hue(Math.min(jacobian[i], jacobian[j]) > 0 ? jacobian[i] : 0)]);
    }
  }
  return found;
}

// The lattice on a plane of the scan, as pieces [x, y, x, y, colour] in mm of the two drawn axes.
// What moves across the plane is not seen, as in any flat picture of a deformed lattice.
function sheet(across) {
  const [b, c] = model.drawn(across);
  const [nb, nc] = [model.lattice[b], model.lattice[c]];
  const level = state.at[across];
  const place = model.onPlane(model.position, 3, across, level);
  const determinant = model.onPlane(model.jacobian, 1, across, level);
  const brain = model.onPlane(model.brain, 1, across, level);
  const found = [];
  for (let i = 0; i < nb; i++)
    for (let j = 0; j < nc; j++)
      for (const [di, dj, other] of [[1, 0, j], [0, 1, i]]) {
        const [p, q] = [i * nc + j, (i + di) * nc + j + dj];
        if (i + di >= nb || j + dj >= nc || other % meta.everyOnPlane) continue;
        if (brain[p] < 0.5 || brain[q] < 0.5) continue;
        const colour = hue(Math.min(determinant[p], determinant[q]) > 0 ? determinant[p] : 0);
        const ends = [3 * p + b, 3 * p + c, 3 * q + b, 3 * q + c].map((k) => place[k]);
        found.push([...ends, colour]);
      }
  return found;
}

function drawScene() {
  const { pen, wide, high, ratio } = sized(scene);
  const view = camera(wide, high);
  const { n, position } = model;
  const [sx, sy, depth] = [new Float32Array(n), new Float32Array(n), new Float32Array(n)];
  for (let i = 0; i < n; i++) {
    const p = [position[i], position[n + i], position[2 * n + i]];
    sx[i] = view.x(p); sy[i] = view.y(p); depth[i] = view.depth(p);
  }
  // cut away, to look at the scan: the octant that faces the reader, and the one beside it where
  // a plane is seen from its edge
  const near = (octant) =>
    view.toward.every((v, a) => Math.abs(v) < 0.2 || v > 0 === Boolean((octant >> a) & 1));
  const hidden = [0, 1, 2, 3, 4, 5, 6, 7].map(near);
  const batches = new Map(); // octant, then depth from far to near, then colour
  for (const [i, j, octant, colour] of segments) {
    if (hidden[octant]) continue;
    const layer = Math.max(0, Math.min(3, Math.floor(2 + depth[i] + depth[j])));
    const key = (octant * 4 + layer) * 64 + colour;
    if (!batches.has(key)) batches.set(key, new Path2D());
    batches.get(key).moveTo(sx[i], sy[i]);
    batches.get(key).lineTo(sx[j], sy[j]);
  }
  const keys = [...batches.keys()].sort((a, b) => a - b);
  const lines = (octant) => {
    for (const key of keys) {
      if (key >> 8 !== octant) continue;
      const layer = (key >> 6) & 3;
      pen.globalAlpha = [0.45, 0.65, 0.85, 1][layer];
      pen.lineWidth = [0.8, 1, 1.25, 1.5][layer];
      pen.strokeStyle = meta.colours[key & 63];
      pen.stroke(batches.get(key));
    }
    pen.globalAlpha = 1;
  };
  pen.lineCap = 'round';
  const whole = meta.extent.map((e) => [0, e]);
  if (three) paint(pen, view, lines, ratio, [0, 1, 2], whole);
  else plane(pen, view, ratio, 2, whole);
  if (three) corner(pen, view);
  folds(pen, view);
  letters(pen, view);
}

// The three edges of what was cut away, where the slices cross.
function corner(pen, view) {
  pen.strokeStyle = meta.cross;
  pen.globalAlpha = 0.55;
  pen.lineWidth = 1;
  for (let a = 0; a < 3; a++) {
    const end = [...state.at];
    end[a] = view.toward[a] > 0 ? meta.extent[a] : 0;
    pen.beginPath();
    pen.moveTo(view.x(state.at), view.y(state.at));
    pen.lineTo(view.x(end), view.y(end));
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

// What is farther first: the half behind a plane, the plane, the half before it; then the next
// axis.
function paint(pen, view, lines, ratio, axes, region) {
  if (!axes.length) {
    const high = ([low], a) => (low >= state.at[a] && low > 0 ? 1 << a : 0);
    lines(region.reduce((bits, range, a) => bits | high(range, a), 0));
    return;
  }
  const [a, ...rest] = axes;
  const halves = [[0, state.at[a]], [state.at[a], meta.extent[a]]];
  if (view.toward[a] < 0) halves.reverse();
  const side = (half) => region.map((range, b) => (b === a ? half : range));
  paint(pen, view, lines, ratio, rest, side(halves[0]));
  plane(pen, view, ratio, a, region);
  paint(pen, view, lines, ratio, rest, side(halves[1]));
}

// A plane of the moving scan in its place, and the lattice on it. Without perspective both are
// affine pictures. region: what of each axis is seen, in mm.
function plane(pen, view, ratio, across, region) {
  const { image, pieces } = textures[across];
  const [b, c] = model.drawn(across);
  const [mb, mc] = [meta.extent[b] / image.width, meta.extent[c] / image.height];
  const corner = [0, 0, 0];
  corner[across] = state.at[across];
  corner[c] = meta.extent[c];
  const s = view.scale * ratio;
  const [x0, x1] = region[b].map((v) => v / mb);
  const [y1, y0] = region[c].map((v) => image.height - v / mc);
  if (x1 - x0 < 0.5 || y1 - y0 < 0.5) return;
  pen.save();
  pen.transform(view.scale * mb * view.right[b], -view.scale * mb * view.up[b],
    -view.scale * mc * view.right[c], view.scale * mc * view.up[c], view.x(corner), view.y(corner));
  pen.globalAlpha = three ? 1 : 0.5;
  pen.drawImage(image, x0, y0, x1 - x0, y1 - y0, x0, y0, x1 - x0, y1 - y0);
  pen.beginPath();
  if (three) pen.rect(x0, y0, x1 - x0, y1 - y0);
  else pen.rect(-1e4, -1e4, 2e4, 2e4);
  pen.clip();
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const paths = new Map();
  const at = [0, 0, 0];
  at[across] = state.at[across];
  for (const [px, py, qx, qy, colour] of pieces) {
    if (!paths.has(colour)) paths.set(colour, new Path2D());
    [at[b], at[c]] = [px, py];
    paths.get(colour).moveTo(view.x(at), view.y(at));
    [at[b], at[c]] = [qx, qy];
    paths.get(colour).lineTo(view.x(at), view.y(at));
  }
  // a plane that is seen from its edge would be a heap of lines
  pen.globalAlpha = three ? 0.8 * Math.min(1, 2 * Math.abs(view.toward[across])) : 1;
  pen.lineWidth = three ? 0.9 : 1.2;
  for (const [colour, path] of paths) {
    pen.strokeStyle = meta.colours[colour];
    pen.stroke(path);
  }
  pen.restore();
}

function folds(pen, view) {
  const points = model.foldPoints[model.frame];
  for (let i = 0; i < points.length; i += meta.ndim) {
    const p = model.follow([0, 1, 2].map((a) => (a < meta.ndim ? points[i + a] * meta.step : 0)));
    for (const [radius, colour] of [[2.6, '#000'], [1.7, meta.colours.at(-1)]]) {
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(view.x(p), view.y(p), radius, 0, TAU);
      pen.fill();
    }
  }
}

// The side of the body at each end of each axis; fainter behind, none for an axis seen end on.
function letters(pen, view) {
  pen.font = '600 13px system-ui, sans-serif';
  pen.textAlign = 'center';
  pen.textBaseline = 'middle';
  pen.lineWidth = 3;
  pen.strokeStyle = meta.dark;
  for (let a = 0; a < meta.ndim; a++)
    for (const end of [0, 1]) {
      const p = meta.extent.map((e) => e / 2);
      p[a] = end ? meta.extent[a] + 12 / view.scale : -12 / view.scale;
      const seen = Math.hypot(view.right[a], view.up[a]);
      const faint = view.depth(p) < -0.1 ? 0.6 : 1;
      pen.globalAlpha = Math.max(0, Math.min(1, (seen - 0.3) * 4)) * faint;
      pen.fillStyle = meta.ink;
      pen.strokeText(meta.letters[a][end], view.x(p), view.y(p));
      pen.fillText(meta.letters[a][end], view.x(p), view.y(p));
    }
  pen.globalAlpha = 1;
}
