// Page state, canvases and slices.

const $ = (id) => document.getElementById(id);
const meta = JSON.parse($('meta').textContent);
const is3d = meta.ndim === 3;
const INITIAL = { t: meta.startTime, crosshair: meta.start,
  yaw: is3d ? -0.6 : 0, pitch: is3d ? 0.44 : Math.PI / 2 };
const TAU = 2 * Math.PI;
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');
const state = { ...INITIAL, crosshair: [...INITIAL.crosshair], showFixed: false, playing: 0 };
const sliceCanvases = [...document.querySelectorAll('canvas[data-across]')];
const sceneCanvas = $('scene');
let model = null;
let visible = false;
let pending = false;
let stale = { time: true, position: true }; // what changed since the last drawing
let segments = [];
const textures = {};

function prepare(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const { clientWidth: width, clientHeight: height } = canvas;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const ctx = canvas.getContext('2d');
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.imageSmoothingQuality = 'high';
  return { ctx, width, height, ratio };
}

// Values from 0 to 1 as a canvas; dark ones are clear if `transparent`.
function toCanvas(values, width, height, transparent) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width, height });
  const ctx = canvas.getContext('2d');
  const image = ctx.createImageData(width, height);
  for (let i = 0; i < values.length; i++) {
    const v = Math.min(values[i], 1);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = meta.card[c] + v * (255 - meta.card[c]);
    image.data[4 * i + 3] = transparent ? 255 * clamp((v - 0.03) / 0.07, 0, 1) : 255;
  }
  ctx.putImageData(image, 0, 0);
  return canvas;
}

function renderSlice(scan, across, warped, transparent) {
  const [b, c] = model.planeAxes(across);
  const [width, height] = [b, c].map((a) => Math.max(2, Math.round(model.scan[a] * meta.finer)));
  const values = model.slice(scan, across, state.crosshair[across], width, height, warped);
  return toCanvas(values, width, height, transparent);
}

function layout(across, width, height) {
  const [b, c] = model.planeAxes(across);
  const scale = Math.min((width - 34) / meta.extent[b], (height - 34) / meta.extent[c]);
  const [w, h] = [scale * meta.extent[b], scale * meta.extent[c]];
  return { b, c, scale, w, h, x: (width - w) / 2, y: (height - h) / 2 };
}

function drawSlice(canvas) {
  const across = Number(canvas.dataset.across);
  const { ctx, width, height } = prepare(canvas);
  const { b, c, scale, w, h, x, y } = layout(across, width, height);
  const key = state.showFixed ? 'fixed' : 'moving';
  ctx.drawImage(renderSlice(model[key], across, !state.showFixed, false), x, y, w, h);
  const [cx, cy] = [x + state.crosshair[b] * scale, y + h - state.crosshair[c] * scale];
  if (is3d) {
    ctx.strokeStyle = meta.cross;
    ctx.globalAlpha = 0.5;
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(x, cy); ctx.lineTo(x + w, cy);
    ctx.moveTo(cx, y); ctx.lineTo(cx, y + h);
    ctx.stroke();
    ctx.globalAlpha = 1;
  }
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

function draw() {
  pending = false;
  if (!model || !visible || !sceneCanvas.clientWidth) return;
  if (stale.time) model.setTime(state.t);
  const across = is3d ? [0, 1, 2] : [2];
  if (stale.position)
    for (const a of across) textures[a] = { image: renderSlice(model.moving, a, false, true) };
  if (stale.time || stale.position) {
    for (const a of across) textures[a].lines = planeSegments(a);
    segments = is3d ? latticeSegments() : [];
    sliceCanvases.forEach(drawSlice);
    updateText();
  }
  stale = { time: false, position: false };
  drawScene();
  document.body.dataset.drawn = Number(document.body.dataset.drawn || 0) + 1;
}

function redraw(change) {
  if (change) stale[change] = true;
  if (pending || !visible || !model) return;
  pending = true;
  requestAnimationFrame(draw);
}
