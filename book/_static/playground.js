// The playground: strokes become a velocity, the velocity a map, the map four pictures.
//
// For tests and for the curious, `window.nevfPlayground` has
//   ready            a promise, kept once the slice is there and drawn
//   record()         { strokes, mode, amplitude, smoothness, squarings } as they are now
//   replay(record)   sets them (whatever is left out stays as it is), draws, and returns
//                    { shape, velocity, displacement, inverse, determinants, folds, cells,
//                      roundTrip: { mean, max } }; fields are Float32Arrays as in playground_field.js
//   milliseconds     how long the last update took
"use strict";

(() => {
  const root = document.getElementById("nevf-playground");
  if (!root) return;
  const field = window.nevfField;
  const draw = window.nevfDraw;
  const { signed } = window.nevfSigns;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const canvas = part("warped");
  const sliders = ["amplitude", "smoothness", "squarings"];

  const APART = [
    [
      [80, 96],
      [32, 96],
    ],
    [
      [80, 96],
      [128, 96],
    ],
  ]; // the two halves, pulled apart
  const PRESETS = {
    push: {
      mode: "velocity",
      amplitude: 16,
      smoothness: 10,
      squarings: 7,
      strokes: [
        [
          [52, 84],
          [104, 100],
        ],
      ],
    },
    fold: { mode: "displacement", amplitude: 28, smoothness: 12, squarings: 7, strokes: APART },
    squarings: { mode: "velocity", amplitude: 28, smoothness: 12, squarings: 0, strokes: APART },
  };

  let slice = null;
  let still = null; // the slice before it is pushed, drawn faintly
  let state = { ...PRESETS.push };
  let past = []; // earlier lists of strokes, for undo
  let active = null; // the stroke under the finger
  let cursor = null; // the keyboard's crosshair
  let result = null;
  let frame = 0;
  let quiet = 0;
  const units = new WeakMap(); // finished stroke -> its unit velocity at one sigma

  function unitField(stroke) {
    let found = units.get(stroke);
    if (!found || found.sigma !== state.smoothness) {
      const values = field.strokeField(stroke, state.smoothness, slice.shape);
      found = { sigma: state.smoothness, values };
      if (stroke !== active) units.set(stroke, found);
    }
    return found.values;
  }

  function shown() {
    return active ? [...state.strokes, active] : state.strokes;
  }

  function compute() {
    const { shape } = slice;
    const velocity = new Float32Array(2 * shape[0] * shape[1]);
    for (const stroke of shown()) {
      // Pull-back: x is filled from x + u(x), so tissue goes along the stroke when v points back.
      const unit = unitField(stroke);
      for (let k = 0; k < velocity.length; k++) velocity[k] -= state.amplitude * unit[k];
    }
    return field.study(velocity, state.mode === "velocity", state.squarings, shape);
  }

  function update() {
    frame = 0;
    const start = performance.now();
    const { shape } = slice;
    result = compute();
    draw.warped(canvas, slice, result.displacement, result.determinants);
    draw.strokes(canvas, shape, shown(), document.activeElement === canvas ? cursor : null);
    draw.jacobian(part("jacobian"), slice, result.determinants);
    const { displacement, inverse, determinants, across } = result;
    draw.mesh(part("map"), shape, displacement, determinants, draw.STYLE.FIXED, still);
    const warpedStill = draw.pulled(slice, displacement, 1, null, 0.4);
    draw.mesh(part("inverse"), shape, inverse, across, draw.STYLE.MOVED, warpedStill);
    write();
    window.nevfPlayground.milliseconds = performance.now() - start;
    part("milliseconds").textContent = `${Math.round(window.nevfPlayground.milliseconds)} ms`;
  }

  function schedule() {
    if (slice && !frame) frame = requestAnimationFrame(update);
  }

  // ---- words ----

  // A record in letters that an address may hold, and the theme's scripts take for a name: base64url.
  const letters = (value) =>
    btoa(JSON.stringify(value)).replace(/[+/=]/g, (sign) => ({ "+": "-", "/": "_" })[sign] ?? "");
  const whole = (value) => value.toLocaleString("en-GB");
  const voxels = (value) =>
    value > 0 && value < 0.001 ? "below 0.001" : value.toFixed(value < 1 ? 3 : 1);

  function write() {
    const { determinants, folds, low, high, longest, roundTrip } = result;
    const flows = state.mode === "velocity";
    part("folds").textContent = `folds: ${whole(folds)} of ${whole(determinants.length)} cells`;
    part("folds").classList.toggle("has-folds", folds > 0);
    part("range").textContent = `${signed(low)} to ${signed(high)}`;
    part("longest").textContent = `${longest.toFixed(1)} voxels`;
    part("trip").textContent =
      `mean ${voxels(roundTrip.mean)}, largest ${voxels(roundTrip.max)} voxels`;
    part("inverse-title").textContent = flows ? "Inverse, exp(−v)" : "Opposite, x − v(x)";
    part("squarings").disabled = !flows;
    part("undo").disabled = past.length === 0;
    part("clear").disabled = state.strokes.length === 0;
    part("ask").href = `nevf_in_the_page.html#push-${letters(record())}`;
    for (const name of sliders) {
      part(name).value = state[name];
      const unit = name === "squarings" ? "" : " voxels";
      part(`${name}-value`).textContent = `${state[name]}${unit}`;
    }
    part("squarings-value").textContent = flows ? `${state.squarings}` : "not used";
    part(state.mode).checked = true;
    clearTimeout(quiet); // a screen reader is told once the hand rests
    quiet = setTimeout(tell, 600);
  }

  function tell() {
    const { folds, determinants, low, high, longest, roundTrip } = result;
    const mode = state.mode === "velocity" ? "Integrated as a velocity" : "Used as a displacement";
    const strokes = state.strokes.length === 1 ? "1 stroke" : `${state.strokes.length} strokes`;
    const range = `Jacobian determinant from ${signed(low)} to ${signed(high)}`;
    const folding = `folds: ${whole(folds)} of ${whole(determinants.length)} cells`;
    const trip = `round-trip error at most ${voxels(roundTrip.max)} voxels`;
    say(`${mode}, ${strokes}. ${folding}. ${range}. ${trip}.`);
    part("jacobian").setAttribute(
      "aria-label",
      `Map of the Jacobian determinant: ${range}; ${folding}.`,
    );
    part("map").setAttribute(
      "aria-label",
      "The lattice of the map phi over the unpushed brain: " +
        `no point moves further than ${longest.toFixed(1)} voxels.`,
    );
    part("inverse").setAttribute(
      "aria-label",
      `The lattice of the opposite map over the warped brain: ${trip}.`,
    );
  }

  function say(text) {
    part("status").textContent = text;
  }

  // ---- strokes, sliders, switch ----

  function set(changes) {
    if (changes.strokes && changes.strokes !== state.strokes) past.push(state.strokes);
    state = { ...state, ...changes };
    schedule();
  }

  const tenth = (value) => Math.round(10 * value) / 10;

  function start(x, y) {
    active = [[tenth(x), tenth(y)]];
    schedule();
  }

  function extend(x, y) {
    const [lastX, lastY] = active[active.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < 1) return;
    active.push([tenth(x), tenth(y)]);
    schedule();
  }

  function finish(keep = true) {
    const stroke = active;
    active = null;
    if (keep && stroke && stroke.length > 1) set({ strokes: [...state.strokes, stroke] });
    schedule();
  }

  function undo() {
    if (past.length) state = { ...state, strokes: past.pop() };
    schedule();
  }

  function voxelAt(event) {
    const box = canvas.getBoundingClientRect();
    const [columns, rows] = slice.shape;
    return [
      ((event.clientX - box.left) / box.width) * columns - 0.5,
      rows - 0.5 - ((event.clientY - box.top) / box.height) * rows,
    ];
  }

  function listenToPointer() {
    canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      cursor = null;
      canvas.setPointerCapture(event.pointerId);
      start(...voxelAt(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!active || !event.isPrimary || !canvas.hasPointerCapture(event.pointerId)) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      for (const move of moves.length ? moves : [event]) extend(...voxelAt(move));
    });
    canvas.addEventListener("pointerup", (event) => event.isPrimary && finish());
    canvas.addEventListener("pointercancel", () => finish(false));
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  function listenToKeys() {
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const [columns, rows] = slice.shape;
      const arrow = ARROWS[event.key];
      const press = event.key === " " || event.key === "Enter";
      if (!arrow && !press && event.key !== "Escape") return;
      event.preventDefault();
      cursor ??= { x: Math.round(columns / 2), y: Math.round(rows / 2), down: false };
      if (arrow) {
        const far = event.shiftKey ? 12 : 4;
        cursor.x = Math.min(columns - 1, Math.max(0, cursor.x + far * arrow[0]));
        cursor.y = Math.min(rows - 1, Math.max(0, cursor.y + far * arrow[1]));
        if (cursor.down) extend(cursor.x, cursor.y);
      } else if (press && !event.repeat) {
        if (cursor.down) finish();
        else start(cursor.x, cursor.y);
        cursor.down = !cursor.down;
        say(`Stroke ${cursor.down ? "begun" : "ended"} at ${cursor.x} right, ${cursor.y} up.`);
      } else if (event.key === "Escape" && cursor.down) {
        cursor.down = false;
        finish(false);
        say("Stroke dropped.");
      }
      schedule();
    });
    canvas.addEventListener("focus", () => schedule());
    canvas.addEventListener("blur", () => {
      if (cursor?.down) finish();
      if (cursor) cursor.down = false;
      schedule();
    });
    root.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== "z" || active) return;
      event.preventDefault();
      undo();
    });
  }

  function listen() {
    listenToPointer();
    listenToKeys();
    for (const name of sliders) {
      part(name).addEventListener("input", (event) => set({ [name]: Number(event.target.value) }));
    }
    for (const mode of ["velocity", "displacement"]) {
      part(mode).addEventListener("change", () => set({ mode }));
    }
    part("undo").addEventListener("click", undo);
    part("clear").addEventListener("click", () => set({ strokes: [] }));
    for (const button of document.querySelectorAll("[data-playground-preset]")) {
      button.addEventListener("click", () => {
        set(PRESETS[button.dataset.playgroundPreset]);
        if (!root.contains(button)) root.scrollIntoView({ block: "start" });
      });
    }
    new ResizeObserver(schedule).observe(root);
  }

  async function begin() {
    slice = await draw.load(window.nevfSlice);
    still = draw.pulled(slice, new Float32Array(2 * slice.values.length), 1, null, 0.4);
    listen();
    update();
    root.classList.add("is-ready");
  }

  function record() {
    const { mode, amplitude, smoothness, squarings, strokes } = state;
    return { mode, amplitude, smoothness, squarings, strokes };
  }

  function replay(changes) {
    set(changes);
    cancelAnimationFrame(frame);
    update();
    const { velocity, displacement, inverse, determinants, folds, roundTrip } = result;
    const cells = determinants.length;
    return {
      shape: slice.shape,
      velocity,
      displacement,
      inverse,
      determinants,
      folds,
      cells,
      roundTrip,
    };
  }

  window.nevfPlayground = { record, replay, milliseconds: 0 };
  window.nevfPlayground.ready = begin();
})();
