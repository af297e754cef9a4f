// The pictures of the playground. Axis 0 runs right and axis 1 up, as in nevf_lite.viz.sketch.
"use strict";

window.nevfDraw = (() => {
  // The colours of nevf_lite/viz/style.py; a test holds the two together.
  const STYLE = {
    CARD: "#0b0c0f",
    FIXED: "#56b4e9",
    MOVED: "#ffa94d",
    FOLD: "#e6ff2a",
    DIVERGING: ["#0a3a82", "#2f7fd0", "#9ccbf0", "#f3f1ec", "#f6bd84", "#d96c1a", "#7d2c05"],
    SIGNED: ["#c4e1f8", "#56a5e6", "#1f4f85", "#14171c", "#7c3b0d", "#e0812f", "#fbd3a8"],
  };
  const REACH = 2; // the determinant's colours end at 2^-2 and 2^2
  const EVERY = 8; // voxels between the lines of a lattice,
  const FIRST = 3.5; // the first of them here, so that the margins are equal
  const FINE = 2; // pixels a voxel in the large picture: at 3 an update takes half as long again
  const [MOVED, FOLD, CARD] = [STYLE.MOVED, STYLE.FOLD, STYLE.CARD].map(rgb);
  const LADDER = ladder();

  function rgb(hex) {
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  function ladder() {
    const stops = STYLE.DIVERGING.map(rgb);
    return Array.from({ length: 256 }, (_, k) => {
      const place = (k / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((value, c) => value + (place - low) * (stops[low + 1][c] - value));
    });
  }

  // The slice's PNG to { shape, values } with values in [0, 1], in the order of the fields.
  async function load({ shape, uri }) {
    const picture = new Image();
    picture.src = uri;
    await picture.decode();
    const [columns, rows] = shape;
    const pen = sheet(columns, rows).getContext("2d");
    pen.drawImage(picture, 0, 0);
    const pixels = pen.getImageData(0, 0, columns, rows).data;
    const values = new Float32Array(columns * rows);
    for (let i = 0, p = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, p++)
        values[p] = pixels[4 * ((rows - 1 - j) * columns + i)] / 255;
    }
    return { shape, values };
  }

  function sheet(width, height) {
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  // The drawing context of a canvas, with as many pixels as the screen shows of it.
  function fitted(canvas, shape) {
    const width =
      Math.round(canvas.clientWidth * Math.min(window.devicePixelRatio || 1, 2)) || shape[0];
    const height = Math.round((width * shape[1]) / shape[0]);
    if (canvas.width !== width || canvas.height !== height)
      Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = true;
    return pen;
  }

  // Voxel coordinates to pixels of a canvas.
  function placer(canvas, shape) {
    const size = canvas.width / shape[0];
    return { size, x: (i) => (i + 0.5) * size, y: (j) => (shape[1] - 0.5 - j) * size };
  }

  // The slice pulled back through u, `scale` pixels a voxel: the pixel at x shows slice(x + u(x)).
  // With `cells` (determinants) the lattice of the slice is painted on it, and folded cells are lit.
  // Every pixel passes here at each update, hence the long-hand arithmetic.
  function pulled(slice, u, scale, cells = null, gain = 1) {
    const [columns, rows] = slice.shape;
    const n = columns * rows;
    const { values } = slice;
    const made = sheet(columns * scale, rows * scale);
    const pen = made.getContext("2d");
    const picture = pen.createImageData(made.width, made.height);
    const out = picture.data;
    const half = Math.max(0.5, 0.28 * scale); // half the width of a line, in pixels
    for (let row = 0, at = 0; row < made.height; row++) {
      const y = Math.min(Math.max(rows - 0.5 - (row + 0.5) / scale, 0), rows - 1);
      const b = Math.min(y | 0, rows - 2);
      const fy = y - b;
      for (let column = 0; column < made.width; column++, at += 4) {
        const x = Math.min(Math.max((column + 0.5) / scale - 0.5, 0), columns - 1);
        const a = Math.min(x | 0, columns - 2);
        const fx = x - a;
        const q = a * rows + b; // the corners of the cell: q, q + 1, r, r + 1
        const r = q + rows;
        const left = (1 - fy) * u[q] + fy * u[q + 1];
        const right = (1 - fy) * u[r] + fy * u[r + 1];
        const phi = x + left + fx * (right - left);
        const leftUp = (1 - fy) * u[n + q] + fy * u[n + q + 1];
        const rightUp = (1 - fy) * u[n + r] + fy * u[n + r + 1];
        const phiUp = y + leftUp + fx * (rightUp - leftUp);
        let shade = 0;
        let line = 0;
        if (phi >= 0 && phi <= columns - 1 && phiUp >= 0 && phiUp <= rows - 1) {
          const i = Math.min(phi | 0, columns - 2);
          const j = Math.min(phiUp | 0, rows - 2);
          const gx = phi - i;
          const gy = phiUp - j;
          const s = i * rows + j;
          const low = (1 - gy) * values[s] + gy * values[s + 1];
          shade = low + gx * ((1 - gy) * values[s + rows] + gy * values[s + rows + 1] - low);
          if (cells) {
            const slopeX = u[q + 1] - u[q] + fx * (u[r + 1] - u[r] - u[q + 1] + u[q]);
            const slopeY =
              u[n + q + 1] - u[n + q] + fx * (u[n + r + 1] - u[n + r] - u[n + q + 1] + u[n + q]);
            line = Math.max(
              onLine(phi, 1 + right - left, slopeX, scale, half),
              onLine(phiUp, rightUp - leftUp, 1 + slopeY, scale, half),
            );
          }
        }
        const grey = gain * shade;
        const ink = 0.62 * line;
        const folded = cells && cells[q - a] <= 0 ? 0.45 : 0; // cells have one row less than voxels
        for (let c = 0; c < 3; c++) {
          let value = CARD[c] + grey * (255 - CARD[c]);
          value += ink * (MOVED[c] - value);
          out[at + c] = value + folded * (FOLD[c] - value);
        }
        out[at + 3] = 255;
      }
    }
    pen.putImageData(picture, 0, 0);
    return made;
  }

  // How much of a pixel a line of the slice's lattice covers, 0 to 1. place: the slice's coordinate
  // there; (dx, dy): its gradient, which tells how far away in the picture the next line is.
  function onLine(place, dx, dy, scale, half) {
    const turn = (place - FIRST) / EVERY;
    const away =
      (Math.abs(turn - Math.round(turn)) * EVERY * scale) / (Math.sqrt(dx * dx + dy * dy) + 1e-3);
    return Math.min(1, Math.max(0, half + 0.5 - away));
  }

  function spread(pen, made) {
    pen.drawImage(made, 0, 0, pen.canvas.width, pen.canvas.height);
  }

  // The warped slice with its own lattice and the folds.
  function warped(canvas, slice, u, cells) {
    const pen = fitted(canvas, slice.shape);
    spread(pen, pulled(slice, u, FINE, cells));
  }

  // The determinant of each cell in colours; beyond the brain they are dim, folds never are.
  function jacobian(canvas, slice, cells) {
    const [columns, rows] = [slice.shape[0] - 1, slice.shape[1] - 1];
    const made = sheet(columns, rows);
    const pixels = made.getContext("2d").createImageData(columns, rows);
    for (let i = 0, c = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++, c++) {
        const tone = 0.5 + Math.log2(Math.max(cells[c], 1e-9)) / (2 * REACH);
        const colour =
          cells[c] <= 0 ? FOLD : LADDER[Math.round(255 * Math.min(1, Math.max(0, tone)))];
        const seen = cells[c] <= 0 || slice.values[i * slice.shape[1] + j] > 0 ? 1 : 0.3;
        const at = 4 * ((rows - 1 - j) * columns + i);
        for (let k = 0; k < 3; k++) pixels.data[at + k] = CARD[k] + seen * (colour[k] - CARD[k]);
        pixels.data[at + 3] = 255;
      }
    }
    made.getContext("2d").putImageData(pixels, 0, 0);
    const pen = fitted(canvas, slice.shape);
    pen.fillStyle = STYLE.CARD;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false; // a single fold must be seen as one
    const { size } = placer(canvas, slice.shape);
    pen.drawImage(made, size, size, columns * size, rows * size);
  }

  // Where the lines of a regular lattice go under u, over a picture; cells that fold are dotted.
  function mesh(canvas, shape, u, cells, colour, picture) {
    const [columns, rows] = shape;
    const n = columns * rows;
    const pen = fitted(canvas, shape);
    spread(pen, picture);
    const to = placer(canvas, shape);
    pen.fillStyle = STYLE.FOLD;
    const dot = Math.max(2, 1.1 * to.size);
    for (let c = 0; c < cells.length; c++) {
      if (cells[c] > 0) continue;
      const i = Math.floor(c / (rows - 1));
      const p = c + i; // the cell's lower voxel
      const j = p - i * rows;
      pen.fillRect(to.x(i + u[p]) - dot / 2, to.y(j + u[n + p]) - dot / 2, dot, dot);
    }
    pen.strokeStyle = colour;
    pen.lineWidth = Math.max(1, 0.55 * to.size);
    pen.beginPath();
    // a line lies halfway between two rows of voxels, `next` apart; it steps along by `stride`
    const trace = (start, next, count, stride) => {
      for (let k = 0, p = start; k < count; k++, p += stride) {
        const i = Math.floor(p / rows);
        const j = p - i * rows;
        const x = i + (next === 1 ? 0 : 0.5) + (u[p] + u[p + next]) / 2;
        const y = j + (next === 1 ? 0.5 : 0) + (u[n + p] + u[n + p + next]) / 2;
        if (k) pen.lineTo(to.x(x), to.y(y));
        else pen.moveTo(to.x(x), to.y(y));
      }
    };
    for (let i = Math.floor(FIRST); i < columns - 1; i += EVERY) trace(i * rows, rows, rows, 1);
    for (let j = Math.floor(FIRST); j < rows - 1; j += EVERY) trace(j, 1, columns, rows);
    pen.stroke();
  }

  // The strokes as arrows; the last one whiter. cursor: { x, y, down } of the keyboard, or null.
  function strokes(canvas, shape, all, cursor) {
    const pen = canvas.getContext("2d");
    const to = placer(canvas, shape);
    pen.lineCap = pen.lineJoin = "round";
    const path = (points, tip) => {
      pen.beginPath();
      points.forEach(([x, y], k) =>
        k ? pen.lineTo(to.x(x), to.y(y)) : pen.moveTo(to.x(x), to.y(y)),
      );
      const end = points[points.length - 1];
      let back = points.length - 2;
      while (back > 0 && Math.hypot(end[0] - points[back][0], end[1] - points[back][1]) < 4) back--;
      const angle = Math.atan2(points[back][1] - end[1], end[0] - points[back][0]);
      for (const side of [-2.6, 2.6]) {
        pen.moveTo(to.x(end[0]), to.y(end[1]));
        pen.lineTo(
          to.x(end[0]) + tip * Math.cos(angle + side),
          to.y(end[1]) + tip * Math.sin(angle + side),
        );
      }
      pen.stroke();
    };
    all.forEach((points, k) => {
      if (points.length < 2) return;
      const alpha = k === all.length - 1 ? 0.95 : 0.55;
      for (const [width, ink] of [
        [2.6, "rgba(0, 0, 0, 0.6)"],
        [1.2, `rgba(255, 255, 255, ${alpha})`],
      ]) {
        pen.lineWidth = width * Math.max(1, 0.5 * to.size);
        pen.strokeStyle = ink;
        path(points, 4.5 * to.size);
      }
    });
    if (!cursor) return;
    const arm = 5 * to.size;
    for (const [width, ink] of [
      [4, "#000"],
      [2, cursor.down ? STYLE.FOLD : "#fff"],
    ]) {
      pen.lineWidth = width * Math.max(1, 0.4 * to.size);
      pen.strokeStyle = ink;
      pen.beginPath();
      pen.moveTo(to.x(cursor.x) - arm, to.y(cursor.y));
      pen.lineTo(to.x(cursor.x) + arm, to.y(cursor.y));
      pen.moveTo(to.x(cursor.x), to.y(cursor.y) - arm);
      pen.lineTo(to.x(cursor.x), to.y(cursor.y) + arm);
      pen.stroke();
    }
  }

  return { STYLE, load, fitted, placer, spread, pulled, warped, jacobian, mesh, strokes };
})();
