// The method: field, sparse samples, flow, loss, gradient, Adam. nevf_lite/optimise.py and
// descent.py for one level of a pair of slices, in the same order.
"use strict";

function nevfDescent() {
  const siren = nevfSiren();
  const flow = nevfFlow();
  const losses = nevfLosses();
  const BETAS = [0.9, 0.999];
  const EPS = 1e-8;

  // ceil(S / L) nodes along an axis of S voxels, at least 2: grid.sparse_shape.
  function sparse(shape, step) {
    return shape.map((n) => Math.min(n, Math.max(2, Math.ceil(n / step))));
  }

  // Numbers in [0, 1) from a seed (mulberry32): the same start each time.
  function randomNumbers(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  // The velocity on the lattice `nodes`: a network of the coordinates, or two numbers a node.
  // Both have theta, velocity(theta) and backward(theta, gradient of the velocity, gradient).
  function makeField(settings, nodes, shape) {
    if (settings.field === "voxel") {
      return {
        theta: new Float64Array(2 * nodes[0] * nodes[1]),
        velocity: (theta) => theta,
        backward: (theta, from, gradient) => gradient.set(from),
      };
    }
    const net = siren.plan(settings.width, settings.depth, settings.omega);
    const room = siren.room(net, nodes[0] * nodes[1]);
    room.inputs[0].set(siren.points(nodes, shape));
    return {
      theta: siren.start(net, randomNumbers(settings.seed)),
      velocity: (theta) => siren.forward(net, theta, room),
      backward: (theta, from, gradient) => siren.backward(net, theta, room, from, gradient),
    };
  }

  // From the lattice's velocity to the displacement on the grid, in one of the two orders.
  // Returns { forward(velocity), backward(gradient of the displacement) }.
  function makeFlow(settings, nodes, shape) {
    const up = flow.resizer(nodes, shape);
    const full = new Float64Array(2 * shape[0] * shape[1]);
    const coarse = new Float64Array(2 * nodes[0] * nodes[1]);
    if (settings.order === "upsample-integrate") {
      const room = flow.room(shape, settings.squarings);
      return {
        forward: (velocity) => flow.exponential(flow.resize(up, velocity, full), room),
        backward: (from) => flow.resizeBack(up, flow.exponentialBack(room, from), coarse),
      };
    }
    const room = flow.room(nodes, settings.squarings);
    const ratio = shape.map((n, axis) => (n - 1) / (nodes[axis] - 1)); // voxels per node
    const inNodes = new Float64Array(coarse.length);
    const inVoxels = new Float64Array(coarse.length);
    const scale = (values, out, power) => {
      const half = values.length / 2;
      for (let k = 0; k < values.length; k++) out[k] = values[k] * ratio[k < half ? 0 : 1] ** power;
      return out;
    };
    return {
      forward(velocity) {
        const sparseFlow = flow.exponential(scale(velocity, inNodes, -1), room);
        return flow.resize(up, scale(sparseFlow, inVoxels, 1), full);
      },
      backward(from) {
        const back = scale(flow.resizeBack(up, from, coarse), inVoxels, 1);
        return scale(flow.exponentialBack(room, back), coarse, -1);
      },
    };
  }

  // A registration that can be stepped. fixed, moving: n numbers near [0, 1]. settings: { field,
  // width, depth, omega, step (L), order, squarings, window, jacobian, smooth, rate, seed }.
  // before: a run to go on from, or parameters { theta } to begin with instead of the field's own.
  function begin(settings, fixed, moving, shape, before = {}) {
    const nodes = sparse(shape, settings.step);
    const field = makeField(settings, nodes, shape);
    const n = shape[0] * shape[1];
    const zeros = (size) => new Float64Array(size);
    const run = {
      settings,
      shape,
      nodes,
      moving,
      field,
      flow: makeFlow(settings, nodes, shape),
      ncc: losses.localNcc(fixed, shape, settings.window),
      theta: field.theta,
      gradient: zeros(field.theta.length),
      mean: zeros(field.theta.length),
      square: zeros(field.theta.length),
      warped: zeros(n),
      slopes: zeros(2 * n),
      cells: zeros((shape[0] - 1) * (shape[1] - 1)),
      fromLoss: zeros(2 * n), // the gradient of the displacement
      displacement: null,
      iteration: before.iteration ?? 0,
    };
    for (const name of ["theta", "mean", "square"]) if (before[name]) run[name].set(before[name]);
    return run;
  }

  // Loss and gradient at the present parameters. Returns the loss and its parts, not yet weighted.
  function evaluate(run) {
    const { settings, shape, field, theta, warped, slopes, fromLoss } = run;
    const n = shape[0] * shape[1];
    const velocity = field.velocity(theta);
    const u = run.flow.forward(velocity);
    run.displacement = u;
    flow.pull(run.moving, u, shape, warped, slopes);
    const dissimilarity = run.ncc.value(warped);
    for (let c = 0, k = 0; c < 2; c++) {
      for (let p = 0; p < n; p++, k++) fromLoss[k] = run.ncc.gradient[p] * slopes[k];
    }
    const folding = losses.jacobian(u, shape, settings.jacobian, fromLoss, run.cells);
    const smooth = losses.smoothness(u, shape, settings.smooth, fromLoss);
    field.backward(theta, run.flow.backward(fromLoss), run.gradient);
    return {
      iteration: run.iteration,
      loss: dissimilarity + settings.jacobian * folding.value + settings.smooth * smooth,
      similarity: 1 - dissimilarity,
      jacobian: folding.value,
      smooth,
      folds: folding.folds,
    };
  }

  // One step of Adam (Kingma and Ba 2015). Returns what `evaluate` found before the step.
  function step(run) {
    const record = evaluate(run);
    const { theta, gradient, mean, square, settings } = run;
    run.iteration++;
    const size = settings.rate / (1 - BETAS[0] ** run.iteration);
    const correction = Math.sqrt(1 - BETAS[1] ** run.iteration);
    for (let k = 0; k < theta.length; k++) {
      const g = gradient[k];
      mean[k] += (1 - BETAS[0]) * (g - mean[k]);
      square[k] = BETAS[1] * square[k] + (1 - BETAS[1]) * g * g;
      theta[k] -= (size * mean[k]) / (Math.sqrt(square[k]) / correction + EPS);
    }
    return record;
  }

  return { begin, evaluate, step, sparse };
}
