// Chapter "NeVF, whole": a recorded registration, to be scrubbed. The warped slice, what is still
// different, the lattice and the curves all stand at the same iteration.
"use strict";

(() => {
  const live = window.nevfLive;
  const PACE = 140; // ms a frame
  const MEASURES = [
    ["local correlation", "likeness"],
    ["Dice of the labels", "dice"],
  ];

  // The recording: { target, pictures, lattices } as bytes, one array a frame.
  async function unpack(data) {
    const bytes = Uint8Array.from(atob(data.packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const all = new Uint8Array(await new Response(stream).arrayBuffer());
    const size = data.shape[0] * data.shape[1];
    const nodes = 2 * data.nodes[0] * data.nodes[1];
    const count = data.rows.length;
    const frames = (start, length) => {
      const parts = [all.slice(start, start + length)];
      for (let k = 1; k < count; k++) {
        const before = parts[k - 1];
        parts.push(before.map((value, i) => (value + all[start + k * length + i]) & 255));
      }
      return parts;
    };
    const pictures = frames(size, size);
    const lattices = frames(size * (1 + count), nodes).map((part) => new Int8Array(part.buffer));
    return { target: all.slice(0, size), pictures, lattices };
  }

  live.mount("learn", (host) => {
    const data = window.nevfLearnData;
    const columns = Object.fromEntries(data.columns.map((name, k) => [name, k]));
    const at = (k, name) => data.rows[k][columns[name]];
    const last = data.rows.length - 1;
    const order = data.rows.map((_, k) => k);
    let film = null;
    let frame = 0;
    let timer = 0;
    let ends = { left: 0, right: 1 }; // of the axis of the curves, as shares of its picture
    let spot = null; // where the pointer is, as shares of a picture

    const fixed = live.panel("Fixed", "An axial slice of the fixed brain");
    const warped = live.panel("Moving, warped", "The moving brain, warped so far");
    const error = live.panel("Difference", "Warped less fixed, in colours");
    const lattice = live.panel("Lattice φ", "A lattice carried by the deformation so far");
    const panels = [fixed, warped, error, lattice];
    const curve = live.make("div", { class: "nl-chart nl-wide nl-drag" });
    const words = live.make("p", { class: "nl-words" });
    const play = live.button("Play", () => (timer ? stop() : start()));
    const say = (k) => `${at(k, "iteration")} of ${at(last, "iteration")}`;
    const scrub = live.slider("Iteration", order, 0, say, (k) => {
      stop();
      show(k);
    });
    host.append(
      live.make("div", { class: "nl-bench nl-four" }, ...panels.map((p) => p.element)),
      live.make("div", { class: "nl-controls nl-film" }, play, scrub.element),
      curve,
      words,
    );

    function show(k) {
      frame = k;
      scrub.set(k);
      draw();
    }

    function stop() {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
    }

    function start() {
      if (frame === last) show(0);
      play.textContent = "Pause";
      timer = setInterval(() => {
        if (frame < last) show(frame + 1);
        else stop();
      }, PACE);
    }

    // The pointer on one picture is a cross on all four.
    for (const { canvas } of panels) {
      canvas.addEventListener("pointermove", (event) => {
        const box = canvas.getBoundingClientRect();
        spot = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
        draw();
      });
      canvas.addEventListener("pointerleave", () => {
        spot = null;
        draw();
      });
    }

    // The curve is a handle too: press or drag, and the nearest recorded iteration is shown.
    const seek = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = curve.firstChild.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      const wanted = ((share - ends.left) / (ends.right - ends.left)) * at(last, "iteration");
      const away = (k) => Math.abs(at(k, "iteration") - wanted);
      stop();
      show(order.reduce((best, k) => (away(k) < away(best) ? k : best), 0));
    };
    curve.addEventListener("pointerdown", seek);
    curve.addEventListener("pointermove", seek);

    function cross(canvas) {
      if (!spot) return;
      const pen = canvas.getContext("2d");
      pen.strokeStyle = live.STYLE.FIXED;
      pen.lineWidth = Math.max(1, canvas.width / 160);
      pen.beginPath();
      pen.moveTo(spot[0] * canvas.width, 0);
      pen.lineTo(spot[0] * canvas.width, canvas.height);
      pen.moveTo(0, spot[1] * canvas.height);
      pen.lineTo(canvas.width, spot[1] * canvas.height);
      pen.stroke();
    }

    function mesh(canvas, nodes) {
      const pen = live.fitted(canvas, data.shape);
      pen.fillStyle = live.STYLE.CARD;
      pen.fillRect(0, 0, canvas.width, canvas.height);
      const [n, m] = data.nodes;
      const size = canvas.width / data.shape[0];
      const place = (i, j) => {
        const p = i * m + j;
        const x = i * data.every + data.unit * nodes[p];
        const y = j * data.every + data.unit * nodes[n * m + p];
        return [(x + 0.5) * size, (data.shape[1] - 0.5 - y) * size];
      };
      pen.strokeStyle = live.STYLE.MOVED;
      pen.lineWidth = Math.max(1, 0.45 * size);
      pen.beginPath();
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < m; j++) pen[j ? "lineTo" : "moveTo"](...place(i, j));
      }
      for (let j = 0; j < m; j++) {
        for (let i = 0; i < n; i++) pen[i ? "lineTo" : "moveTo"](...place(i, j));
      }
      pen.stroke();
    }

    function draw() {
      if (!film) return;
      const picture = film.pictures[frame];
      const card = [11, 12, 15];
      const grey = (v) => card.map((dark) => dark + (v / 255) * (255 - dark));
      const rest = Float32Array.from(picture, (v, p) => (v - film.target[p]) / 110);
      live.paint(fixed.canvas, film.target, data.shape, grey);
      live.paint(warped.canvas, picture, data.shape, grey);
      live.paint(error.canvas, rest, data.shape, live.signed);
      mesh(lattice.canvas, film.lattices[frame]);
      for (const { canvas } of panels) cross(canvas);
      const xs = order.map((k) => at(k, "iteration"));
      const lines = MEASURES.map(([name, key]) => ({ name, xs, ys: order.map((k) => at(k, key)) }));
      const now = { x: at(frame, "iteration"), text: "", colour: live.CURVES[0] };
      ends = live.chart(
        curve,
        {
          x: {
            label: "iteration",
            low: 0,
            high: at(last, "iteration"),
            ticks: [0, 1, 2, 3, 4].map((k) => (k * at(last, "iteration")) / 4),
          },
          y: { label: "1 is best", low: 0.3, high: 0.9, ticks: [0.3, 0.5, 0.7, 0.9] },
        },
        lines,
        "Local correlation and Dice against the iteration, with a mark at the one that is shown",
        [now, { x: data.firstLevel, text: "2 mm from here" }],
      );
      let miss = 0;
      for (const value of rest) miss += Math.abs(value) * 110;
      miss /= rest.length * 255;
      words.textContent =
        `Correlation ${at(frame, "likeness").toFixed(3)}, Dice ${at(frame, "dice").toFixed(3)}, ` +
        `folds ${at(frame, "folds").toFixed(3)} %, mean motion ` +
        `${(data.spacing * at(frame, "motion")).toFixed(1)} mm, ` +
        `mean difference in the slice ${(100 * miss).toFixed(1)} % of the range.`;
      host.dataset.frame = frame;
    }

    host.ready = unpack(data).then((found) => {
      film = found;
      draw();
      if (live.still()) return;
      const first = new IntersectionObserver((seen) => {
        if (!seen.some((entry) => entry.isIntersecting)) return;
        first.disconnect();
        if (frame === 0) start();
      });
      first.observe(curve);
    });
    return draw;
  });
})();
