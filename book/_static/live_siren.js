// Chapter "Neural fields": a random SIREN by omega_0, as a velocity and as the map it flows to.
"use strict";

(() => {
  const live = window.nevfLive;
  const { start, onLattice, scaled, resize, autocorrelation } = window.nevfSiren;
  const SHAPE = [104, 128]; // voxels of 1.6 mm
  const ASKED = [53, 65]; // where the network is asked; in between it is interpolated
  const MM = 1.6;
  const SIDE = MM * (Math.max(...SHAPE) - 1);
  const OMEGAS = [2, 3, 5, 7, 10, 14, 20, 30, 42, 60];
  const SQUARINGS = 7;

  live.mount("siren", (host) => {
    const state = { omega: 10, largest: 12, seed: 3 };
    const speed = live.panel("Velocity to the right", "The random velocity, in colours");
    const map = live.panel("Lattice under exp(v)", "A lattice moved by the flow of the velocity");
    const curve = live.make("div", { class: "nl-chart" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    const later = live.onFrame(draw);
    const omega = live.slider("Frequency ω₀", OMEGAS, state.omega, String, (value) => {
      state.omega = value;
      later();
    });
    const lengths = [0, 3, 6, 9, 12, 15, 18, 24, 30];
    const largest = live.slider(
      "Largest velocity",
      lengths,
      state.largest,
      (v) => `${v} mm`,
      (value) => {
        state.largest = value;
        later();
      },
    );
    const again = live.button("Another network", () => {
      state.seed++;
      later();
    });
    host.append(
      live.make("div", { class: "nl-controls" }, omega.element, largest.element, again),
      live.make("div", { class: "nl-bench" }, speed.element, map.element, curve),
      words,
    );

    function draw() {
      const field = start(state.omega, { seed: state.seed });
      const asked = onLattice(field, SHAPE, ASKED);
      const velocity = scaled(resize(asked, ASKED, SHAPE), 1);
      const alike = autocorrelation(velocity, SHAPE, 50);
      const top = velocity.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      live.paint(speed.canvas, velocity, SHAPE, (v) => live.signed(v / top));
      for (let p = 0; p < velocity.length; p++) velocity[p] *= state.largest / MM;
      const u = window.nevfField.scalingAndSquaring(velocity, SQUARINGS, SHAPE);
      const cells = window.nevfField.jacobianDeterminant(u, SHAPE);
      const low = cells.reduce((least, v) => Math.min(least, v), Infinity);
      const folds = cells.reduce((count, v) => count + (v <= 0), 0);
      map.canvas.style.aspectRatio = `${SHAPE[0]} / ${SHAPE[1]}`;
      const blank = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
      blank.getContext("2d").fillStyle = live.STYLE.CARD;
      blank.getContext("2d").fillRect(0, 0, 1, 1);
      window.nevfDraw.mesh(map.canvas, SHAPE, u, cells, live.STYLE.MOVED, blank);
      const under = alike.findIndex((v) => v < 0.5);
      const half =
        under < 1
          ? null
          : MM * (under - 1 + (alike[under - 1] - 0.5) / (alike[under - 1] - alike[under]));
      const rule = (1.2 * SIDE) / state.omega;
      live.chart(
        curve,
        {
          x: { label: "distance (mm)", low: 0, high: 80, ticks: [0, 20, 40, 60, 80] },
          y: { label: "correlation", low: -0.5, high: 1, ticks: [-0.5, 0, 0.5, 1] },
        },
        [
          { xs: alike.map((_, k) => MM * k), ys: alike.map((v) => Math.max(-0.5, v)) },
          { xs: [0, 80], ys: [0.5, 0.5], colour: "#8d949e", dash: true },
        ],
        "Correlation of the velocity with itself against distance",
        [{ x: rule, text: `rule: ${rule.toFixed(0)} mm` }],
      );
      const measured = half === null ? "more than half the box" : `${half.toFixed(0)} mm`;
      words.textContent =
        `Measured half-length: ${measured}; by the rule: ${rule.toFixed(0)} mm. ` +
        `|J| from ${window.nevfSigns.signed(low)}; ${folds ? `${folds} cells fold` : "nothing folds"}.`;
      host.dataset.measured = JSON.stringify({ ...state, half, rule, low, folds });
    }
    return draw;
  });
})();
