// The state of the page, its canvases, and the flat slices on them.

const $ = (id) => document.getElementById(id);
const meta = JSON.parse($('meta').textContent);
const three = meta.ndim === 3;
const START = { t: meta.startTime, at: meta.start,
  yaw: three ? -0.6 : 0, pitch: three ? 0.44 : Math.PI / 2 };
const TAU = 2 * Math.PI;
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const state = { ...START, at: [...START.at], showFixed: false, playing: 0 };
const panes = [...document.querySelectorAll('canvas[data-across]')];
const scene = $('scene');
let model = null;
let visible = false;
let pending = false;
let stale = { time: true, place: true }; // what changed since the last drawing, the view aside
let segments = [];
const textures = {};

function sized(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const { clientWidth: wide, clientHeight: high } = canvas;
  const [w, h] = [Math.round(wide * ratio), Math.round(high * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, wide, high);
  pen.imageSmoothingQuality = 'high';
  return { pen, wide, high, ratio };
}

// Values from 0 to 1 as a picture; `clear` lets the dark background be seen through.
function picture(values, wide, high, clear) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: wide, height: high });
  const pen = canvas.getContext('2d');
  const image = pen.createImageData(wide, high);
  for (let i = 0; i < values.length; i++) {
    const v = Math.min(values[i], 1);
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = meta.card[c] + v * (255 - meta.card[c]);
    image.data[4 * i + 3] = clear ? 255 * Math.max(0, Math.min((v - 0.03) / 0.07, 1)) : 255;
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

function cut(scan, across, moved, clear) {
  const [b, c] = model.drawn(across);
  const [wide, high] = [b, c].map((a) => Math.max(2, Math.round(model.scan[a] * meta.finer)));
  return picture(model.slice(scan, across, state.at[across], wide, high, moved), wide, high, clear);
}

function fit(across, wide, high) {
  const [b, c] = model.drawn(across);
  const scale = Math.min((wide - 34) / meta.extent[b], (high - 34) / meta.extent[c]);
  const [w, h] = [scale * meta.extent[b], scale * meta.extent[c]];
  return { b, c, scale, w, h, x: (wide - w) / 2, y: (high - h) / 2 };
}

function drawPane(canvas) {
  const across = Number(canvas.dataset.across);
  const { pen, wide, high } = sized(canvas);
  const { b, c, scale, w, h, x, y } = fit(across, wide, high);
  const key = state.showFixed ? 'fixed' : 'moving';
  pen.drawImage(cut(model[key], across, !state.showFixed, false), x, y, w, h);
  const [cx, cy] = [x + state.at[b] * scale, y + h - state.at[c] * scale];
  if (three) {
    pen.strokeStyle = meta.cross;
    pen.globalAlpha = 0.5;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, cy); pen.lineTo(x + w, cy);
    pen.moveTo(cx, y); pen.lineTo(cx, y + h);
    pen.stroke();
    pen.globalAlpha = 1;
  }
  pen.font = '600 12px system-ui, sans-serif';
  pen.fillStyle = meta.muted;
  pen.textAlign = 'center';
  pen.textBaseline = 'middle';
  const [left, right] = meta.letters[b], [below, above] = meta.letters[c];
  pen.fillText(left, x - 9, y + h / 2);
  pen.fillText(right, x + w + 9, y + h / 2);
  pen.fillText(above, x + w / 2, y - 9);
  pen.fillText(below, x + w / 2, y + h + 9);
}

function draw() {
  pending = false;
  if (!model || !visible || !scene.clientWidth) return;
  if (stale.time) model.setTime(state.t);
  const across = three ? [0, 1, 2] : [2];
  if (stale.place)
    for (const a of across) textures[a] = { image: cut(model.moving, a, false, true) };
  if (stale.time || stale.place) {
    for (const a of across) textures[a].pieces = sheet(a);
    segments = three ? cage() : [];
    panes.forEach(drawPane);
    words();
  }
  stale = { time: false, place: false };
  drawScene();
  document.body.dataset.drawn = Number(document.body.dataset.drawn || 0) + 1;
}

function redraw(what) {
  if (what) stale[what] = true;
  if (pending || !visible || !model) return;
  pending = true;
  requestAnimationFrame(draw);
}
