// Texts and playback. The page draws only after a change, and while visible.

const minus = (text) => text.replace('-', '\u2212').replace(/^\u2212(0(\.0+)?)$/, '$1');

function positionText(a, mm = state.crosshair[a]) {
  const axis = meta.axes[a];
  if (axis.start === null) return `${minus(mm.toFixed(0))} mm from ${meta.letters[a][0]}`; // oblique
  return `${axis.name} = ${minus((axis.start + mm).toFixed(0))} mm`;
}

// What the map does at a place of the fixed scan: where it is, u and |J|.
function probeText(place) {
  const u = [...model.atNodes(model.u, 3, place)].slice(0, meta.ndim);
  const [determinant] = model.atNodes(model.jacobian, 1, place);
  const where = meta.axes.slice(0, meta.ndim).map((axis, a) => {
    const mm = axis?.start == null ? place[a] : axis.start + place[a];
    return minus(mm.toFixed(0));
  });
  const vector = u.map((mm) => minus(mm.toFixed(1))).join(', ');
  return `(${where.join(', ')}) mm \u00b7 u = (${vector}), ${Math.hypot(...u).toFixed(1)} mm` +
    ` \u00b7 |J| = ${minus(determinant.toFixed(2))}`;
}

function updateText() {
  const t = state.t.toFixed(2);
  $('time').value = state.t;
  $('time').setAttribute('aria-valuetext', `t = ${t}`);
  $('now').textContent = t;
  const yet = state.t < 1 ? ' so far' : '';
  $('most').textContent = `moved by up to ${model.maxDisplacement.toFixed(1)} mm${yet}`;
  const { total } = model.frame ? meta.folds[model.frame - 1] : { total: 0 };
  const share = Number(((100 * total) / meta.voxels).toPrecision(1));
  $('folds').textContent = total ? `${total.toLocaleString('en')} folds (${share} %)` : 'no folds';
  $('folds').classList.toggle('some', total > 0);
  for (let a = 0; is3d && a < 3; a++) {
    $(`at${a}`).value = state.crosshair[a];
    $(`at${a}`).setAttribute('aria-valuetext', positionText(a));
    $(`place${a}`).textContent = positionText(a);
  }
  $('probe').textContent = `${is3d ? 'at the crosshair' : 'in the middle'}: ` +
    probeText(state.crosshair);
  for (const name of ['showFixed', 'swipe', 'outline', 'lattice', 'cut'])
    $(name)?.setAttribute('aria-pressed', state[name]);
  $('blink')?.setAttribute('aria-pressed', Boolean(state.blinking));
  if ($('divide')) $('divide').hidden = !state.swipe;
  document.body.dataset.colour = state.colour;
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

function zoom(factor) {
  state.zoom = clamp(state.zoom * factor, 0.6, 4);
  redraw();
}

function moveCrosshair(a, mm) {
  state.crosshair[a] = clamp(mm, 0, meta.extent[a]);
  redraw('position');
}

// Draws coarsely while something moves, finely once it rests.
function setBusy(busy) {
  if (state.busy === busy) return;
  state.busy = busy;
  if (!busy) redraw('position');
}

function stop() {
  cancelAnimationFrame(state.playing);
  clearInterval(state.playing);
  state.playing = 0;
  delete $('play').dataset.playing;
  $('play').setAttribute('aria-label', 'Play');
  setBusy(false);
}

// To t = 1 and back, three seconds each way, with a rest at both ends; four steps each way where
// less motion is wished for.
function play() {
  if (state.playing) return stop();
  $('play').dataset.playing = '';
  $('play').setAttribute('aria-label', 'Pause');
  let direction = state.t >= 1 ? -1 : 1;
  if (reducedMotion.matches) {
    const step = () => {
      if (state.t >= 1 || state.t <= 0) direction = state.t >= 1 ? -1 : 1;
      const quarters = 4 * state.t;
      setTime((direction > 0 ? Math.floor(quarters + 0.01) + 1 : Math.ceil(quarters - 0.01) - 1) / 4);
    };
    state.playing = setInterval(step, 1000);
    return step();
  }
  setBusy(true);
  let [previous, rest] = [performance.now(), 0];
  const tick = (timestamp) => {
    const seconds = clamp((timestamp - previous) / 1000, 0, 0.1);
    previous = timestamp;
    rest -= seconds;
    if (rest <= 0) {
      setTime(state.t + direction * seconds / 3);
      if (state.t === 0 || state.t === 1) [rest, direction] = [0.7, state.t ? -1 : 1];
    }
    state.playing = requestAnimationFrame(tick);
  };
  state.playing = requestAnimationFrame(tick);
}

function stopBlinking() {
  clearInterval(state.blinking);
  state.blinking = 0;
}

// Fixed and warped by turns, at a pace that is safe to look at.
function blink() {
  if (state.blinking) {
    stopBlinking();
    state.showFixed = false;
  } else {
    state.blinking = setInterval(() => toggle('showFixed'), 700);
    state.showFixed = true;
  }
  redraw('time');
}

function toggle(name) {
  state[name] = !state[name];
  redraw('time');
}

function reset() {
  stop();
  stopBlinking();
  Object.assign(state, INITIAL, { crosshair: [...meta.start] });
  if ($('colour')) $('colour').value = state.colour;
  if ($('divide')) $('divide').value = state.divide;
  redraw('time');
}

async function load() {
  if (model || load.started) return;
  load.started = true;
  try {
    model = new Model(meta, await inflate($('data').textContent));
    build();
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
    if (!visible) { stop(); stopBlinking(); }
    else if (model) redraw();
    else load();
  }).observe(document.body);
  new ResizeObserver(() => { stale.position = true; redraw(); }).observe(document.body);
}
