// The large picture: the brain with a cut toward the viewer, or a 2-D slice with its lattice.

const LIGHT = [-0.35, 0.5, 0.79]; // along right, up and toward
const PLAIN = [226, 214, 203];

// Positions on a canvas of `width` x `height` pixels, `ratio` of them to one of the page.
function camera(width, height, ratio) {
  const [cy, sy] = [Math.cos(state.yaw), Math.sin(state.yaw)];
  const [cp, sp] = [Math.cos(state.pitch), Math.sin(state.pitch)];
  const right = [cy, sy, 0], up = [-sy * sp, cy * sp, cp], toward = [sy * cp, -cy * cp, sp];
  const margin = 44 * ratio; // of both edges, with room for a letter
  const [longest, tallest] = is3d ? [Math.max(...meta.extent), Math.max(...meta.extent)] : meta.extent;
  const fit = Math.min((width - margin) / longest, (height - margin) / tallest);
  const scale = fit * state.zoom;
  const centre = meta.extent.map((e) => e / 2);
  const [r0, u0, d0] = [right, up, toward].map((axis) => dot(axis, centre));
  const [left, middle] = [width / 2 - scale * r0, height / 2 + scale * u0];
  const x3 = (x, y, z) => left + scale * (right[0] * x + right[1] * y + right[2] * z);
  const y3 = (x, y, z) => middle - scale * (up[0] * x + up[1] * y + up[2] * z);
  const z3 = (x, y, z) => scale * (toward[0] * x + toward[1] * y + toward[2] * z - d0);
  return {
    right, up, toward, scale, x3, y3, z3,
    x: (p) => x3(...p), y: (p) => y3(...p), depth: (p) => z3(...p), line: 0.9 * ratio,
    // the point at a pixel and a depth
    point: (px, py, z) => centre.map((c, a) => c + (right[a] * (px - width / 2)
      - up[a] * (py - height / 2) + toward[a] * z) / scale),
  };
}

// The points of the surface that is shown, lit, and coloured by what the map has done there.
function shade(surface, points, view) {
  const normals = normalsOf(points, surface.triangles);
  const out = new Float32Array(points.length);
  const axes = [view.right, view.up, view.toward];
  const light = [0, 1, 2].map((a) => axes.reduce((sum, axis, k) => sum + LIGHT[k] * axis[a], 0));
  const plain = state.colour === 'none' || state.showFixed;
  for (let i = 0, o = 0; o < points.length; i++, o += 3) {
    const lit = normals[o] * light[0] + normals[o + 1] * light[1] + normals[o + 2] * light[2];
    const groove = Math.max(0, surface.hollow[i]);
    const strength = (0.34 + 0.66 * Math.max(0, lit)) * (1 - 0.55 * groove);
    const rgb = plain ? PLAIN : surface.tints[i];
    out[o] = strength * rgb[0]; out[o + 1] = strength * rgb[1]; out[o + 2] = strength * rgb[2];
  }
  return out;
}

// The colours of the surface's points at this time, by what the map does at each.
function tint(surface) {
  if (state.colour === 'distance') {
    const u = model.atNodes(model.u, 3, surface.now);
    surface.tints = Array.from({ length: surface.count }, (_, i) =>
      colourOf('distance', Math.hypot(u[3 * i], u[3 * i + 1], u[3 * i + 2])));
  } else {
    const determinants = model.atNodes(model.jacobian, 1, surface.now);
    surface.tints = Array.from(determinants, (value) => colourOf('volume', value));
  }
}

function drawScene() {
  const { ctx, width, height, ratio } = prepare(sceneCanvas);
  const view = camera(width, height, 1);
  if (is3d) drawBrain(ctx, width, height, ratio);
  else {
    const [x, y] = [view.x([0, 0, 0]), view.y([0, meta.extent[1], 0])];
    const size = [meta.extent[0] * view.scale, meta.extent[1] * view.scale];
    ctx.drawImage(pictures.scene, x, y, ...size);
    drawFolds(ctx, view.x, view.y);
  }
  if (is3d && state.cut) drawCutEdges(ctx, view);
  drawLetters(ctx, view, [width / 2, height / 2]);
}

