// The 3-D scene: planes of the moving scan, the lattice on and between them. A 2-D slice is a
// scene of one plane, seen from above.

function camera(width, height) {
  const [cy, sy] = [Math.cos(state.yaw), Math.sin(state.yaw)];
  const [cp, sp] = [Math.cos(state.pitch), Math.sin(state.pitch)];
  const right = [cy, sy, 0], up = [-sy * sp, cy * sp, cp], toward = [sy * cp, -cy * cp, sp];
  const longest = Math.max(...meta.extent);
  const scale = is3d ? Math.min(width / longest / 1.12, height / longest / 1.12)
    : Math.min((width - 44) / meta.extent[0], (height - 44) / meta.extent[1]);
  const centre = meta.extent.map((e) => e / 2);
  const dot = (v, p) => v.reduce((sum, x, a) => sum + x * p[a], 0);
  const [r0, u0, d0] = [dot(right, centre), dot(up, centre), dot(toward, centre)];
  return {
    right, up, toward, scale,
    x: (p) => width / 2 + scale * (dot(right, p) - r0),
    y: (p) => height / 2 - scale * (dot(up, p) - u0),
    depth: (p) => (dot(toward, p) - d0) / (longest / 2),
  };
}

// The index in `meta.colours` of the edge from node i to j. The last colour is for folds.
function edgeColour(jacobian, i, j) {
  const bins = meta.colours.length - 1;
  if (jacobian[i] <= 0 || jacobian[j] <= 0) return bins;
  const bin = Math.round((Math.log2(jacobian[i]) / meta.reach + 1) / 2 * (bins - 1));
  return clamp(bin, 0, bins - 1);
}

// Lattice edges in the brain: [node, node, octant, colour].
function latticeSegments() {
  const { lattice, position, n, jacobian, brain, stride } = model;
  const result = [];
  for (let i = 0; i < n; i++) {
    const index = model.index(i);
    for (let a = 0; a < 3; a++) {
      const j = i + stride[a];
      if (index[a] + 1 >= lattice[a] || !brain[i] || !brain[j]) continue;
      if (index.some((k, b) => b !== a && k % meta.every)) continue;
      const first = i - (index[a] % meta.every) * stride[a]; // only complete edges of cells
      if (!brain[first] || !brain[first + meta.every * stride[a]]) continue;
      let octant = 0;
      for (let b = 0; b < 3; b++)
        if (position[b * n + i] + position[b * n + j] > 2 * state.crosshair[b]) octant |= 1 << b;
      result.push([i, j, octant, edgeColour(jacobian, i, j)]);
    }
  }
  return result;
}

// The lattice on a plane: [x, y, x, y, colour], mm along the plane's axes. Displacement across
// the plane is not drawn.
function planeSegments(across) {
  const [b, c] = model.planeAxes(across);
  const [nb, nc] = [model.lattice[b], model.lattice[c]];
  const level = state.crosshair[across];
  const position = model.onPlane(model.position, 3, across, level);
  const jacobian = model.onPlane(model.jacobian, 1, across, level);
  const brain = model.onPlane(model.brain, 1, across, level);
  const result = [];
  for (let i = 0; i < nb; i++)
    for (let j = 0; j < nc; j++)
      for (const [di, dj, line] of [[1, 0, j], [0, 1, i]]) {
        const [p, q] = [i * nc + j, (i + di) * nc + j + dj];
        if (i + di >= nb || j + dj >= nc || line % meta.everyOnPlane) continue;
        if (brain[p] < 0.5 || brain[q] < 0.5) continue;
        const ends = [3 * p + b, 3 * p + c, 3 * q + b, 3 * q + c].map((k) => position[k]);
        result.push([...ends, edgeColour(jacobian, p, q)]);
      }
  return result;
}

function drawScene() {
  const { ctx, width, height, ratio } = prepare(sceneCanvas);
  const view = camera(width, height);
  const { n, position } = model;
  const [sx, sy, depth] = [new Float32Array(n), new Float32Array(n), new Float32Array(n)];
  for (let i = 0; i < n; i++) {
    const p = [position[i], position[n + i], position[2 * n + i]];
    sx[i] = view.x(p); sy[i] = view.y(p); depth[i] = view.depth(p);
  }
  // hidden: the octant in front of the scan, and its neighbours where a plane is edge-on
  const inFront = (octant) =>
    view.toward.every((v, a) => Math.abs(v) < 0.2 || v > 0 === Boolean((octant >> a) & 1));
  const hidden = [0, 1, 2, 3, 4, 5, 6, 7].map(inFront);
  const batches = new Map(); // octant, depth (far to near), colour
  for (const [i, j, octant, colour] of segments) {
    if (hidden[octant]) continue;
    const layer = clamp(Math.floor(2 + depth[i] + depth[j]), 0, 3);
    const key = (octant * 4 + layer) * 64 + colour;
    if (!batches.has(key)) batches.set(key, new Path2D());
    batches.get(key).moveTo(sx[i], sy[i]);
    batches.get(key).lineTo(sx[j], sy[j]);
  }
  const keys = [...batches.keys()].sort((a, b) => a - b);
  const drawOctant = (octant) => {
    for (const key of keys) {
      if (key >> 8 !== octant) continue;
      const layer = (key >> 6) & 3;
      ctx.globalAlpha = [0.45, 0.65, 0.85, 1][layer];
      ctx.lineWidth = [0.8, 1, 1.25, 1.5][layer];
      ctx.strokeStyle = meta.colours[key & 63];
      ctx.stroke(batches.get(key));
    }
    ctx.globalAlpha = 1;
  };
  ctx.lineCap = 'round';
  const region = meta.extent.map((e) => [0, e]);
  if (is3d) drawRegion(ctx, view, drawOctant, ratio, [0, 1, 2], region);
  else drawPlane(ctx, view, ratio, 2, region);
  if (is3d) drawCutEdges(ctx, view);
  drawFolds(ctx, view);
  drawLetters(ctx, view);
}

