// Chapter "Sparse sampling": what the network says, and what a lattice of every L-th voxel makes
// of it.
"use strict";

(() => {
  const live = window.nevfLive;
  const { start, onLattice, resize } = window.nevfSiren;
  const SHAPE = [81, 97];
  const STEPS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];
  const OMEGAS = [5, 7, 10, 14, 20, 30, 42, 60];

  live.mount("sampling", (host) => {
    const state = { step: 4, omega: 30, seed: 5, row: Math.floor(SHAPE[1] / 2) };
    const truth = live.panel("The network", "One component of the velocity at every voxel");
    const seen = live.panel("Its lattice, upsampled", "The same, interpolated from the samples");
    const gap = live.panel("Difference", "The upsampled velocity less the network's");
    const cut = live.make("div", { class: "nl-chart nl-wide" });
    const words = live.make("p", { class: "nl-words", role: "status" });
    const later = live.onFrame(draw);
    const set = live.setter(state, later);
    const step = live.slider("Step L", STEPS, state.step, (v) => `${v} voxels`, set("step"));
    const omega = live.slider("Frequency ω₀", OMEGAS, state.omega, String, set("omega"));
    const rows = Array.from({ length: SHAPE[1] }, (_, k) => k);
    const row = live.slider("Line of the cut", rows, state.row, (v) => `row ${v}`, set("row"));
    host.append(
      live.make("div", { class: "nl-controls" }, step.element, omega.element, row.element),
      live.make("div", { class: "nl-bench nl-three" }, truth.element, seen.element, gap.element),
      cut,
      words,
    );
    let known = { omega: null };

    for (const { canvas } of [truth, seen, gap]) {
      canvas.addEventListener("click", (event) => {
        const box = canvas.getBoundingClientRect();
        const share = 1 - (event.clientY - box.top) / box.height;
        state.row = Math.min(SHAPE[1] - 1, Math.max(0, Math.round(share * (SHAPE[1] - 1))));
        row.set(state.row);
        later();
      });
    }

    function line(pen, canvas) {
      const y = (1 - (state.row + 0.5) / SHAPE[1]) * canvas.height;
      pen.strokeStyle = "rgba(242, 244, 247, 0.8)";
      pen.lineWidth = Math.max(1, canvas.width / 220);
      pen.setLineDash([canvas.width / 40, canvas.width / 60]);
      pen.beginPath();
      pen.moveTo(0, y);
      pen.lineTo(canvas.width, y);
      pen.stroke();
      pen.setLineDash([]);
    }

    function draw() {
      if (known.omega !== state.omega) {
        const field = start(state.omega, { seed: state.seed });
        known = { omega: state.omega, field, values: onLattice(field, SHAPE, SHAPE) };
      }
      const values = known.values;
      const nodes = SHAPE.map((n) => Math.ceil(n / state.step));
      const sparse = onLattice(known.field, SHAPE, nodes);
      const up = resize(sparse, nodes, SHAPE);
      const n = SHAPE[0] * SHAPE[1];
      let [off, all, top] = [0, 0, 0];
      const rest = new Float32Array(n);
      for (let p = 0; p < n; p++) {
        rest[p] = up[p] - values[p];
        off += rest[p] ** 2;
        all += values[p] ** 2;
        top = Math.max(top, Math.abs(values[p]));
      }
      const error = Math.sqrt(off / all);
      for (const [{ canvas }, picture] of [
        [truth, values],
        [seen, up],
        [gap, rest],
      ]) {
        const pen = live.paint(canvas, picture, SHAPE, (v) => live.signed(v / top));
        line(pen, canvas);
      }
      const along = Array.from({ length: SHAPE[0] }, (_, i) => i);
      const at = (plane) => along.map((i) => plane[i * SHAPE[1] + state.row] / top);
      const apart = (SHAPE[0] - 1) / (nodes[0] - 1);
      const places = Array.from({ length: nodes[0] }, (_, i) => i * apart);
      const between = (x) => {
        const low = Math.min(Math.floor(x), SHAPE[0] - 2);
        const line = at(up);
        return line[low] + (x - low) * (line[low + 1] - line[low]);
      };
      live.chart(
        cut,
        {
          x: {
            label: "along the dashed line (voxels)",
            low: 0,
            high: 80,
            ticks: [0, 20, 40, 60, 80],
          },
          y: { label: "velocity (largest: 1)", low: -1, high: 1, ticks: [-1, 0, 1] },
        },
        [
          { name: "network", xs: along, ys: at(values) },
          { name: "lattice", xs: along, ys: at(up), dash: true },
          { xs: places, ys: places.map(between), colour: live.CURVES[1], dots: true },
        ],
        "Velocity along the line: the network, and the straight pieces of its lattice",
      );
      const count = nodes[0] * nodes[1];
      words.textContent =
        `${nodes.join(" × ")} = ${count.toLocaleString("en")} questions instead of ` +
        `${n.toLocaleString("en")}; relative error ${(100 * error).toFixed(error < 0.0995 ? 1 : 0)} %.`;
      host.dataset.measured = JSON.stringify({ ...state, nodes, error });
    }
    return draw;
  });
})();
