// Chapter "The step size L": a wave passes a lattice that asks it at every L-th voxel and joins the
// answers by straight lines.
"use strict";

(() => {
  const live = window.nevfLive;
  const { player } = window.nevfWind;
  const LAST = 96; // voxels
  const STEPS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];
  const LENGTHS = [4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48];
  const FINE = 8; // points drawn in a voxel
  const TURNS = Array.from({ length: 61 }, (_, k) => k / 60);

  live.mount("wave", (host) => {
    const state = { step: 5, length: 20, turn: 0 };
    const picture = live.make("div", { class: "nl-chart nl-wide" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    const later = live.onFrame(draw);
    const set = live.setter(state, later);
    const voxels = (v) => (v === 1 ? "1 voxel" : `${v} voxels`);
    const step = live.slider("Step L", STEPS, state.step, voxels, set("step"));
    const length = live.slider("Wavelength", LENGTHS, state.length, voxels, set("length"));
    const turn = live.slider("Wave moved by", TURNS, 0, (v) => `${v.toFixed(2)} waves`, (v) => {
      play.stop();
      set("turn")(v);
    });
    const play = player(picture, 8, (share) => {
      state.turn = TURNS[Math.round(share * (TURNS.length - 1))];
      turn.set(state.turn);
      later();
    });
    host.append(
      live.make("div", { class: "nl-controls" }, step.element, length.element, turn.element),
      live.make("div", { class: "nevf-buttons" }, play.button),
      picture,
      words,
    );

    function draw() {
      const wave = (x) => Math.sin(2 * Math.PI * (x / state.length - state.turn) + 1);
      const places = Array.from({ length: Math.floor(LAST / state.step) + 1 }, (_, k) => k * state.step);
      const samples = places.map(wave);
      const end = places[places.length - 1];
      const along = Array.from({ length: LAST * FINE + 1 }, (_, k) => k / FINE);
      let squares = 0;
      const inside = along.filter((x) => x < end);
      for (const x of inside) {
        const low = Math.floor(x / state.step);
        const part = x / state.step - low;
        squares += (samples[low] + part * (samples[low + 1] - samples[low]) - wave(x)) ** 2;
      }
      // relative to the wave, whose mean square is a half
      const error = Math.sqrt((2 * squares) / inside.length);
      live.chart(
        picture,
        {
          x: { label: "position (voxels)", low: 0, high: LAST, ticks: [0, 24, 48, 72, 96] },
          y: { label: "velocity", low: -1.1, high: 1.1, ticks: [-1, 0, 1] },
        },
        [
          { name: "the network's wave", xs: along, ys: along.map(wave) },
          { name: "the lattice", xs: places, ys: samples, dots: true },
        ],
        "A wave, and the straight pieces between its samples",
      );
      const each = state.length / state.step;
      const least = "two samples to a wave is the least that can tell it from a longer one";
      words.textContent =
        `${each.toFixed(1)} samples to a wave; relative error ${(100 * error).toFixed(0)} %.` +
        (each <= 2 ? ` The lattice draws another wave: ${least}.` : "");
      host.dataset.measured = JSON.stringify({ ...state, each, error });
    }
    return draw;
  });
})();
