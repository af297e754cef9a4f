// Chapter "Similarity and regularity": the force of a similarity, minus its gradient with respect to
// the displacement, on a slice whose right answer is known because we moved it ourselves.
"use strict";

(() => {
  const live = window.nevfLive;
  const { MM, load, similarity, grey } = window.nevfTemplate;
  const { field, arrows } = window.nevfWind;
  const { compose } = window.nevfField;
  const CHOICES = [0, 3, 5, 9, 15, 31]; // 0: the squared error
  const WAYS = [1, 2, 3, 4, 6, 8]; // voxels
  const CONTRASTS = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
  const SIGMA = 12; // voxels
  const EVERY = 4;

  const total = (values) => values.reduce((sum, value) => sum + value, 0);

  // judge: { value, gradient } of an image, as in nevf/losses.js, or null for the squared error.
  function force(fixed, moving, shape, judge) {
    const [columns, rows] = shape;
    const n = columns * rows;
    if (judge) judge.value(moving);
    const out = new Float32Array(2 * n);
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++) {
        const wish = judge ? -judge.gradient[p] : (2 * (fixed[p] - moving[p])) / n;
        // read between voxels, the slope is the difference to the next one
        if (i < columns - 1) out[p] = wish * (moving[p + rows] - moving[p]);
        if (j < rows - 1) out[n + p] = wish * (moving[p + 1] - moving[p]);
      }
    }
    return out;
  }

  live.mount("force", (host) => {
    const state = { choice: 9, way: 3, contrast: 0.7, seed: 3, spot: null };
    const stage = live.panel("Moving slice, forces and the fixed outline", "");
    const { canvas } = stage;
    canvas.tabIndex = 0;
    canvas.classList.add("nl-stage");
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "The force on every fourth voxel: arrow keys choose a voxel");
    const truth = live.panel("Where each voxel should go", "Arrows of the known displacement");
    const words = live.make("p", { class: "nl-words", role: "status" });
    const voxel = live.make("p", { class: "nl-words", role: "status" });
    let [slice, scene] = [null, null];
    const later = live.onFrame(draw);
    const set = (name) => (value) => {
      state[name] = value;
      scene = null;
      later();
    };
    const judged = (v) => (v ? `local NCC, window ${v}` : "squared error");
    const choice = live.slider("Similarity", CHOICES, state.choice, judged, set("choice"));
    const way = live.slider(
      "Moved by at most",
      WAYS,
      state.way,
      (v) => `${(MM * v).toFixed(1)} mm`,
      set("way"),
    );
    const contrast = live.slider(
      "Contrast, moving slice",
      CONTRASTS,
      state.contrast,
      (v) => `${Math.round(100 * v)} %`,
      set("contrast"),
    );
    host.append(
      live.make("div", { class: "nl-controls" }, choice.element, way.element, contrast.element),
      live.make("div", { class: "nl-bench nl-pair" }, stage.element, truth.element),
      voxel,
      words,
    );

    // The moving slice is the fixed one under -d, with another contrast; d is what should be found.
    function made() {
      const { shape, values, brain } = slice;
      const n = values.length;
      const unit = field(shape, SIGMA, state.seed);
      const goal = unit.map((value) => state.way * value);
      const both = new Float32Array(2 * n);
      both.set(values);
      const away = goal.map((value) => -value);
      const moved = compose(away, both, shape).map((value, p) => value - away[p]);
      const moving = Float32Array.from(moved.subarray(0, n), (value) => state.contrast * value);
      const judge = state.choice ? similarity(values, shape, state.choice) : null;
      const push = force(values, moving, shape, judge);
      // of the force that there is: how much points to the side of the right answer
      let [right, all] = [0, 0];
      for (let p = 0; p < n; p++) {
        const size = Math.hypot(push[p], push[n + p]);
        all += size;
        if (push[p] * goal[p] + push[n + p] * goal[n + p] > 0) right += size;
      }
      const seen = new Float32Array(2 * n); // the root of the length: to be seen
      for (let p = 0; p < n; p++) {
        const size = Math.sqrt(Math.hypot(push[p], push[n + p]));
        if (!size) continue;
        seen[p] = push[p] / size;
        seen[n + p] = push[n + p] / size;
      }
      const sizes = seen.subarray(0, n).map((value, p) => Math.hypot(value, seen[n + p]));
      const most = sizes.filter((_, p) => brain[p]).sort()[Math.floor(0.9 * total(brain))];
      return { goal, moving, push, seen, most, share: right / (all || 1) };
    }

    function place(event) {
      const box = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      return [x / box.width, 1 - y / box.height].map((share, c) =>
        Math.min(slice.shape[c] - 2, Math.max(0, Math.floor(share * slice.shape[c]))),
      );
    }
    for (const name of ["pointermove", "pointerdown"]) {
      canvas.addEventListener(name, (event) => {
        if (!slice) return;
        state.spot = place(event);
        later();
      });
    }
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (!step[event.key] || !slice) return;
      event.preventDefault();
      state.spot = (state.spot ?? slice.shape.map((n) => n >> 1)).map((k, c) =>
        Math.min(slice.shape[c] - 2, Math.max(0, k + step[event.key][c])),
      );
      later();
    });

    function told() {
      if (!state.spot) return "Point at a voxel, or focus the picture and press the arrow keys.";
      const [i, j] = state.spot;
      const p = i * slice.shape[1] + j;
      const n = slice.values.length;
      const { moving, push, goal } = scene;
      const off = moving[p] - slice.values[p];
      const size = Math.hypot(push[p], push[n + p]);
      const along = push[p] * goal[p] + push[n + p] * goal[n + p];
      const cosine = along / (size * Math.hypot(goal[p], goal[n + p]) || 1);
      const side = size < 1e-9 ? "no force" : `force at ${angle(cosine)} from the right way`;
      const bright = Math.abs(off) < 0.005 ? "as bright" : off > 0 ? "brighter" : "darker";
      return `Voxel (${i}, ${j}): ${moving[p].toFixed(2)}, ${bright} ${bright === "as bright" ? "as" : "than"} the fixed ${slice.values[p].toFixed(2)}; ${side}.`;
    }

    const angle = (cosine) =>
      `${Math.round((Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI)}°`;

    function draw() {
      if (!slice) return;
      scene ??= made();
      const { shape } = slice;
      for (const [{ canvas: sheet }, shown, ink, most] of [
        [stage, scene.seen, live.STYLE.MOVED, scene.most],
        [truth, scene.goal, live.STYLE.FIXED],
      ]) {
        const pen = live.paint(sheet, scene.moving, shape, (v) => grey(0.7 * v));
        const to = window.nevfDraw.placer(sheet, shape);
        pen.strokeStyle = ink;
        pen.lineWidth = Math.max(1, 0.28 * to.size);
        arrows(pen, to, shown, shape, EVERY, most);
        if (sheet === canvas) outline(pen, to);
      }
      if (state.spot) {
        const [x, y] = state.spot;
        window.nevfDraw.strokes(canvas, shape, [], { x, y });
      }
      voxel.textContent = told();
      voxel.classList.toggle("nl-invites", !state.spot);
      words.textContent =
        `${judged(state.choice)[0].toUpperCase()}${judged(state.choice).slice(1)}: ` +
        `${Math.round(100 * scene.share)} % of the force points to the side of the right answer ` +
        "(50 % would be a coin).";
      host.dataset.measured = JSON.stringify({ ...state, share: scene.share });
    }

    // The rim of the fixed brain, as edges between voxels.
    function outline(pen, to) {
      const [columns, rows] = slice.shape;
      pen.strokeStyle = live.STYLE.FIXED;
      pen.lineWidth = Math.max(1, 0.4 * to.size);
      pen.beginPath();
      for (let i = 0, p = 0; i < columns - 1; i++) {
        for (let j = 0; j < rows; j++, p++) {
          if (slice.brain[p] !== slice.brain[p + rows]) {
            pen.moveTo(to.x(i + 0.5), to.y(j - 0.5));
            pen.lineTo(to.x(i + 0.5), to.y(j + 0.5));
          }
          if (j < rows - 1 && slice.brain[p] !== slice.brain[p + 1]) {
            pen.moveTo(to.x(i - 0.5), to.y(j + 0.5));
            pen.lineTo(to.x(i + 0.5), to.y(j + 0.5));
          }
        }
      }
      pen.stroke();
    }

    host.force = force; // for the test that compares it with autograd
    host.ready = load().then((loaded) => {
      slice = loaded;
      draw();
    });
    return draw;
  });
})();
