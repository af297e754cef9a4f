// Pointers, wheel and keys. One finger turns the scene, two zoom it; the page scrolls by the rest.

// Calls handle(event, dx, dy) while one pointer drags, pinch(factor) while two do.
function drag(canvas, handle, pinch) {
  const pointers = new Map();
  const gap = () => {
    const [p, q] = [...pointers.values()];
    return Math.hypot(p[0] - q[0], p[1] - q[1]);
  };
  canvas.addEventListener('pointerdown', (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.setPointerCapture(event.pointerId);
    setBusy(true);
    if (pointers.size === 1) handle(event, 0, 0);
  });
  canvas.addEventListener('pointermove', (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const before = pointers.size === 2 ? gap() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (before && pinch) pinch(gap() / before);
    else if (pointers.size === 1) handle(event, event.clientX - last[0], event.clientY - last[1]);
  });
  for (const end of ['pointerup', 'pointercancel'])
    canvas.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size && !state.playing) setBusy(false);
    });
}

function hover(canvas, placeOf) {
  canvas.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const place = placeOf(event.clientX - box.left, event.clientY - box.top);
    if (place) $('probe').textContent = `here: ${probeText(place)}`;
  });
  canvas.addEventListener('pointerleave', updateText);
}

// The place of a pixel of a slice, mm along the box's axes; null outside it.
function placeOnSlice(canvas, x, y) {
  const across = Number(canvas.dataset.across);
  const { b, c, scale, h, x: left, y: top } =
    layout(across, canvas.clientWidth, canvas.clientHeight);
  const place = [...state.crosshair];
  [place[b], place[c]] = [(x - left) / scale, (top + h - y) / scale];
  const inside = [b, c].every((a) => place[a] >= 0 && place[a] <= meta.extent[a]);
  return { place, inside, across, b, c };
}

function addSliceListeners(canvas) {
  hover(canvas, (x, y) => {
    const { place, inside } = placeOnSlice(canvas, x, y);
    return inside ? place : null;
  });
  drag(canvas, (event) => {
    const box = canvas.getBoundingClientRect();
    const { place, b, c } = placeOnSlice(canvas, event.clientX - box.left, event.clientY - box.top);
    if (state.swipe) {
      state.divide = clamp(place[b] / meta.extent[b], 0, 1);
      $('divide').value = state.divide;
      redraw('position');
    } else if (is3d) for (const a of [b, c]) moveCrosshair(a, place[a]);
  });
}

function addSceneListeners() {
  hover(sceneCanvas, pick);
  if (!is3d) return;
  drag(sceneCanvas, (event, dx, dy) => {
    document.body.dataset.turned = '';
    turn(-dx * 0.008, dy * 0.008);
  }, zoom);
  sceneCanvas.addEventListener('wheel', (event) => {
    // a wheel scrolls the page until the scene was clicked; a pinch on a touchpad always zooms
    if (!event.ctrlKey && document.activeElement !== sceneCanvas) return;
    event.preventDefault();
    document.body.dataset.turned = '';
    zoom(Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  const keys = {
    ArrowLeft: () => turn(0.09, 0), ArrowRight: () => turn(-0.09, 0),
    ArrowUp: () => turn(0, -0.09), ArrowDown: () => turn(0, 0.09),
    '+': () => zoom(1.15), '=': () => zoom(1.15), '-': () => zoom(1 / 1.15),
  };
  sceneCanvas.addEventListener('keydown', (event) => {
    if (!(event.key in keys)) return;
    event.preventDefault(); // the page would scroll
    document.body.dataset.turned = '';
    keys[event.key]();
  });
}

function addListeners() {
  $('time').addEventListener('input', (event) => { stop(); setTime(Number(event.target.value)); });
  $('play').addEventListener('click', play);
  $('reset').addEventListener('click', reset);
  document.addEventListener('keydown', (event) => {
    if (event.key !== ' ' || event.target.closest('button, select')) return;
    event.preventDefault(); // the page would scroll
    if (!event.repeat) play();
  });
  for (const name of ['swipe', 'outline', 'lattice', 'cut'])
    $(name)?.addEventListener('click', () => toggle(name));
  $('showFixed')?.addEventListener('click', () => { stopBlinking(); toggle('showFixed'); });
  $('blink')?.addEventListener('click', blink);
  $('divide')?.addEventListener('input', (event) => {
    state.divide = Number(event.target.value);
    redraw('position');
  });
  $('colour').addEventListener('change', (event) => {
    state.colour = event.target.value;
    redraw('time');
  });
  for (const input of document.querySelectorAll('input[type="range"]')) {
    input.addEventListener('pointerdown', () => setBusy(true));
    for (const end of ['pointerup', 'pointercancel'])
      input.addEventListener(end, () => { if (!state.playing) setBusy(false); });
  }
  addSceneListeners();
  sliceCanvases.forEach(addSliceListeners);
  for (let a = 0; is3d && a < 3; a++)
    $(`at${a}`).addEventListener('input', (event) => moveCrosshair(a, Number(event.target.value)));
}
