// Slices: what a plane shows, its outline, and how it is drawn.

const lut = (colours) => colours.map((c) => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16)));
const COLOURS = { volume: lut(meta.colours.slice(0, -1)), distance: lut(meta.distances) };

// The colour, [r, g, b], of a determinant, or of a distance in mm.
function colourOf(kind, value) {
  const colours = COLOURS[kind];
  const part = kind === 'distance' ? value / meta.far
    : (Math.log2(Math.max(value, 1e-6)) / meta.reach + 1) / 2;
  return colours[clamp(Math.round(part * (colours.length - 1)), 0, colours.length - 1)];
}

// Pixels of a plane of a scan, and which of them lie inside the brain. The lattice is one of the
// moving scan, every `meta.every` mm, carried along: a pixel lies on a line if it was taken from
// one.
function render(key, across, warped, lattice) {
  const [b, c] = model.planeAxes(across);
  const level = state.crosshair[across];
  const finer = state.busy ? 1.2 : 2.5; // than the voxels of the page
  const [width, height] = [b, c].map((a) => Math.max(2, Math.round(model.scan[a] * finer)));
  const places = model.places(across, level, width, height, warped);
  const values = model.sampleAll(model[key], places);
  const shape = model.sampleAll(shapes[key], places);
  const pixels = new Uint32Array(width * height);
  const inside = new Uint8Array(width * height);
  const lines = lattice && ['volume', 'distance'].includes(state.colour) ? state.colour : null;
  const determinants = lattice
    ? model.spread(model.onPlane(model.jacobian, 1, across, level), 1, across, width, height) : null;
  const pixel = 0.5 * meta.extent[b] / width; // half the width of a line, mm
  for (let i = 0; i < pixels.length; i++) {
    const v = clamp(values[i], 0, 1);
    let rgb = meta.card.map((low) => low + v * (255 - low));
    inside[i] = shape[i] * (model.levels - 1) > 127 ? 1 : 0;
    if (lattice && inside[i]) {
      const off = [b, c].map((a) => {
        const mm = places[3 * i + a];
        return Math.abs(mm - meta.every * Math.round(mm / meta.every));
      });
      const line = clamp(1.6 - Math.min(...off) / pixel, 0, 1);
      if (line) {
        const [y, x] = [Math.floor(i / width), i % width];
        const place = [0, 0, 0];
        place[across] = level;
        place[b] = (x / (width - 1)) * meta.extent[b];
        place[c] = (1 - y / (height - 1)) * meta.extent[c];
        const value = lines === 'distance'
          ? Math.hypot(...place.map((mm, a) => places[3 * i + a] - mm)) : determinants[i];
        const ink = colourOf(lines ?? 'volume', value);
        rgb = rgb.map((low, k) => low + 0.85 * line * (ink[k] - low));
      }
    }
    pixels[i] = 0xff000000 | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0];
  }
  return { width, height, pixels, inside };
}

function toCanvas({ width, height, pixels }) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas;
}

// The outline of the fixed brain on a plane, with its ventricles: [x, y, x, y] in mm along the
// plane's axes, by marching squares. Kept until the plane moves.
const outlines = {};
function outline(across) {
  const level = state.crosshair[across];
  if (outlines[across]?.level === level) return outlines[across].segments;
  const [b, c] = model.planeAxes(across);
  const [width, height] = [b, c].map((a) => 2 * model.scan[a]);
  const values = model.slice(model.edges, across, level, width, height, false);
  const segments = [];
  const [mb, mc] = [meta.extent[b] / (width - 1), meta.extent[c] / (height - 1)];
  const edge = 127.5 / (model.levels - 1);
  for (let y = 0; y < height - 1; y++)
    for (let x = 0; x < width - 1; x++) {
      const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
      const v = corners.map(([p, q]) => values[q * width + p] - edge);
      const ends = [];
      for (let k = 0; k < 4; k++) {
        const next = (k + 1) % 4;
        if (v[k] > 0 === v[next] > 0) continue;
        const w = v[k] / (v[k] - v[next]);
        const [p, q] = [0, 1].map((a) => corners[k][a] + w * (corners[next][a] - corners[k][a]));
        ends.push(p * mb, meta.extent[c] - q * mc);
      }
      for (let k = 0; k + 3 < ends.length; k += 4) segments.push(ends.slice(k, k + 4));
    }
  outlines[across] = { level, segments };
  return segments;
}

function layout(across, width, height) {
  const [b, c] = model.planeAxes(across);
  const margin = 36; // of both edges, with room for a letter
  const scale = Math.min((width - margin) / meta.extent[b], (height - margin) / meta.extent[c]);
  const [w, h] = [scale * meta.extent[b], scale * meta.extent[c]];
  return { b, c, scale, w, h, x: (width - w) / 2, y: (height - h) / 2 };
}

function drawSlice(canvas) {
  const across = Number(canvas.dataset.across);
  const { ctx, width, height } = prepare(canvas);
  const { b, c, scale, w, h, x, y } = layout(across, width, height);
  const place = ([p, q]) => [x + p * scale, y + h - q * scale];
  ctx.drawImage(pictures[across].canvas, x, y, w, h);
  if (state.swipe && !state.showFixed) {
    const divide = x + state.divide * w;
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y, divide - x, h);
    ctx.clip();
    ctx.drawImage(toCanvas(render('fixed', across, false, false)), x, y, w, h);
    ctx.restore();
    ctx.fillStyle = meta.ink;
    ctx.fillRect(divide - 1, y, 2, h);
  }
  if (state.outline && model.fixed) {
    ctx.beginPath();
    for (const [p, q, r, s] of outline(across)) {
      ctx.moveTo(...place([p, q]));
      ctx.lineTo(...place([r, s]));
    }
    ctx.strokeStyle = meta.cross;
    ctx.lineWidth = 1.2;
    ctx.stroke();
  }
  if (is3d) drawCross(ctx, place([state.crosshair[b], state.crosshair[c]]), x, y, w, h);
  else drawFolds(ctx, (p) => place(p)[0], (p) => place(p)[1]);
  ctx.font = '600 12px system-ui, sans-serif';
  ctx.fillStyle = meta.muted;
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  const [left, right] = meta.letters[b], [below, above] = meta.letters[c];
  ctx.fillText(left, x - 9, y + h / 2);
  ctx.fillText(right, x + w + 9, y + h / 2);
  ctx.fillText(above, x + w / 2, y - 9);
  ctx.fillText(below, x + w / 2, y + h + 9);
}

function drawCross(ctx, [cx, cy], x, y, w, h) {
  ctx.strokeStyle = meta.ink;
  ctx.globalAlpha = 0.35;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(x, cy); ctx.lineTo(x + w, cy);
  ctx.moveTo(cx, y); ctx.lineTo(cx, y + h);
  ctx.stroke();
  ctx.globalAlpha = 1;
}
