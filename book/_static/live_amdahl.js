// Chapter "Fast kernels": an iteration as a bar of its pieces, each with its kernel or without.
"use strict";

(() => {
  const live = window.nevfLive;
  const { player } = window.nevfWind;
  const [BLUE, ORANGE, GREEN, PINK] = live.CURVES;
  // A piece has its colour of the roofline further up.
  const COLOURS = {
    network: "#8a8f98",
    squarings: ORANGE,
    pull: BLUE,
    "local NCC": GREEN,
    penalties: PINK,
  };
  const RECORDED = 6; // squarings in the recorded run
  const SIZES = ["1", "2", "4"];

  live.mount("amdahl", (host) => {
    // Seconds of one iteration's pieces: { size: { piece: [plain torch, kernel] } }.
    const given = JSON.parse(host.dataset.given);
    const pieces = Object.keys(given[SIZES[0]]);
    const state = { size: "1", squarings: RECORDED, on: pieces.map(() => true), share: 0 };
    const lanes = live.make("div", { class: "nl-chart nl-clock" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    const later = live.onFrame(draw);
    const set = live.setter(state, later);
    const size = live.slider("Voxels", SIZES, state.size, (v) => `${v} mm`, set("size"));
    const wanted = Array.from({ length: 9 }, (_, k) => k);
    const count = live.slider("Squarings", wanted, state.squarings, String, set("squarings"));
    const toggles = pieces.map((piece, k) => {
      const button = live.button(piece, () => {
        state.on[k] = !state.on[k];
        button.setAttribute("aria-pressed", state.on[k]);
        later();
      });
      button.setAttribute("aria-pressed", true);
      button.style.borderLeft = `0.6rem solid ${COLOURS[piece]}`;
      return button;
    });
    const play = player(lanes, 9, set("share"));
    host.append(
      live.make("div", { class: "nl-controls" }, size.element, count.element),
      live.make("div", { class: "nevf-buttons", role: "group", "aria-label": "With a kernel" }, ...toggles),
      lanes,
      live.make("div", { class: "nevf-buttons" }, play.button),
      words,
    );

    // Seconds of each piece: [in plain torch, as chosen].
    function seconds() {
      return pieces.map((piece, k) => {
        const share = piece === "squarings" ? state.squarings / RECORDED : 1;
        const [plain, kernel] = given[state.size][piece].map((value) => share * value);
        return [plain, state.on[k] ? kernel : plain];
      });
    }

    const sum = (values) => values.reduce((total, value) => total + value, 0);

    function draw() {
      const took = seconds();
      const [plain, chosen] = [0, 1].map((lane) => sum(took.map((pair) => pair[lane])));
      const left = sum(took.map((pair, k) => (state.on[k] ? 0 : pair[0])));
      const width = Math.max(200, Math.min(720, lanes.clientWidth || 360));
      const parts = [];
      const lane = (top, values, title) => {
        parts.push(`<text x="0" y="${top - 5}">${title}</text>`);
        let at = 0;
        values.forEach((value, k) => {
          const wide = (value / plain) * width;
          parts.push(`<rect x="${at}" y="${top}" width="${wide}" height="16" fill="${COLOURS[pieces[k]]}"/>`);
          at += wide;
        });
      };
      lane(18, took.map(([value]) => value), "plain torch");
      lane(66, took.map(([, value]) => value), "as chosen");
      // both lanes run at once: the lower one goes round and round
      const now = state.share * plain;
      const rounds = Math.floor(now / chosen + 1e-9);
      const mark = (x, top) => {
        const place = Math.min(width - 1, (x / plain) * width).toFixed(1);
        parts.push(`<path class="nl-mark" d="M${place} ${top - 2}v20"/>`);
      };
      if (state.share > 0) {
        mark(now, 18);
        mark(now - rounds * chosen, 66);
      }
      lanes.innerHTML =
        `<svg viewBox="0 0 ${width} 88" role="img" aria-label="An iteration's pieces in plain torch, and as chosen">` +
        `${parts.join("")}</svg>`;
      const factor = plain / chosen;
      const shown = (value) => (value < 0.1 ? value.toFixed(3) : value.toFixed(2));
      const most = left > 0 ? `at most ${(plain / left).toFixed(1)} times` : "without a limit";
      words.textContent =
        `Plain torch ${shown(plain)} s of a core, as chosen ${shown(chosen)} s: ` +
        `${factor.toFixed(1)} times faster. If the chosen kernels took no time at all: ${most}.` +
        (state.share > 0 ? ` In the time so far the lower lane did ${rounds} iteration${rounds === 1 ? "" : "s"}.` : "");
      host.dataset.measured = JSON.stringify({ ...state, plain, chosen, left, rounds });
    }
    return draw;
  });
})();