// The edges of the hidden octant, where the slices cross.
function drawCutEdges(ctx, view) {
  ctx.strokeStyle = meta.cross;
  ctx.globalAlpha = 0.55;
  ctx.lineWidth = 1;
  for (let a = 0; a < 3; a++) {
    const end = [...state.crosshair];
    end[a] = view.toward[a] > 0 ? meta.extent[a] : 0;
    ctx.beginPath();
    ctx.moveTo(view.x(state.crosshair), view.y(state.crosshair));
    ctx.lineTo(view.x(end), view.y(end));
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

// Back to front, axis by axis: the half behind a plane, the plane, the half in front.
function drawRegion(ctx, view, drawOctant, ratio, axes, region) {
  if (!axes.length) {
    const bit = ([low], a) => (low >= state.crosshair[a] && low > 0 ? 1 << a : 0);
    drawOctant(region.reduce((bits, range, a) => bits | bit(range, a), 0));
    return;
  }
  const [a, ...rest] = axes;
  const halves = [[0, state.crosshair[a]], [state.crosshair[a], meta.extent[a]]];
  if (view.toward[a] < 0) halves.reverse();
  const side = (half) => region.map((range, b) => (b === a ? half : range));
  drawRegion(ctx, view, drawOctant, ratio, rest, side(halves[0]));
  drawPlane(ctx, view, ratio, a, region);
  drawRegion(ctx, view, drawOctant, ratio, rest, side(halves[1]));
}

// A plane of the moving scan and the lattice on it, both affine: there is no perspective.
// region: visible range of the axes, mm.
function drawPlane(ctx, view, ratio, across, region) {
  const { image, lines } = textures[across];
  const [b, c] = model.planeAxes(across);
  const [mb, mc] = [meta.extent[b] / image.width, meta.extent[c] / image.height];
  const origin = [0, 0, 0];
  origin[across] = state.crosshair[across];
  origin[c] = meta.extent[c];
  const [x0, x1] = region[b].map((v) => v / mb);
  const [y1, y0] = region[c].map((v) => image.height - v / mc);
  if (x1 - x0 < 0.5 || y1 - y0 < 0.5) return;
  ctx.save();
  ctx.transform(view.scale * mb * view.right[b], -view.scale * mb * view.up[b],
    -view.scale * mc * view.right[c], view.scale * mc * view.up[c], view.x(origin), view.y(origin));
  ctx.globalAlpha = is3d ? 1 : 0.5;
  const box = [x0, y0, x1 - x0, y1 - y0];
  ctx.drawImage(image, ...box, ...box);
  ctx.beginPath();
  if (is3d) ctx.rect(...box);
  else ctx.rect(-1e4, -1e4, 2e4, 2e4);
  ctx.clip();
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  const paths = new Map();
  const point = [0, 0, 0];
  point[across] = state.crosshair[across];
  for (const [px, py, qx, qy, colour] of lines) {
    if (!paths.has(colour)) paths.set(colour, new Path2D());
    [point[b], point[c]] = [px, py];
    paths.get(colour).moveTo(view.x(point), view.y(point));
    [point[b], point[c]] = [qx, qy];
    paths.get(colour).lineTo(view.x(point), view.y(point));
  }
  // fainter edge-on, where lines crowd
  ctx.globalAlpha = is3d ? 0.8 * Math.min(1, 2 * Math.abs(view.toward[across])) : 1;
  ctx.lineWidth = is3d ? 0.9 : 1.2;
  for (const [colour, path] of paths) {
    ctx.strokeStyle = meta.colours[colour];
    ctx.stroke(path);
  }
  ctx.restore();
}

function drawFolds(ctx, view) {
  const points = model.foldPoints[model.frame];
  for (let i = 0; i < points.length; i += meta.ndim) {
    const p = model.mapPoint([0, 1, 2].map((a) => (a < meta.ndim ? points[i + a] * meta.step : 0)));
    for (const [radius, colour] of [[2.6, '#000'], [1.7, meta.colours.at(-1)]]) {
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.arc(view.x(p), view.y(p), radius, 0, TAU);
      ctx.fill();
    }
  }
}

// Sides of the body at the ends of the axes; fainter behind, none for an end-on axis.
function drawLetters(ctx, view) {
  ctx.font = '600 13px system-ui, sans-serif';
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  ctx.lineWidth = 3;
  ctx.strokeStyle = meta.dark;
  for (let a = 0; a < meta.ndim; a++)
    for (const end of [0, 1]) {
      const p = meta.extent.map((e) => e / 2);
      p[a] = end ? meta.extent[a] + 12 / view.scale : -12 / view.scale;
      const length = Math.hypot(view.right[a], view.up[a]);
      const fade = view.depth(p) < -0.1 ? 0.6 : 1;
      ctx.globalAlpha = clamp((length - 0.3) * 4, 0, 1) * fade;
      ctx.fillStyle = meta.ink;
      const label = [meta.letters[a][end], view.x(p), view.y(p)];
      ctx.strokeText(...label);
      ctx.fillText(...label);
    }
  ctx.globalAlpha = 1;
}
