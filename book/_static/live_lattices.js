// Chapter "A field of features": the lattices of one fitted field, switched on and off. Every set
// of them was computed beforehand: its number has a bit for each lattice, the widest first.
"use strict";

(() => {
  const live = window.nevfLive;

  live.mount("lattices", (host) => {
    const { shape, names, fixed, states } = JSON.parse(host.dataset.given);
    const all = states.length - 1;
    let on = all;
    let images = null;

    const target = live.panel("Fixed", "The fixed slice");
    const warped = live.panel("Moving, warped", "The moving slice, warped by the lattices that are on");
    const speed = live.panel("Velocity", "The length of the velocity of the lattices that are on");
    const words = live.make("p", { class: "nl-words", role: "status" });
    const buttons = names.map((name, k) => live.button(name, () => set(on ^ (1 << k))));
    const label = live.make("span", {}, "Nodes apart, in voxels");
    host.append(
      live.make("div", { class: "nl-bench nl-three" }, target.element, warped.element, speed.element),
      live.make("div", { class: "nevf-buttons" }, label, ...buttons),
      words,
    );

    function set(wanted) {
      on = wanted;
      draw();
    }

    function put(canvas, source) {
      const pen = live.fitted(canvas, shape);
      pen.imageSmoothingQuality = "high";
      pen.drawImage(images.get(source), 0, 0, canvas.width, canvas.height);
    }

    function draw() {
      buttons.forEach((button, k) => button.setAttribute("aria-pressed", Boolean(on & (1 << k))));
      const dice = (state) => states[state].dice.toFixed(3);
      words.textContent = `Dice ${dice(on)}; with none ${dice(0)}, with all ${dice(all)}.`;
      host.dataset.on = on;
      if (!images) return;
      put(target.canvas, fixed);
      put(warped.canvas, states[on].warped);
      put(speed.canvas, states[on].velocity);
    }

    const sources = [fixed, ...states.flatMap((state) => [state.warped, state.velocity])];
    const found = sources.map((source) => [source, Object.assign(new Image(), { src: source })]);
    host.ready = Promise.all(found.map(([, image]) => image.decode())).then(() => {
      images = new Map(found);
      draw();
    });
    return draw;
  });
})();
