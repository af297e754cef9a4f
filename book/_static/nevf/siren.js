// The neural field: nevf_lite/fields.py, SirenField, with its derivative written by hand.
//
// The modules of the method are functions that need nothing from outside, so that their source can
// also be handed to a worker. Numbers are Float64Arrays. A grid has `shape` = [columns, rows], and
// voxel (i, j) has the index i * rows + j, as in a tensor of nevf_lite.
"use strict";

function nevfSiren() {
  // The network's place in one array of parameters: { fanIn, fanOut, omega, weight, bias } a layer,
  // where weight and bias are offsets. Sine layers have their omega, the last layer is linear: 1.
  function plan(width, depth, omega) {
    const layers = [];
    let size = 0;
    for (let k = 0; k <= depth; k++) {
      const fanIn = k === 0 ? 2 : width;
      const fanOut = k === depth ? 2 : width;
      const layer = { fanIn, fanOut, omega: k === depth ? 1 : omega, weight: size };
      layer.bias = size + fanIn * fanOut;
      size = layer.bias + fanOut;
      layers.push(layer);
    }
    return { layers, size, omega };
  }

  // Parameters as SirenField starts with them. random: a function that returns numbers in [0, 1).
  function start(net, random) {
    const theta = new Float64Array(net.size);
    const fill = (from, count, bound) => {
      for (let k = from; k < from + count; k++) theta[k] = bound * (2 * random() - 1);
    };
    net.layers.forEach(({ fanIn, fanOut, weight, bias }, k) => {
      const first = k === 0;
      const last = k === net.layers.length - 1;
      fill(weight, fanIn * fanOut, first ? 1 / fanIn : Math.sqrt(6 / fanIn) / net.omega);
      if (!last) fill(bias, fanOut, 1 / Math.sqrt(fanIn)); // the head's bias stays zero
    });
    return theta;
  }

  // Normalised points of a lattice over the box of a grid: [x, y] a point, longest axis [-1, 1].
  function points(nodes, shape) {
    const longest = Math.max(shape[0], shape[1]) - 1;
    const out = new Float64Array(2 * nodes[0] * nodes[1]);
    const place = (k, axis) => ((2 * k) / (nodes[axis] - 1) - 1) * ((shape[axis] - 1) / longest);
    for (let i = 0, p = 0; i < nodes[0]; i++) {
      for (let j = 0; j < nodes[1]; j++, p += 2) {
        out[p] = place(i, 0);
        out[p + 1] = place(j, 1);
      }
    }
    return out;
  }

  // Room for the activations of `count` points: what enters each layer, and the slope of its sine.
  function room(net, count) {
    return {
      count,
      inputs: net.layers.map(({ fanIn }) => new Float64Array(count * fanIn)),
      slopes: net.layers.map(({ fanOut }) => new Float64Array(count * fanOut)),
      out: new Float64Array(2 * count),
      gradients: net.layers.map(({ fanOut }) => new Float64Array(count * fanOut)),
      turned: new Float64Array(Math.max(...net.layers.map((l) => l.fanIn * l.fanOut))),
    };
  }

  // out[p, o] = sum over i of matrix[o, i] * x[p, i] + bias[o]; four outputs at a time.
  function product(x, count, fanIn, fanOut, matrix, at, bias, from, out) {
    for (let p = 0; p < count; p++) {
      const row = p * fanIn;
      let o = 0;
      for (; o + 4 <= fanOut; o += 4) {
        const a = at + o * fanIn;
        const b = a + fanIn;
        const c = b + fanIn;
        const d = c + fanIn;
        let sa = 0;
        let sb = 0;
        let sc = 0;
        let sd = 0;
        for (let i = 0; i < fanIn; i++) {
          const value = x[row + i];
          sa += matrix[a + i] * value;
          sb += matrix[b + i] * value;
          sc += matrix[c + i] * value;
          sd += matrix[d + i] * value;
        }
        const to = p * fanOut + o;
        out[to] = sa;
        out[to + 1] = sb;
        out[to + 2] = sc;
        out[to + 3] = sd;
      }
      for (; o < fanOut; o++) {
        let sum = 0;
        for (let i = 0; i < fanIn; i++) sum += matrix[at + o * fanIn + i] * x[row + i];
        out[p * fanOut + o] = sum;
      }
      if (bias) for (o = 0; o < fanOut; o++) out[p * fanOut + o] += bias[from + o];
    }
  }

  // Velocities of all points, component by component: out[c * count + p], in voxels.
  function forward(net, theta, room) {
    const { count, inputs, slopes, out } = room;
    net.layers.forEach(({ fanIn, fanOut, omega, weight, bias }, k) => {
      const z = slopes[k];
      product(inputs[k], count, fanIn, fanOut, theta, weight, theta, bias, z);
      if (k === net.layers.length - 1) {
        for (let p = 0; p < count; p++) {
          out[p] = z[2 * p];
          out[count + p] = z[2 * p + 1];
        }
        return;
      }
      const next = inputs[k + 1];
      for (let q = 0; q < z.length; q++) {
        const angle = omega * z[q];
        next[q] = Math.sin(angle);
        z[q] = omega * Math.cos(angle); // the slope of sin(omega z), which the way back needs
      }
    });
    return out;
  }

  // The gradient of the parameters, from that of `out`. It needs what `forward` left in the room.
  function backward(net, theta, room, gradientOut, gradient) {
    const { count, inputs, slopes, gradients, turned } = room;
    const last = net.layers.length - 1;
    for (let p = 0; p < count; p++) {
      gradients[last][2 * p] = gradientOut[p];
      gradients[last][2 * p + 1] = gradientOut[count + p];
    }
    for (let k = last; k >= 0; k--) {
      const { fanIn, fanOut, weight, bias } = net.layers[k];
      const g = gradients[k];
      if (k < last) for (let q = 0; q < g.length; q++) g[q] *= slopes[k][q];
      collect(inputs[k], g, count, fanIn, fanOut, gradient, weight, bias);
      if (k === 0) return;
      for (let o = 0; o < fanOut; o++) {
        for (let i = 0; i < fanIn; i++) turned[i * fanOut + o] = theta[weight + o * fanIn + i];
      }
      product(g, count, fanOut, fanIn, turned, 0, null, 0, gradients[k - 1]);
    }
  }

  // The gradients of one layer's weights and biases: sums over the points, four points at a time.
  function collect(x, g, count, fanIn, fanOut, gradient, weight, bias) {
    gradient.fill(0, weight, bias + fanOut);
    for (let p = 0; p < count; p += 4) {
      const most = Math.min(4, count - p);
      for (let o = 0; o < fanOut; o++) {
        const ga = g[p * fanOut + o];
        const gb = most > 1 ? g[(p + 1) * fanOut + o] : 0;
        const gc = most > 2 ? g[(p + 2) * fanOut + o] : 0;
        const gd = most > 3 ? g[(p + 3) * fanOut + o] : 0;
        gradient[bias + o] += ga + gb + gc + gd;
        const at = weight + o * fanIn;
        const a = p * fanIn;
        const b = most > 1 ? a + fanIn : a;
        const c = most > 2 ? b + fanIn : a;
        const d = most > 3 ? c + fanIn : a;
        for (let i = 0; i < fanIn; i++) {
          gradient[at + i] += ga * x[a + i] + gb * x[b + i] + gc * x[c + i] + gd * x[d + i];
        }
      }
    }
  }

  return { plan, start, points, room, forward, backward };
}
