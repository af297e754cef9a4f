// Page state, canvases, and what is drawn when.

const $ = (id) => document.getElementById(id);
const meta = JSON.parse($('meta').textContent);
const is3d = meta.ndim === 3;
const INITIAL = { t: meta.startTime, yaw: is3d ? 0.6 : 0, pitch: is3d ? 0.42 : Math.PI / 2,
  zoom: 1, showFixed: false, swipe: false, divide: 0.5, outline: true, lattice: !is3d, cut: true,
  colour: 'volume' };
const TAU = 2 * Math.PI;
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');
// busy: something is being dragged or played, and drawing fast matters more than drawing finely
const state = { ...INITIAL, crosshair: [...meta.start], playing: 0, blinking: 0, busy: false };
const sliceCanvases = [...document.querySelectorAll('canvas[data-across]')];
const sceneCanvas = $('scene');
const [shapes, surfaces, pictures] = [{}, {}, {}];
let model = null;
let visible = false;
let pending = false;
// what changed since the last drawing: time or planes; else only the view
let stale = { time: true, position: true };

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

// Shapes and surfaces of the scans. A slice has no surface.
function build() {
  for (const key of model.fixed ? ['moving', 'fixed'] : ['moving']) {
    shapes[key] = shapeOf(model[key], model.scan, true);
    if (is3d) surfaces[key] = new Surface(model, shapes[key]);
  }
  if (model.fixed) model.edges = shapeOf(model.fixed, model.scan, false);
}

function update() {
  const key = state.showFixed ? 'fixed' : 'moving';
  if (stale.time) model.setTime(state.t);
  for (const a of is3d ? [0, 1, 2] : [2]) {
    const picture = render(key, a, !state.showFixed, is3d && state.lattice && !state.showFixed);
    pictures[a] = { ...picture, canvas: toCanvas(picture) };
  }
  if (!is3d) pictures.scene = toCanvas(render('moving', 2, true, state.lattice));
  if (is3d && stale.time) {
    surfaces[key].now = state.showFixed ? surfaces.fixed.points : surfaces.moving.at(state.t);
    if (state.colour !== 'none' && !state.showFixed) tint(surfaces.moving);
  }
  sliceCanvases.forEach(drawSlice);
  updateText();
}

function draw() {
  pending = false;
  if (!model || !visible || !sceneCanvas.clientWidth) return;
  if (stale.time || stale.position) update();
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
