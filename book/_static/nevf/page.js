// The page: what the worker sends becomes pictures and words.
//
// For tests and for the curious, `window.nevfLive` has
//   ready             a promise, kept once the first picture is drawn
//   state()           the settings, as in state.js
//   set(changes, run) changes them, as the controls do; with `run` it starts again
//   begin(theta)      starts again, from given parameters if there are any
//   go(count, wait)   that many steps; like `set` a promise of what is shown when they are taken
//   shown()           on the page: { record, displacement, cells, look, running, kind, rate }
//   pair()            { fixed, moving, truth } as they are registered
"use strict";

(() => {
  const root = document.getElementById("nevf-bench");
  if (!root) return;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const pictures = window.nevfPictures;
  const { SAME, DEFAULT, PUSH, pushIn, pushed, miss } = window.nevfState;
  const { shape, mm, images } = window.nevfSlices;
  const AT_ONCE = 300; // steps of a run, and of each time it goes on
  const KEPT = 400; // frames to look back at
  const script = document.currentScript.src;

  const slices = Object.fromEntries(
    Object.entries(images).map(([name, data]) => [name, pictures.slice(data, shape)]),
  );
  const drawnPush = pushIn(location.hash);
  const push = pushed(drawnPush ?? PUSH, slices.template, mm);
  slices.push = push.image;

  let state = { ...DEFAULT };
  let ticket = 0;
  let history = []; // records by iteration
  let before = []; // those of the run before, for comparison
  let frames = []; // { iteration, displacement, cells }, to look back at
  let look = null; // the frame that is shown instead of the last one
  let running = false;
  let held = true; // by the reader, until the first run: what begins anew waits for Run
  let frame = 0;
  let rate = 0;
  let outline = null;
  let resting = []; // who waits for the end of the steps
  const warped = new Float64Array(slices.push.values.length);
  const slopes = new Float64Array(2 * warped.length);

  const engine = window.nevfEngine.open(listen, script.replace(/\/[^/]*$/, ""));

  // ---- the worker ----

  function begin({ keep = false, theta = null } = {}) {
    look = null;
    if (!keep) {
      ticket++;
      if (history.length > 1) before = history;
      history = [];
      frames = [];
      outline = pictures.outline(slices[state.fixed]);
      pictures.still(part("fixed"), slices[state.fixed]);
    }
    const settings = { ...SAME, ...state };
    const [fixed, moving] = [slices[state.fixed].values, slices[state.moving].values];
    engine.post({ type: "begin", ticket, settings, fixed, moving, shape, keep, theta });
  }

  function go(count, wait = part("slow").checked ? 120 : 0) {
    if (count > 0) [running, look] = [true, null];
    if (count > 1) held = false;
    engine.post({ type: "go", count, wait });
    write();
    return rested();
  }

  // A promise of what is shown when the steps have come to rest.
  const rested = () => new Promise((done) => resting.push(done));

  function listen(message) {
    if (message.ticket !== ticket) return;
    const { records, displacement, cells } = message;
    for (const record of records) history[record.iteration] = record;
    const { iteration } = records[records.length - 1];
    if (frames[frames.length - 1]?.iteration >= iteration) frames.pop();
    frames.push({ iteration, displacement, cells });
    if (frames.length > KEPT) frames = frames.filter((_, k) => k % 2 === 0 || k > KEPT - 20);
    if (message.rate) rate = message.rate;
    if (message.resting && !(message.begun && running)) {
      running = false;
      for (const done of resting.splice(0)) done(shown());
      tell();
    }
    schedule();
  }

  // ---- pictures ----

  const current = () => frames[look ?? frames.length - 1];

  function shown() {
    if (!frames.length) return null;
    const { iteration, displacement, cells } = current();
    const [record, { kind }] = [history[iteration], engine];
    return { record, displacement, cells, look, running, kind, rate };
  }

  function schedule() {
    if (!frame) frame = requestAnimationFrame(update);
  }

  function update() {
    frame = 0;
    if (!frames.length) return;
    const { iteration, displacement, cells } = current();
    const [fixed, moving] = [slices[state.fixed], slices[state.moving]];
    const marks = part("marks").checked;
    pictures.warped(part("warped"), moving, displacement, marks ? cells : null, marks && outline);
    nevfFlow().pull(moving.values, displacement, shape, warped, slopes);
    pictures.error(part("error"), fixed, warped);
    window.nevfDraw.jacobian(part("jacobian"), fixed, cells);
    pictures.curve(part("curve"), history, before, look === null ? null : iteration);
    write();
    if (look === null) engine.post({ type: "shown" });
  }

  // ---- words ----

  const whole = (value) => value.toLocaleString("en-GB");

  function longest(u) {
    let most = 0;
    const n = warped.length;
    for (let p = 0; p < n; p++) most = Math.max(most, Math.hypot(u[p], u[n + p]));
    return mm * most;
  }

  function write() {
    if (!frames.length) return;
    const { record, displacement, cells } = shown();
    const { jacobian, smooth } = state;
    const number = (value) => (Number.isFinite(value) ? value.toFixed(3) : "not a number");
    part("folds").textContent = `folds: ${whole(record.folds)} of ${whole(cells.length)} cells`;
    part("folds").classList.toggle("has-folds", record.folds > 0);
    part("iteration").textContent = whole(record.iteration);
    part("similarity").textContent = number(record.similarity);
    const parts = [1 - record.similarity, jacobian * record.jacobian, smooth * record.smooth];
    part("loss").textContent = `${number(record.loss)} = ${parts.map(number).join(" + ")}`;
    part("longest").textContent = `${longest(displacement).toFixed(1)} mm`;
    part("rate").textContent = rate ? `${Math.round(rate)} a second` : "not yet measured";
    const known = state.fixed === "push" && state.moving === "template";
    part("miss-row").hidden = !known;
    if (known) {
      const { mean, largest } = miss(displacement, push.truth, push.image, mm);
      part("miss").textContent = `mean ${mean.toFixed(2)}, largest ${largest.toFixed(1)} mm`;
    }
    part("run").textContent = running ? "Pause" : record.iteration ? "Go on" : "Run";
    part("run").classList.toggle("is-waiting", !running && look === null && !record.iteration);
    part("step").disabled = running;
    const slider = part("look");
    slider.max = frames.length - 1;
    slider.value = look ?? frames.length - 1;
    slider.disabled = frames.length < 2;
    slider.setAttribute("aria-valuetext", `iteration ${record.iteration}`);
    part("look-value").textContent = `iteration ${record.iteration}`;
    window.nevfControls.write(state);
  }

  function tell() {
    const { record, cells } = shown();
    const said =
      `Iteration ${record.iteration}. Loss ${record.loss.toFixed(3)}, similarity ` +
      `${record.similarity.toFixed(3)}, folds: ${record.folds} of ${cells.length} cells.`;
    part("status").textContent = said;
    part("curve").setAttribute("aria-label", `Curve of the loss. ${said}`);
    part("jacobian").setAttribute("aria-label", `Map of the Jacobian determinant. ${said}`);
  }

  // ---- what the reader does ----

  // Changes settings. Images, the kind of field and its frequency begin anew, and so does a lattice
  // of voxels with another L; all else goes on from where it is. What begins anew runs, unless the
  // reader holds it: who looks back, or has seen a run to its end, does not. run: set it going.
  function set(changes, run = false) {
    const past = state;
    state = { ...state, ...changes };
    const anew =
      run ||
      ["fixed", "moving", "field", "omega"].some((name) => state[name] !== past[name]) ||
      (state.field === "voxel" && state.step !== past.step);
    const others = past.fixed !== state.fixed || past.moving !== state.moving;
    const moving = run || (anew && (!held || others));
    if (anew && running) go(0);
    begin({ keep: !anew });
    return moving ? go(AT_ONCE) : rested();
  }

  function listenToReader() {
    part("run").addEventListener("click", () => {
      held = running;
      go(running ? 0 : AT_ONCE);
    });
    part("step").addEventListener("click", () => go(1));
    part("again").addEventListener("click", () => set({}, true));
    part("slow").addEventListener("change", () => running && go(AT_ONCE));
    part("marks").addEventListener("change", schedule);
    part("look").addEventListener("input", (event) => {
      if (running) go(0);
      const at = Number(event.target.value);
      look = at === frames.length - 1 ? null : at;
      schedule();
    });
    window.nevfControls.listen(root, slices, set, Boolean(drawnPush));
    new ResizeObserver(() => {
      pictures.still(part("fixed"), slices[state.fixed]);
      schedule();
    }).observe(root);
  }

  // A push in the address is to be found at once; otherwise the first run begins when it is seen.
  function start() {
    listenToReader();
    if (drawnPush) state = { ...state, fixed: "push", moving: "template" };
    begin();
    const ready = rested().then(() => root.classList.add("is-ready"));
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!still) {
      const watch = new IntersectionObserver(([seen]) => {
        if (!seen.isIntersecting) return;
        watch.disconnect();
        ready.then(() => history.length <= 1 && !running && go(AT_ONCE));
      });
      watch.observe(part("warped"));
    }
    return ready;
  }

  window.nevfLive = {
    state: () => ({ ...SAME, ...state }),
    set,
    begin: (theta) => begin({ theta }),
    go,
    shown,
    pair: () => ({ fixed: slices[state.fixed], moving: slices[state.moving], truth: push.truth }),
  };
  window.nevfLive.ready = start();
})();
