// The slice on which chapter "Similarity and regularity" plays in the page: that of the playground,
// at the chapter's 1.5 mm, with its brain.
"use strict";

window.nevfTemplate = (() => {
  const MM = 1.5;
  const STOPS = ["#32648e", "#27808e", "#1e9b8a", "#32b67a", "#69cd5b", "#b2dd2d", "#fde725"];
  const LADDER = STOPS.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const CARD = [11, 12, 15];

  // { shape, values, brain }: values in [0, 1] in the order of playground_field.js; brain is 1 or 0.
  async function load() {
    const whole = await window.nevfDraw.load(window.nevfSlice); // at 1 mm
    const shape = whole.shape.map((n) => Math.floor((n - 1) / MM) + 1);
    const rows = whole.shape[1];
    const values = new Float32Array(shape[0] * shape[1]);
    for (let i = 0, p = 0; i < shape[0]; i++) {
      for (let j = 0; j < shape[1]; j++, p++) {
        const [a, b] = [i, j].map((k, c) => Math.min(Math.floor(k * MM), whole.shape[c] - 2));
        const [fx, fy, q] = [i * MM - a, j * MM - b, a * rows + b];
        const line = (k) => whole.values[k] + fy * (whole.values[k + 1] - whole.values[k]);
        values[p] = line(q) + fx * (line(q + rows) - line(q));
      }
    }
    return { shape, values, brain: values.map((value) => (value > 0.02 ? 1 : 0)) };
  }

  // Local NCC with `fixed`; see nevf/losses.js.
  function similarity(fixed, shape, window_) {
    return window.nevfLosses().localNcc(Float64Array.from(fixed), shape, window_);
  }

  const grey = (value) => CARD.map((dark) => dark + Math.min(1, Math.max(0, value)) * (255 - dark));

  // 0 to 1 in viridis without its dark end: SEQUENTIAL of nevf_lite/viz/style.py.
  function sequential(value) {
    const place = Math.min(1, Math.max(0, value)) * (LADDER.length - 1);
    const low = Math.min(Math.floor(place), LADDER.length - 2);
    return LADDER[low].map((c, k) => c + (place - low) * (LADDER[low + 1][k] - c));
  }

  // Uniform numbers from 0 to 1 and a smooth picture of normal noise with deviation 1.
  function noise(count, seed) {
    let state = seed;
    const draw = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 4294967296;
    };
    return Float32Array.from(
      { length: count },
      () => Math.sqrt(-2 * Math.log(draw())) * Math.cos(2 * Math.PI * draw()),
    );
  }

  return { MM, load, similarity, grey, sequential, noise };
})();
