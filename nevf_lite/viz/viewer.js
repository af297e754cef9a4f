// Words and controls. Nothing is drawn off the screen or without a cause.

function place(a) {
  const axis = meta.axes[a];
  const mm = axis.start === null ? state.at[a] : axis.start + state.at[a];
  const text = Math.round(mm).toString().replace('-', '\u2212').replace(/^\u22120$/, '0');
  if (axis.start === null) return `${text} mm from ${meta.letters[a][0]}`; // an oblique scan
  return `${axis.name} = ${text} mm`;
}

function words() {
  const t = state.t.toFixed(2);
  $('time').value = state.t;
  $('time').setAttribute('aria-valuetext', `t = ${t}`);
  $('now').textContent = t;
  $('most').textContent = `moved by up to ${model.longest.toFixed(1)} mm`;
  const { total } = model.frame ? meta.folds[model.frame - 1] : { total: 0 };
  const share = Number(((100 * total) / meta.voxels).toPrecision(1));
  $('folds').textContent = total ? `${total.toLocaleString('en')} folds (${share} %)` : 'no folds';
  $('folds').classList.toggle('some', total > 0);
  for (let a = 0; three && a < 3; a++) {
    $(`at${a}`).value = state.at[a];
    $(`at${a}`).setAttribute('aria-valuetext', place(a));
    $(`place${a}`).textContent = place(a);
  }
  if ($('which')) $('which').setAttribute('aria-pressed', state.showFixed);
  for (const title of document.querySelectorAll('[data-fixed]'))
    title.textContent = state.showFixed ? title.dataset.fixed : title.dataset.moving;
}

// ---------------------------------------------------------------------------------- listening

function setTime(t) {
  state.t = Math.max(0, Math.min(t, 1));
  redraw('time');
}

function turn(yaw, pitch) {
  if (!three) return;
  state.yaw = (state.yaw + yaw) % TAU;
  state.pitch = Math.max(-Math.PI / 2, Math.min(state.pitch + pitch, Math.PI / 2));
  redraw();
}

function go(a, mm) {
  state.at[a] = Math.max(0, Math.min(mm, meta.extent[a]));
  redraw('place');
}

function stop() {
  cancelAnimationFrame(state.playing);
  clearInterval(state.playing);
  state.playing = 0;
  delete $('play').dataset.playing;
  $('play').setAttribute('aria-label', 'Play');
}

// To t = 1 in three seconds, a pause, and again from 0; in four steps for who wants no motion.
function play() {
  if (state.playing) return stop();
  $('play').dataset.playing = '';
  $('play').setAttribute('aria-label', 'Pause');
  if (calm.matches) {
    const step = () => setTime(state.t >= 1 ? 0 : (Math.floor(state.t * 4 + 0.01) + 1) / 4);
    state.playing = setInterval(step, 1000);
    return step();
  }
  let [before, rest] = [performance.now(), 0];
  const tick = (now) => {
    const seconds = Math.max(0, Math.min((now - before) / 1000, 0.1));
    before = now;
    if (state.t >= 1 && (rest += seconds) > 0.8) [rest, state.t] = [0, 0];
    else if (state.t < 1) setTime(state.t + seconds / 3);
    redraw('time');
    state.playing = requestAnimationFrame(tick);
  };
  state.playing = requestAnimationFrame(tick);
}

function drag(canvas, act) {
  let last = null;
  canvas.addEventListener('pointerdown', (event) => {
    last = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
    act(event, 0, 0);
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!last) return;
    act(event, event.clientX - last[0], event.clientY - last[1]);
    last = [event.clientX, event.clientY];
  });
  for (const end of ['pointerup', 'pointercancel'])
    canvas.addEventListener(end, () => { last = null; });
}

function listen() {
  $('time').addEventListener('input', (event) => { stop(); setTime(Number(event.target.value)); });
  $('play').addEventListener('click', play);
  $('reset').addEventListener('click', () => {
    stop();
    Object.assign(state, START, { at: [...START.at], showFixed: false });
    redraw('place');
    redraw('time');
  });
  if ($('which'))
    $('which').addEventListener('click', () => {
      state.showFixed = !state.showFixed;
      redraw('time');
    });
  if (!three) return;
  drag(scene, (_, dx, dy) => turn(-dx * 0.008, dy * 0.008));
  const keys = {
    ArrowLeft: [0.09, 0], ArrowRight: [-0.09, 0], ArrowUp: [0, -0.09], ArrowDown: [0, 0.09],
  };
  scene.addEventListener('keydown', (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault(); // the page would scroll
    turn(...keys[event.key]);
  });
  for (let a = 0; a < 3; a++)
    $(`at${a}`).addEventListener('input', (event) => go(a, Number(event.target.value)));
  for (const canvas of panes)
    drag(canvas, (event) => {
      const box = canvas.getBoundingClientRect();
      const { b, c, scale, h, x, y } = fit(Number(canvas.dataset.across), box.width, box.height);
      go(b, (event.clientX - box.left - x) / scale);
      go(c, (y + h - event.clientY + box.top) / scale);
    });
}

async function begin() {
  if (model || begin.begun) return;
  begin.begun = true;
  try {
    model = new Model(meta, await inflate($('data').textContent));
  } catch (error) {
    $('note').textContent = `The deformation could not be read: ${error.message}.`;
    return;
  }
  listen();
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
    else begin();
  }).observe(document.body);
  new ResizeObserver(() => { stale.place = true; redraw(); }).observe(document.body);
}
