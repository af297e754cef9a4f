// Triangles and planes drawn into pixels with a depth for each, without perspective. A page may
// hold eighteen viewers, and a browser keeps fewer WebGL contexts than that; this needs none, and
// draws a brain in a few milliseconds.

const NOWHERE = -1e9;

// Between two opaque pixels.
function mix(a, b, weight) {
  const red = (a & 255) + weight * ((b & 255) - (a & 255));
  const green = (a >> 8 & 255) + weight * ((b >> 8 & 255) - (a >> 8 & 255));
  const blue = (a >> 16 & 255) + weight * ((b >> 16 & 255) - (a >> 16 & 255));
  return 0xff000000 | (blue << 16) | (green << 8) | red;
}

class Raster {
  resize(width, height) {
    if (this.width === width && this.height === height) return;
    Object.assign(this, { width, height });
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.depth = new Float32Array(width * height);
  }

  clear() {
    this.pixels.fill(0);
    this.depth.fill(NOWHERE);
  }

  // Triangles seen from outside. points: (point, 3) mm. colours: (point, 3) 0 to 255. hidden:
  // whether the octant toward the viewer, from the crosshair on, is left out. ink: places in the
  // moving scan, (point, 3) mm, whose multiples of `cell` mm are drawn as lines, or null.
  mesh(points, triangles, colours, view, hidden, ink, cell) {
    const { width, height, pixels, depth } = this;
    const count = points.length / 3;
    const [px, py, pz] = [new Float32Array(count), new Float32Array(count), new Float32Array(count)];
    const cut = new Uint8Array(count);
    const [s0, s1, s2] = view.toward.map((v) => (v > 0 ? 1 : -1));
    const [c0, c1, c2] = state.crosshair;
    for (let i = 0, o = 0; i < count; i++, o += 3) {
      const x = points[o], y = points[o + 1], z = points[o + 2];
      px[i] = view.x3(x, y, z); py[i] = view.y3(x, y, z); pz[i] = view.z3(x, y, z);
      cut[i] = hidden && s0 * (x - c0) > 0 && s1 * (y - c1) > 0 && s2 * (z - c2) > 0 ? 1 : 0;
    }
    const gradient = [0, 0, 0];
    for (let t = 0; t < triangles.length; t += 3) {
      const i = triangles[t], j = triangles[t + 1], k = triangles[t + 2];
      const xi = px[i], yi = py[i], xj = px[j], yj = py[j], xk = px[k], yk = py[k];
      const area = (xj - xi) * (yk - yi) - (xk - xi) * (yj - yi);
      const cuts = cut[i] + cut[j] + cut[k];
      if (area >= 0 || cuts === 3) continue; // y runs down: the front turns the other way
      const x0 = Math.max(0, Math.ceil(Math.min(xi, xj, xk)));
      const x1 = Math.min(width - 1, Math.floor(Math.max(xi, xj, xk)));
      const y0 = Math.max(0, Math.ceil(Math.min(yi, yj, yk)));
      const y1 = Math.min(height - 1, Math.floor(Math.max(yi, yj, yk)));
      if (x0 > x1 || y0 > y1) continue;
      // weights of j and k, linear on the screen
      const ju = (yk - yi) / area, jv = -(xk - xi) / area;
      const ku = -(yj - yi) / area, kv = (xj - xi) / area;
      if (ink)
        for (let a = 0; a < 3; a++) {
          const dj = ink[3 * j + a] - ink[3 * i + a], dk = ink[3 * k + a] - ink[3 * i + a];
          gradient[a] = Math.hypot(ju * dj + ku * dk, jv * dj + kv * dk) + 1e-6; // mm a pixel
        }
      for (let y = y0; y <= y1; y++)
        for (let x = x0; x <= x1; x++) {
          const wj = ju * (x - xi) + jv * (y - yi), wk = ku * (x - xi) + kv * (y - yi);
          const wi = 1 - wj - wk;
          if (wi < -1e-4 || wj < -1e-4 || wk < -1e-4) continue;
          const z = wi * pz[i] + wj * pz[j] + wk * pz[k];
          const at = y * width + x;
          if (z <= depth[at]) continue;
          if (cuts && this.isHidden(points, i, j, k, wi, wj, wk, s0, s1, s2)) continue;
          let r = wi * colours[3 * i] + wj * colours[3 * j] + wk * colours[3 * k];
          let g = wi * colours[3 * i + 1] + wj * colours[3 * j + 1] + wk * colours[3 * k + 1];
          let b = wi * colours[3 * i + 2] + wj * colours[3 * j + 2] + wk * colours[3 * k + 2];
          if (ink) {
            let line = 0;
            for (let a = 0; a < 3; a++) {
              const mm = wi * ink[3 * i + a] + wj * ink[3 * j + a] + wk * ink[3 * k + a];
              const off = Math.abs(mm - cell * Math.round(mm / cell)) / gradient[a];
              line = Math.max(line, 1 - off / view.line);
            }
            const keep = 1 - 0.75 * line;
            r *= keep; g *= keep; b *= keep;
          }
          depth[at] = z;
          pixels[at] = 0xff000000 | (b << 16) | (g << 8) | r;
        }
    }
  }

