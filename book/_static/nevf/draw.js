// The pictures of the page, on top of the playground's: slices, the outline of the fixed image over
// the warped one, their difference, and the curve of the loss.
"use strict";

window.nevfPictures = (() => {
  const { STYLE, fitted, placer, spread, pulled } = window.nevfDraw;
  const FINE = 5; // pixels a voxel of the large picture
  const LEVEL = 0.3; // the grey at which the outline runs: brain against fluid
  const GAIN = 2; // a difference of half the range is white

  // Base64 of bytes to { shape, values }.
  function slice(data, shape) {
    return { shape, values: Float64Array.from(atob(data), (byte) => byte.charCodeAt(0) / 255) };
  }

  const nothing = ({ values }) => new Float32Array(2 * values.length);

  // A slice as it is.
  function still(canvas, image) {
    spread(fitted(canvas, image.shape), pulled(image, nothing(image), 3));
  }

  // The moving image pulled back through u, with its lattice, its folds and the fixed outline.
  function warped(canvas, moving, u, cells, outline) {
    const pen = fitted(canvas, moving.shape);
    spread(pen, pulled(moving, u, FINE, cells));
    if (!outline) return;
    const { size } = placer(canvas, moving.shape);
    pen.save();
    pen.scale(size, size);
    pen.lineCap = "round";
    for (const [width, ink] of [
      [0.75, "rgba(0, 0, 0, 0.55)"],
      [0.4, STYLE.FIXED],
    ]) {
      pen.lineWidth = width;
      pen.strokeStyle = ink;
      pen.stroke(outline);
    }
    pen.restore();
  }

  // Where the slice passes LEVEL, as a path in voxels of the picture: marching squares.
  function outline({ shape: [columns, rows], values }) {
    const path = new Path2D();
    for (let i = 0; i < columns - 1; i++) {
      for (let j = 0; j < rows - 1; j++) {
        const corners = [
          [i, j],
          [i + 1, j],
          [i + 1, j + 1],
          [i, j + 1],
        ];
        const heights = corners.map(([a, b]) => values[a * rows + b] - LEVEL);
        const crossings = [];
        for (let k = 0; k < 4; k++) {
          const [from, to] = [heights[k], heights[(k + 1) % 4]];
          if (from > 0 === to > 0) continue;
          const part = from / (from - to);
          const [a, b] = [corners[k], corners[(k + 1) % 4]];
          crossings.push([a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])]);
        }
        for (let k = 0; k + 1 < crossings.length; k += 2) {
          path.moveTo(crossings[k][0] + 0.5, rows - 0.5 - crossings[k][1]);
          path.lineTo(crossings[k + 1][0] + 0.5, rows - 0.5 - crossings[k + 1][1]);
        }
      }
    }
    return path;
  }

  // |fixed - warped|: black where they agree.
  function error(canvas, fixed, values) {
    const difference = values.map((value, p) =>
      Math.min(1, GAIN * Math.abs(value - fixed.values[p])),
    );
    still(canvas, { shape: fixed.shape, values: difference });
  }

  // The loss of this run (white), its dissimilarity (blue), and the loss of the run before (grey)
  // against the iteration. look: the iteration that is shown, or null for the last one.
  function curve(canvas, history, before, look) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const sides = [canvas.clientWidth, canvas.clientHeight];
    const [width, height] = sides.map((n) => Math.round(n * ratio));
    if (canvas.width !== width || canvas.height !== height)
      Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = STYLE.CARD;
    pen.fillRect(0, 0, width, height);
    const all = [...history, ...before].filter((r) => r && Number.isFinite(r.loss));
    if (!all.length) return;
    const most = Math.max(100, history.length - 1, before.length - 1);
    const top = Math.min(1.5, Math.max(...all.map((r) => r.loss)));
    const low = Math.min(...all.map((r) => 1 - r.similarity));
    const [floor, ceiling] = [Math.floor(10 * low) / 10, Math.ceil(10 * top + 0.01) / 10];
    const [left, right, over, under] = [34, 10, 10, 22].map((n) => n * ratio);
    const x = (k) => left + (k / most) * (width - left - right);
    const y = (v) =>
      over + ((ceiling - Math.min(v, ceiling)) / (ceiling - floor)) * (height - over - under);
    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    pen.lineWidth = ratio;
    pen.strokeStyle = "#2a2f36";
    pen.fillStyle = "#b8c0ca";
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const rungs = Math.round(10 * (ceiling - floor));
    for (let k = 0; k <= rungs; k += Math.ceil(rungs / 5)) {
      const value = floor + k / 10;
      pen.beginPath();
      pen.moveTo(left, y(value));
      pen.lineTo(width - right, y(value));
      pen.stroke();
      pen.fillText(value.toFixed(1), left - 6 * ratio, y(value));
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    pen.fillText("0", x(0), height - 7 * ratio);
    pen.textAlign = "right";
    pen.fillText(`iteration ${most}`, width - right, height - 7 * ratio);
    const line = (records, of, ink, thick) => {
      pen.beginPath();
      let drawn = false;
      records.forEach((record, k) => {
        const value = of(record);
        if (!Number.isFinite(value)) return;
        if (drawn) pen.lineTo(x(k), y(value));
        else pen.moveTo(x(k), y(value));
        drawn = true;
      });
      pen.lineWidth = thick * ratio;
      pen.strokeStyle = ink;
      pen.lineJoin = "round";
      pen.stroke();
    };
    line(before, (r) => r.loss, "#6c7682", 1.5);
    line(history, (r) => 1 - r.similarity, STYLE.FIXED, 1.5);
    line(history, (r) => r.loss, "#ffffff", 2);
    const at = look ?? history.length - 1;
    if (!Number.isFinite(history[at]?.loss)) return;
    pen.beginPath();
    pen.arc(x(at), y(history[at].loss), 4 * ratio, 0, 2 * Math.PI);
    pen.fillStyle = "#ffffff";
    pen.fill();
  }

  return { slice, nothing, still, warped, outline, error, curve };
})();
