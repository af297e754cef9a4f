// Texts and controls. The page draws only after a change, and while visible.

function positionText(a) {
  const axis = meta.axes[a];
  const mm = axis.start === null ? state.crosshair[a] : axis.start + state.crosshair[a];
  const text = Math.round(mm).toString().replace('-', '\u2212').replace(/^\u22120$/, '0');
  if (axis.start === null) return `${text} mm from ${meta.letters[a][0]}`; // an oblique scan
  return `${axis.name} = ${text} mm`;
}

function updateText() {
  const t = state.t.toFixed(2);
  $('time').value = state.t;
  $('time').setAttribute('aria-valuetext', `t = ${t}`);
  $('now').textContent = t;
  $('most').textContent = `moved by up to ${model.maxDisplacement.toFixed(1)} mm`;
  const { total } = model.frame ? meta.folds[model.frame - 1] : { total: 0 };
  const share = Number(((100 * total) / meta.voxels).toPrecision(1));
  $('folds').textContent = total ? `${total.toLocaleString('en')} folds (${share} %)` : 'no folds';
  $('folds').classList.toggle('some', total > 0);
  for (let a = 0; is3d && a < 3; a++) {
    $(`at${a}`).value = state.crosshair[a];
    $(`at${a}`).setAttribute('aria-valuetext', positionText(a));
    $(`place${a}`).textContent = positionText(a);
  }
  if ($('which')) $('which').setAttribute('aria-pressed', state.showFixed);
  for (const title of document.querySelectorAll('[data-fixed]'))
    title.textContent = state.showFixed ? title.dataset.fixed : title.dataset.moving;
}

function setTime(t) {
  state.t = clamp(t, 0, 1);
  redraw('time');
}

function turn(yaw, pitch) {
  if (!is3d) return;
  state.yaw = (state.yaw + yaw) % TAU;
  state.pitch = clamp(state.pitch + pitch, -Math.PI / 2, Math.PI / 2);
  redraw();
}

function moveCrosshair(a, mm) {
  state.crosshair[a] = clamp(mm, 0, meta.extent[a]);
  redraw('position');
}

function stop() {
  cancelAnimationFrame(state.playing);
  clearInterval(state.playing);
  state.playing = 0;
  delete $('play').dataset.playing;
  $('play').setAttribute('aria-label', 'Play');
}

// Three seconds to t = 1, a pause, then from 0; four steps for reduced motion.
function play() {
  if (state.playing) return stop();
  $('play').dataset.playing = '';
  $('play').setAttribute('aria-label', 'Pause');
  if (reducedMotion.matches) {
    const step = () => setTime(state.t >= 1 ? 0 : (Math.floor(state.t * 4 + 0.01) + 1) / 4);
    state.playing = setInterval(step, 1000);
    return step();
  }
  let [previous, pause] = [performance.now(), 0];
  const tick = (timestamp) => {
    const seconds = clamp((timestamp - previous) / 1000, 0, 0.1);
    previous = timestamp;
    if (state.t >= 1 && (pause += seconds) > 0.8) [pause, state.t] = [0, 0];
    else if (state.t < 1) setTime(state.t + seconds / 3);
    redraw('time');
    state.playing = requestAnimationFrame(tick);
  };
  state.playing = requestAnimationFrame(tick);
}

function drag(canvas, handle) {
  let last = null;
  canvas.addEventListener('pointerdown', (event) => {
    last = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
    handle(event, 0, 0);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!last) return;
    handle(event, event.clientX - last[0], event.clientY - last[1]);
    last = [event.clientX, event.clientY];
  });
  for (const end of ['pointerup', 'pointercancel'])
    canvas.addEventListener(end, () => { last = null; });
}

function addListeners() {
  $('time').addEventListener('input', (event) => { stop(); setTime(Number(event.target.value)); });
  $('play').addEventListener('click', play);
  $('reset').addEventListener('click', () => {
    stop();
    Object.assign(state, INITIAL, { crosshair: [...INITIAL.crosshair], showFixed: false });
    redraw('position');
    redraw('time');
  });
  if ($('which'))
    $('which').addEventListener('click', () => {
      state.showFixed = !state.showFixed;
      redraw('time');
    });
  if (!is3d) return;
  drag(sceneCanvas, (_, dx, dy) => turn(-dx * 0.008, dy * 0.008));
  const keys = {
    ArrowLeft: [0.09, 0], ArrowRight: [-0.09, 0], ArrowUp: [0, -0.09], ArrowDown: [0, 0.09],
  };
  sceneCanvas.addEventListener('keydown', (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault(); // the page would scroll
    turn(...keys[event.key]);
  });
  for (let a = 0; a < 3; a++)
    $(`at${a}`).addEventListener('input', (event) => moveCrosshair(a, Number(event.target.value)));
  for (const canvas of sliceCanvases)
    drag(canvas, (event) => {
      const box = canvas.getBoundingClientRect();
      const { b, c, scale, h, x, y } =
        layout(Number(canvas.dataset.across), box.width, box.height);
      moveCrosshair(b, (event.clientX - box.left - x) / scale);
      moveCrosshair(c, (y + h - event.clientY + box.top) / scale);
    });
}

async function load() {
  if (model || load.started) return;
  load.started = true;
  try {
    model = new Model(meta, await inflate($('data').textContent));
  } catch (error) {
    $('note').textContent = `The deformation could not be read: ${error.message}.`;
    return;
  }
  addListeners();
  redraw();
}

if (typeof DecompressionStream === 'undefined') {
  $('note').textContent =
    'This browser is too old for the viewer: it needs DecompressionStream (2023 or later).';
} else {
  new IntersectionObserver((entries) => {
    visible = entries.at(-1).isIntersecting;
    if (!visible) stop();
    else if (model) redraw();
    else load();
  }).observe(document.body);
  new ResizeObserver(() => { stale.position = true; redraw(); }).observe(document.body);
}
