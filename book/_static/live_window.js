// Chapter "Similarity and regularity": the window of local NCC, a shift and noise. Which window
// still finds the shift, if it climbs from 0 as long as the similarity rises?
"use strict";

(() => {
  const live = window.nevfLive;
  const { MM, load, similarity, grey, sequential, noise } = window.nevfTemplate;
  const WINDOWS = [3, 5, 9, 15, 31];
  const SHIFTS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16]; // voxels
  const NOISES = [0, 0.02, 0.04, 0.08, 0.16];
  const FAR = 20; // voxels: how far the partner is slid back, and room for it at both sides
  const ENOUGH = 1e-4; // a rise that an optimiser would notice

  live.mount("window", (host) => {
    const state = { window: 9, shift: 12, noise: 0.04 };
    const left = live.panel("Fixed", "A slice of the template");
    const right = live.panel("Its partner", "The same slice, shifted and with noise");
    const seen = live.panel("Squared local correlation", "The squared local correlation of both");
    const curve = live.make("div", { class: "nl-chart nl-wide" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    let [slice, found, judges] = [null, null, {}];
    const later = live.onFrame(draw);
    const set = (name) => (value) => {
      if (name !== "window") found = null;
      state[name] = value;
      later();
    };
    const mm = (voxels) => `${(MM * voxels).toFixed(1)} mm`;
    const window_ = live.slider(
      "Window",
      WINDOWS,
      state.window,
      (v) => `${v} voxels, ${mm(v)}`,
      set("window"),
    );
    const shift = live.slider("Shift of the partner", SHIFTS, state.shift, mm, set("shift"));
    const noisy = live.slider("Noise", NOISES, state.noise, (v) => v.toFixed(2), set("noise"));
    host.append(
      live.make("div", { class: "nl-controls" }, window_.element, shift.element, noisy.element),
      live.make("div", { class: "nl-bench nl-three" }, left.element, right.element, seen.element),
      curve,
      words,
    );

    // The slice with room for the shift.
    function roomy({ shape: [columns, rows], values, brain }) {
      const shape = [columns + 2 * FAR, rows];
      const padded = (plane) => {
        const out = new Float32Array(shape[0] * rows);
        out.set(plane, FAR * rows);
        return out;
      };
      return { shape, values: padded(values), brain: padded(brain) };
    }

    // Pushed to the right by whole voxels, zeros coming in.
    function pushed(values, by) {
      const [columns, rows] = slice.shape;
      return values.map((_, p) => {
        const i = Math.floor(p / rows) - by;
        return i < 0 || i >= columns ? 0 : values[p - by * rows];
      });
    }

    // The mean over the brain, in [0, 1].
    function likeness(judge, image) {
      judge.value(image);
      let [sum, count] = [0, 0];
      for (let p = 0; p < slice.brain.length; p++) {
        sum += slice.brain[p] * judge.map[p];
        count += slice.brain[p];
      }
      return sum / count;
    }

    // Slides the partner back voxel by voxel: the likeness at each, and where a climb from 0 ends.
    function search() {
      const static_ = noise(slice.values.length, 7);
      const moved = pushed(slice.values, state.shift);
      const partner = moved.map((value, p) => value + state.noise * static_[p]);
      const climbs = WINDOWS.map((size) => {
        const ys = Array.from({ length: FAR + 1 }, (_, k) =>
          likeness(judges[size], pushed(partner, -k)),
        );
        let end = 0;
        while (end < FAR && ys[end + 1] > ys[end] + ENOUGH) end++;
        return { size, ys, end, finds: end === state.shift };
      });
      return { partner, climbs };
    }

    function draw() {
      if (!slice) return;
      found ??= search();
      const { partner, climbs } = found;
      const judge = judges[state.window];
      const now = likeness(judge, partner);
      live.paint(left.canvas, slice.values, slice.shape, grey);
      live.paint(right.canvas, partner, slice.shape, grey);
      live.paint(seen.canvas, judge.map, slice.shape, sequential);
      const xs = climbs[0].ys.map((_, k) => MM * k);
      const ordered = climbs.filter(({ size }) => size !== state.window);
      const chosen = climbs.find(({ size }) => size === state.window);
      const lines = ordered.map(({ ys }) => ({ xs, ys, colour: "#8d949e", dash: true }));
      const ends = climbs.map(({ size, ys, end, finds }) => ({
        xs: [MM * end],
        ys: [ys[end]],
        dots: true,
        colour: finds ? live.CURVES[2] : live.CURVES[1],
        size,
      }));
      live.chart(
        curve,
        {
          x: { label: "slid back by (mm)", low: 0, high: 30, ticks: [0, 6, 12, 18, 24, 30] },
          y: { label: "squared correlation", low: 0, high: 1, ticks: [0, 0.25, 0.5, 0.75, 1] },
        },
        [
          { name: `window ${chosen.size}`, xs, ys: chosen.ys },
          { name: "other windows", ...lines[0] },
          ...lines.slice(1),
          ...ends,
        ],
        "Mean squared local correlation as the partner is slid back, for each window",
        [{ x: MM * state.shift, text: "true shift" }],
      );
      const names = (ok) => climbs.filter(({ finds }) => finds === ok).map(({ size }) => size);
      const list = (sizes) => sizes.join(", ").replace(/, (\d+)$/, " and $1");
      const [good, bad] = [names(true), names(false)];
      words.textContent =
        `As it stands: ${now.toFixed(2)}. Climbing from 0, ` +
        (good.length ? `windows ${list(good)} find the shift of ${mm(state.shift)}` : "no window arrives") +
        (bad.length && good.length ? `; ${list(bad)} stop short or pass by.` : ".");
      host.dataset.measured = JSON.stringify({ ...state, now, good, bad });
    }

    host.ready = load().then((loaded) => {
      host.slice = slice = roomy(loaded); // a test asks for it
      judges = Object.fromEntries(
        WINDOWS.map((size) => [size, similarity(slice.values, slice.shape, size)]),
      );
      draw();
    });
    return draw;
  });
})();
