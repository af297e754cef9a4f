// What the reader has chosen: settings, presets, and the two images with, for a push, the truth.
"use strict";

window.nevfState = (() => {
  const SAME = { width: 32, depth: 3, squarings: 7, seed: 0 }; // for every run
  const DEFAULT = {
    fixed: "trt06",
    moving: "trt04",
    field: "siren",
    omega: 10,
    step: 2,
    rate: 1e-3,
    order: "upsample-integrate",
    window: 9,
    jacobian: 100,
    smooth: 0.1,
  };
  const VOXEL = { field: "voxel", rate: 3e-2 }; // a voxel's parameter is itself a velocity
  const PRESETS = {
    paper: DEFAULT,
    order: { ...DEFAULT, order: "integrate-upsample", step: 6 },
    omega: { ...DEFAULT, omega: 100 },
    rate: { ...DEFAULT, rate: 3e-2 },
    free: { ...DEFAULT, omega: 60, jacobian: 0, smooth: 0 },
    voxel: { ...DEFAULT, ...VOXEL },
    push: { ...DEFAULT, fixed: "push", moving: "template" },
    "push-voxel": { ...DEFAULT, ...VOXEL, fixed: "push", moving: "template" },
  };
  // What the sliders step through.
  const CHOICES = {
    omega: [1, 3, 5, 10, 20, 30, 60, 100],
    step: [1, 2, 3, 4, 5, 6, 8],
    rate: [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    window: [3, 5, 7, 9, 11, 13, 15],
    jacobian: [0, 1, 10, 100, 1000],
    smooth: [0, 0.01, 0.1, 1, 10],
  };
  // The push that the page brings, as the playground records it: 160 x 192 voxels of 1 mm.
  const PUSH = {
    mode: "velocity",
    amplitude: 16,
    smoothness: 14,
    squarings: 7,
    strokes: [
      [
        [62, 70],
        [100, 116],
      ],
    ],
  };

  // A push in the address, as the playground links to it; null where there is none to be read.
  function pushIn(hash) {
    const [, letters] = hash.match(/^#push-(.+)$/) ?? [];
    try {
      const push = JSON.parse(atob(letters.replaceAll("-", "+").replaceAll("_", "/")));
      const numbers = [push.amplitude, push.smoothness, push.squarings, push.strokes.flat(2)];
      const valid = numbers.flat().every(Number.isFinite) && push.smoothness >= 1;
      return valid && push.strokes.length ? push : null;
    } catch {
      return null;
    }
  }

  // The template pushed as in the playground, on this page's grid. Returns { image, truth }: truth
  // is the displacement that registers the template to the image, in voxels.
  function pushed(push, template, mm) {
    const { shape } = template;
    const { strokeField, scalingAndSquaring } = window.nevfField;
    const drawn = [160, 192]; // voxels of 1 mm, with the same centre
    const place = (at, axis) => (at - (drawn[axis] - 1) / 2) / mm + (shape[axis] - 1) / 2;
    const velocity = new Float32Array(2 * template.values.length);
    for (const stroke of push.strokes) {
      const here = stroke.map(([x, y]) => [place(x, 0), place(y, 1)]);
      const unit = strokeField(here, push.smoothness / mm, shape);
      for (let k = 0; k < unit.length; k++) velocity[k] -= (push.amplitude / mm) * unit[k];
    }
    const flows = push.mode !== "displacement";
    const truth = flows ? scalingAndSquaring(velocity, push.squarings, shape) : velocity;
    const values = new Float64Array(template.values.length);
    nevfFlow().pull(template.values, truth, shape, values, new Float64Array(truth.length));
    return { image: { shape, values }, truth };
  }

  // How far a displacement lies from the truth, in mm: mean and largest over the brain.
  function miss(u, truth, image, mm) {
    const n = image.values.length;
    let [sum, count, largest] = [0, 0, 0];
    for (let p = 0; p < n; p++) {
      if (image.values[p] < 0.02) continue;
      const error = mm * Math.hypot(u[p] - truth[p], u[n + p] - truth[n + p]);
      sum += error;
      count++;
      largest = Math.max(largest, error);
    }
    return { mean: sum / count, largest };
  }

  const same = (a, b) => Object.keys(DEFAULT).every((name) => a[name] === b[name]);

  return { SAME, DEFAULT, VOXEL, PRESETS, CHOICES, PUSH, pushIn, pushed, miss, same };
})();