const raster = new Raster();
const buffer = document.createElement('canvas');
const MOST_PIXELS = { busy: 200_000, still: 1_000_000 };

function drawBrain(ctx, width, height, ratio) {
  const most = MOST_PIXELS[state.busy ? 'busy' : 'still'];
  const finer = Math.min(state.busy ? ratio : Math.max(ratio, 2), Math.sqrt(most / (width * height)));
  const [w, h] = [Math.round(width * finer), Math.round(height * finer)];
  raster.resize(w, h);
  raster.clear();
  raster.view = camera(w, h, finer);
  const surface = surfaces[state.showFixed ? 'fixed' : 'moving'];
  const colours = shade(surface, surface.now, raster.view);
  const ink = state.lattice && !state.showFixed ? surface.points : null;
  raster.mesh(surface.now, surface.triangles, colours, raster.view, state.cut, ink, meta.every);
  if (state.cut) for (const a of [0, 1, 2]) raster.plane(a, pictures[a], raster.view);
  Object.assign(buffer, { width: w, height: h });
  buffer.getContext('2d').putImageData(raster.image, 0, 0);
  ctx.drawImage(buffer, 0, 0, width, height);
  if (!state.showFixed)
    drawFolds(ctx, (p) => raster.view.x(p) / finer, (p) => raster.view.y(p) / finer);
}

// What the scene shows at a pixel of the page: a point, mm along the box's axes, or null.
function pick(x, y) {
  if (!is3d) {
    const { clientWidth, clientHeight } = sceneCanvas;
    const point = camera(clientWidth, clientHeight, 1).point(x, y, 0);
    return point.slice(0, 2).every((mm, a) => mm >= 0 && mm <= meta.extent[a])
      ? [point[0], point[1], 0] : null;
  }
  if (!raster.view) return null;
  const finer = raster.width / sceneCanvas.clientWidth;
  const [px, py] = [Math.round(x * finer), Math.round(y * finer)];
  const depth = raster.depth[py * raster.width + px];
  return depth > NOWHERE ? raster.view.point(px, py, depth) : null;
}

// The edges of the cut, where the slices cross.
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

// Voxels of the fixed scan where the map folds at the nearest stored time.
function drawFolds(ctx, x, y) {
  const points = model.foldPoints[model.frame];
  for (let i = 0; i < points.length; i += meta.ndim) {
    const p = [0, 1, 2].map((a) => (a < meta.ndim ? points[i + a] * meta.step : 0));
    for (const [radius, colour] of [[2.6, '#000'], [1.7, meta.fold]]) {
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.arc(x(p), y(p), radius, 0, TAU);
      ctx.fill();
    }
  }
}

// Sides of the body at the ends of the axes; fainter behind, none for an end-on axis. What is zoomed
// past the frame keeps its letters at the frame, on their way out of the middle, but for those behind:
// there they would lie on the others.
function drawLetters(ctx, view, middle) {
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
      const fade = view.depth(p) < -10 ? 0.6 : 1;
      ctx.globalAlpha = clamp((length - 0.3) * 4, 0, 1) * fade;
      ctx.fillStyle = meta.ink;
      const off = [view.x(p) - middle[0], view.y(p) - middle[1]];
      const inside = Math.min(1, ...off.map((far, k) => (middle[k] - 10) / Math.abs(far)));
      if (inside < 1 && fade < 1) continue;
      const label = [meta.letters[a][end], ...off.map((far, k) => middle[k] + inside * far)];
      ctx.strokeText(...label);
      ctx.fillText(...label);
    }
  ctx.globalAlpha = 1;
}
