// Chapter "Velocity fields": scaling and squaring as a film. One small jump doubles, time after time.
"use strict";

(() => {
  const live = window.nevfLive;
  const { field, at, trail, arrow, player } = window.nevfWind;
  const { compose, jacobianDeterminant } = window.nevfField;
  const SHAPE = [96, 80];
  const SIGMA = 9; // voxels
  const FRAMES = 16; // of one squaring
  const LONGEST = [8, 16, 24, 32, 48, 80]; // voxels
  const FOLLOWED = [
    [0.25, 0.3],
    [0.32, 0.72],
    [0.5, 0.5],
    [0.68, 0.25],
    [0.74, 0.7],
  ].map((share) => share.map((s, c) => s * (SHAPE[c] - 1)));

  live.mount("squaring", (host) => {
    const state = { squarings: 7, longest: 24, seed: 5, frame: 0 };
    const map = live.panel("Lattice", "A lattice moved by the jump so far");
    const paths = live.panel("Five points", "The jump of five points, made of two jumps half as long");
    const clock = live.make("div", { class: "nl-chart nl-clock" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    let [chain, velocity] = [null, null];
    const later = live.onFrame(draw);
    const set = (name) => (value) => {
      state[name] = value;
      chain = null;
      later();
    };
    const wanted = [0, 1, 2, 3, 4, 5, 6, 7];
    const count = live.slider("Squarings T", wanted, state.squarings, String, set("squarings"));
    const longest = live.slider(
      "Longest velocity",
      LONGEST,
      state.longest,
      (v) => `${v} voxels`,
      set("longest"),
    );
    const shares = Array.from({ length: 7 * FRAMES + 1 }, (_, k) => k / (7 * FRAMES));
    const film = live.slider(
      "Film",
      shares,
      0,
      (share) => `${(share * state.squarings).toFixed(1)} squarings`,
      (share) => {
        play.stop();
        state.frame = share;
        later();
      },
    );
    const play = player(map.canvas, 11, (share) => {
      state.frame = shares[Math.round(share * (shares.length - 1))];
      film.set(state.frame);
      later();
    });
    host.append(
      live.make("div", { class: "nl-controls" }, count.element, longest.element, film.element),
      live.make("div", { class: "nevf-buttons" }, play.button),
      live.make("div", { class: "nl-bench nl-two" }, map.element, paths.element),
      clock,
      words,
    );

    // u at t = 1/2^T, ..., 1/2, 1: every map of scaling and squaring.
    function squared() {
      velocity ??= { unit: field(SHAPE, SIGMA, state.seed) };
      velocity.now = velocity.unit.map((value) => state.longest * value);
      chain = [velocity.now.map((value) => value / 2 ** state.squarings)];
      for (let k = 0; k < state.squarings; k++) chain.push(compose(chain[k], chain[k], SHAPE));
    }

    // How far the second of the two jumps has come: it rests at both ends.
    const eased = (part) => Math.min(1, Math.max(0, 1.6 * part - 0.3));

    function draw() {
      if (!chain) squared();
      const passed = state.frame * state.squarings;
      const k = Math.min(Math.floor(passed), Math.max(0, state.squarings - 1));
      const part = state.squarings ? eased(passed - k) : 0;
      const [u, next] = [chain[k], chain[Math.min(k + 1, state.squarings)]];
      const shown = u.map((value, p) => value + part * (next[p] - value));
      const cells = jacobianDeterminant(shown, SHAPE);
      const folds = cells.reduce((sum, value) => sum + (value <= 0), 0);
      const blank = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
      blank.getContext("2d").fillStyle = live.STYLE.CARD;
      blank.getContext("2d").fillRect(0, 0, 1, 1);
      map.canvas.style.aspectRatio = `${SHAPE[0]} / ${SHAPE[1]}`;
      window.nevfDraw.mesh(map.canvas, SHAPE, shown, cells, live.STYLE.MOVED, blank);

      const pen = live.fitted(paths.canvas, SHAPE);
      const to = window.nevfDraw.placer(paths.canvas, SHAPE);
      pen.fillStyle = live.STYLE.CARD;
      pen.fillRect(0, 0, paths.canvas.width, paths.canvas.height);
      const wide = Math.max(1.5, 0.4 * to.size);
      for (const from of FOLLOWED) {
        pen.strokeStyle = "rgba(236, 238, 241, 0.4)";
        pen.lineWidth = wide;
        pen.beginPath();
        trail(velocity.now, SHAPE, from, "rk4", 128).forEach(([x, y], i) =>
          pen[i ? "lineTo" : "moveTo"](to.x(x), to.y(y)),
        );
        pen.stroke();
        const jump = (x, y, share, colour) => {
          const [dx, dy] = at(u, SHAPE, x, y);
          pen.strokeStyle = colour;
          pen.lineWidth = 1.7 * wide;
          pen.beginPath();
          arrow(pen, to.x(x), to.y(y), share * dx * to.size, -share * dy * to.size, 2.6 * to.size);
          pen.stroke();
          return [x + dx, y + dy];
        };
        const middle = jump(...from, 1, live.STYLE.FIXED);
        if (part > 0) jump(...middle, part, live.STYLE.MOVED);
        pen.fillStyle = "#fff";
        pen.beginPath();
        pen.arc(to.x(from[0]), to.y(from[1]), 1.6 * wide, 0, 2 * Math.PI);
        pen.fill();
      }
      const done = 2 ** k / 2 ** state.squarings;
      spend(done, part);
      let most = 0;
      const n = SHAPE[0] * SHAPE[1];
      for (let p = 0; p < n; p++) most = Math.max(most, Math.hypot(shown[p], shown[n + p]));
      const whole = part === 1 ? k + 1 : k;
      words.textContent =
        `After ${whole} of ${state.squarings} squarings: time ` +
        `${2 ** whole}/${2 ** state.squarings}, as many as ${2 ** whole} ` +
        `${whole ? "Euler steps" : "Euler step"}; longest jump ${most.toFixed(1)} voxels; ` +
        `${folds ? `${folds} cells fold` : "nothing folds"}.`;
      host.dataset.measured = JSON.stringify({ ...state, whole, folds, most });
    }

    // The unit of time as a bar: what the map has behind it, and what it is doubled by.
    function spend(done, part) {
      const width = Math.max(200, Math.min(720, clock.clientWidth || 360));
      const bar = (from, to, colour) =>
        `<rect x="${from * width}" y="4" width="${Math.max(2, (to - from) * width)}" height="12" fill="${colour}"/>`;
      const again = Math.min(1, done * (1 + part));
      clock.innerHTML =
        `<svg viewBox="0 0 ${width} 36" role="img" aria-label="The part of the unit of time that the map has covered">` +
        `<rect class="nl-rail" x="0.5" y="4" width="${width - 1}" height="12"/>` +
        `${bar(0, done, live.CURVES[0])}${part > 0 && again > done ? bar(done, again, live.CURVES[1]) : ""}` +
        `<text x="0" y="32">t = 0</text><text x="${width}" y="32" text-anchor="end">t = 1</text></svg>`;
    }
    return draw;
  });
})();