  isHidden(points, i, j, k, wi, wj, wk, s0, s1, s2) {
    const at = (a) => wi * points[3 * i + a] + wj * points[3 * j + a] + wk * points[3 * k + a];
    const c = state.crosshair;
    return s0 * (at(0) - c[0]) > 0 && s1 * (at(1) - c[1]) > 0 && s2 * (at(2) - c[2]) > 0;
  }

  // A plane across an axis, where it bounds the octant toward the viewer. picture: of `render`.
  plane(across, picture, view) {
    const [b, c] = model.planeAxes(across);
    const { extent } = meta;
    const origin = [0, 0, 0];
    origin[across] = state.crosshair[across];
    const [rb, ub, zb] = [view.right[b], -view.up[b], view.toward[b]].map((v) => v * view.scale);
    const [rc, uc, zc] = [view.right[c], -view.up[c], view.toward[c]].map((v) => v * view.scale);
    const area = rb * uc - rc * ub;
    if (Math.abs(area) < 0.03 * view.scale ** 2) return; // edge-on
    const [ox, oy, oz] = [view.x3(...origin), view.y3(...origin), view.z3(...origin)];
    const range = (a) => (view.toward[a] > 0 ? [state.crosshair[a], extent[a]]
      : [0, state.crosshair[a]]);
    const [[b0, b1], [c0, c1]] = [range(b), range(c)];
    const corners = [[b0, c0], [b0, c1], [b1, c0], [b1, c1]];
    const xs = corners.map(([p, q]) => ox + p * rb + q * rc);
    const ys = corners.map(([p, q]) => oy + p * ub + q * uc);
    const [x0, x1] = [Math.max(0, Math.floor(Math.min(...xs))),
      Math.min(this.width - 1, Math.ceil(Math.max(...xs)))];
    const [y0, y1] = [Math.max(0, Math.floor(Math.min(...ys))),
      Math.min(this.height - 1, Math.ceil(Math.max(...ys)))];
    const { width: columns, height: rows, pixels, inside } = picture;
    for (let y = y0; y <= y1; y++)
      for (let x = x0; x <= x1; x++) {
        const [dx, dy] = [x - ox, y - oy];
        const p = (dx * uc - dy * rc) / area, q = (dy * rb - dx * ub) / area;
        if (p < b0 || p > b1 || q < c0 || q > c1) continue;
        const z = oz + p * zb + q * zc;
        const at = y * this.width + x;
        if (z <= this.depth[at]) continue;
        const column = (p / extent[b]) * (columns - 1.001), row = (1 - q / extent[c]) * (rows - 1.001);
        const [i, j] = [Math.floor(column), Math.floor(row)];
        const from = j * columns + i;
        if (!inside[from]) continue;
        this.depth[at] = z;
        this.pixels[at] = mix(mix(pixels[from], pixels[from + 1], column - i),
          mix(pixels[from + columns], pixels[from + columns + 1], column - i), row - j);
      }
  }
}
