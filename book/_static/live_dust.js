// Chapter "Velocity fields": dust in the wind. Particles are released in a field of arrows; their
// paths by Euler's rule, by the midpoint rule, and (nearly) exactly.
"use strict";

(() => {
  const live = window.nevfLive;
  const { field, trail, arrows, player } = window.nevfWind;
  const SHAPE = [112, 72];
  const SIGMA = 7; // voxels
  const STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64];
  const LONGEST = [6, 12, 24, 36, 48, 72]; // voxels
  const FINE = 256; // Runge-Kutta steps of the path that is called exact
  const FRAMES = 100;
  const RULES = [
    { rule: "euler", name: "Euler", colour: "#ff8a3d" },
    { rule: "midpoint", name: "midpoint", colour: "#3fd0a0" },
    { rule: "rk4", name: "exact", colour: "#f2f4f7" },
  ];

  live.mount("dust", (host) => {
    const state = { steps: 3, longest: 48, seed: 11, time: FRAMES };
    const stage = live.panel("Dust in a wind", "Arrows, and the paths of particles among them");
    const { canvas } = stage;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "Dust in arrows: arrow keys move a cross, Enter releases dust");
    canvas.classList.add("nl-stage");
    const key = live.make("p", { class: "nl-key" });
    for (const { name, colour } of RULES) {
      const dot = live.make("span", { class: "nl-dot", style: `background:${colour}` });
      key.append(live.make("span", {}, dot, name));
    }
    const curve = live.make("div", { class: "nl-chart" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    let [released, wind, paths, cursor] = [scatter(), null, [], null];

    const later = live.onFrame(draw);
    const set = (name) => (value) => {
      state[name] = value;
      follow();
    };
    const step = live.slider("Steps in one unit of time", STEPS, state.steps, String, set("steps"));
    const longest = live.slider(
      "Longest arrow",
      LONGEST,
      state.longest,
      (v) => `${v} voxels`,
      set("longest"),
    );
    const frames = Array.from({ length: FRAMES + 1 }, (_, k) => k);
    const time = live.slider(
      "Time t",
      frames,
      state.time,
      (k) => (k / FRAMES).toFixed(2),
      (k) => {
        play.stop();
        state.time = k;
        later();
      },
    );
    const play = player(canvas, 3, (share) => {
      state.time = Math.round(share * FRAMES);
      time.set(state.time);
      later();
    });
    const again = live.button("Another wind", () => {
      state.seed++;
      wind = null;
      released = scatter();
      follow();
    });
    const sweep = live.button("Sweep away", () => {
      released = [];
      follow();
    });
    host.append(
      live.make("div", { class: "nl-controls" }, step.element, longest.element, time.element),
      live.make("div", { class: "nevf-buttons" }, play.button, again, sweep),
      stage.element,
      key,
      curve,
      words,
    );

    function scatter() {
      const drawn = window.nevfSiren.random(97 + state.seed);
      const cells = Array.from({ length: 15 }, (_, k) => [k % 5, Math.floor(k / 5)]);
      return cells.map(([i, j]) => [
        SHAPE[0] * (0.12 + 0.76 * ((i + 0.2 + 0.6 * drawn()) / 5)),
        SHAPE[1] * (0.12 + 0.76 * ((j + 0.2 + 0.6 * drawn()) / 3)),
      ]);
    }

    function release(place) {
      released = [...released.slice(-39), place];
      follow();
    }

    canvas.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      const i = ((event.clientX - box.left) / box.width) * SHAPE[0] - 0.5;
      release([i, SHAPE[1] - 0.5 - ((event.clientY - box.top) / box.height) * SHAPE[1]]);
    });
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-3, 0], ArrowRight: [3, 0], ArrowUp: [0, 3], ArrowDown: [0, -3] };
      const move = way[event.key];
      if (move) cursor = (cursor ?? SHAPE.map((n) => n / 2)).map((x, c) => x + move[c]);
      else if (cursor && (event.key === "Enter" || event.key === " ")) release(cursor);
      else return;
      event.preventDefault();
      cursor = cursor.map((x, c) => Math.min(SHAPE[c] - 1, Math.max(0, x)));
      later();
    });
    canvas.addEventListener("blur", () => {
      cursor = null;
      later();
    });

    // The mean distance of the ends from the exact ones, in voxels.
    function apart(v, rule, steps) {
      const off = released.map((from, k) => {
        const end = trail(v, SHAPE, from, rule, steps)[steps];
        const goal = paths[2][k][FINE];
        return Math.hypot(end[0] - goal[0], end[1] - goal[1]);
      });
      return off.reduce((sum, value) => sum + value, 0) / (off.length || 1);
    }

    let errors = null;
    function follow() {
      wind ??= field(SHAPE, SIGMA, state.seed);
      const v = wind.map((value) => state.longest * value);
      const walk = (rule, steps) => released.map((from) => trail(v, SHAPE, from, rule, steps));
      paths = RULES.map(({ rule }) => walk(rule, rule === "rk4" ? FINE : state.steps));
      errors = ["euler", "midpoint"].map((rule) => STEPS.map((n) => apart(v, rule, n)));
      later();
    }

    // A path up to now: its corners so far, and the place on the way to the next.
    function upTo(path, share) {
      const whole = Math.floor(share * (path.length - 1));
      const part = share * (path.length - 1) - whole;
      const passed = path.slice(0, whole + 1);
      if (!part) return { passed, now: path[whole] };
      const now = path[whole].map((x, c) => x + part * (path[whole + 1][c] - x));
      return { passed: [...passed, now], now };
    }

    function draw() {
      if (!errors) return follow();
      const pen = live.fitted(canvas, SHAPE);
      const to = window.nevfDraw.placer(canvas, SHAPE);
      pen.fillStyle = live.STYLE.CARD;
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.strokeStyle = "rgba(122, 160, 205, 0.5)";
      pen.lineWidth = Math.max(1, 0.16 * to.size);
      arrows(pen, to, wind, SHAPE, 5);
      const share = state.time / FRAMES;
      const wide = Math.max(1.5, 0.35 * to.size);
      for (const order of [2, 0, 1]) {
        const { colour, rule } = RULES[order];
        pen.strokeStyle = pen.fillStyle = colour;
        pen.lineWidth = rule === "rk4" ? 2.6 * wide : wide;
        for (const path of paths[order]) {
          const { passed, now } = upTo(path, share);
          pen.beginPath();
          passed.forEach(([x, y], k) => pen[k ? "lineTo" : "moveTo"](to.x(x), to.y(y)));
          pen.stroke();
          const corners = rule === "rk4" ? [path[0], now] : [...passed.slice(0, -1), now];
          for (const [x, y] of corners) {
            pen.beginPath();
            pen.arc(to.x(x), to.y(y), (x === now[0] ? 2.1 : 1.2) * wide, 0, 2 * Math.PI);
            pen.fill();
          }
        }
      }
      if (cursor) window.nevfDraw.strokes(canvas, SHAPE, [], { x: cursor[0], y: cursor[1] });
      const log = (value) => Math.log10(Math.max(value, 1e-3));
      const doubled = (k) => 2 ** k;
      live.chart(
        curve,
        {
          x: { label: "steps", low: 0, high: 6, ticks: [0, 1, 2, 3, 4, 5, 6], show: doubled },
          y: { label: "off (voxels)", low: -3, high: 2, ticks: [-3, -2, -1, 0, 1, 2], show: tenfold },
        },
        errors.map((found, k) => ({
          name: RULES[k].name,
          xs: STEPS.map(Math.log2),
          ys: found.map(log),
          dots: true,
          colour: live.CURVES[k + 1],
        })),
        "Mean distance from the exact end against the number of steps, both axes logarithmic",
        [{ x: Math.log2(state.steps), text: "now" }],
      );
      const here = STEPS.indexOf(state.steps);
      const [euler, midpoint] = errors.map((found) => found[here]);
      words.textContent = released.length
        ? `${released.length} particles, ${state.steps} ${state.steps > 1 ? "steps" : "step"}: ` +
          `Euler ends ${euler.toFixed(2)} voxels off on average, midpoint ${midpoint.toFixed(2)}.`
        : "No dust. Press anywhere among the arrows to release some.";
      host.dataset.measured = JSON.stringify({
        ...state,
        released: released.length,
        euler,
        midpoint,
      });
    }

    function tenfold(k) {
      return k < 0 ? (10 ** k).toFixed(-k) : 10 ** k;
    }
    return draw;
  });
})();
