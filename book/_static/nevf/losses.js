// The loss and its gradients: nevf_lite/losses.py, in two dimensions.
"use strict";

function nevfLosses() {
  // The sum over a centred window of `window` voxels along each axis, zeros outside: a running sum
  // along one axis, then along the other. It is its own adjoint. spare: n numbers.
  function boxSum(x, [columns, rows], window, out, spare) {
    const half = (window - 1) / 2;
    along(x, spare, columns, rows, rows, 1, half);
    along(spare, out, rows, columns, 1, rows, half);
    return out;
  }

  // `lines` lines of `length` values, `stride` apart; line k begins at k * next.
  function along(x, out, lines, length, next, stride, half) {
    for (let line = 0; line < lines; line++) {
      const from = line * next;
      let sum = 0;
      for (let k = 0; k < Math.min(half, length); k++) sum += x[from + k * stride];
      for (let k = 0; k < length; k++) {
        if (k + half < length) sum += x[from + (k + half) * stride];
        if (k - half - 1 >= 0) sum -= x[from + (k - half - 1) * stride];
        out[from + k * stride] = sum;
      }
    }
  }

  // The local NCC with a fixed image, whose statistics are computed once.
  // Returns { value(warped), map, gradient }: value is 1 - mean of the map, the squared local
  // correlation at each voxel; gradient is that of the value, for the warped image.
  function localNcc(fixed, shape, window) {
    const n = fixed.length;
    const count = window * window;
    const spare = new Float64Array(n);
    const sum = (x) => boxSum(x, shape, window, new Float64Array(n), spare);
    const fixedSum = sum(fixed);
    const fixedVariance = sum(fixed.map((value) => value * value)).map((squares, p) =>
      Math.max(squares - (fixedSum[p] * fixedSum[p]) / count, 0),
    );
    const [map, gradient, product, sums, squares, crosses] = Array.from(
      { length: 6 },
      () => new Float64Array(n),
    );

    function value(warped) {
      boxSum(warped, shape, window, sums, spare);
      for (let p = 0; p < n; p++) product[p] = warped[p] * warped[p];
      boxSum(product, shape, window, squares, spare);
      for (let p = 0; p < n; p++) product[p] = warped[p] * fixed[p];
      boxSum(product, shape, window, crosses, spare);
      let total = 0;
      for (let p = 0; p < n; p++) {
        const cross = crosses[p] - (fixedSum[p] * sums[p]) / count;
        const raw = squares[p] - (sums[p] * sums[p]) / count;
        const below = fixedVariance[p] * Math.max(raw, 0) + 1e-5;
        map[p] = (cross * cross) / below;
        total += map[p];
        // from here the three sums become their own gradients
        const byCross = (-2 * cross) / below / n;
        const byVariance = raw >= 0 ? (map[p] * fixedVariance[p]) / below / n : 0;
        sums[p] = (-byCross * fixedSum[p] - 2 * byVariance * sums[p]) / count;
        squares[p] = byVariance;
        crosses[p] = byCross;
      }
      boxSum(sums, shape, window, gradient, spare);
      boxSum(squares, shape, window, product, spare);
      for (let p = 0; p < n; p++) gradient[p] += 2 * warped[p] * product[p];
      boxSum(crosses, shape, window, product, spare);
      for (let p = 0; p < n; p++) gradient[p] += fixed[p] * product[p];
      return 1 - total / n;
    }

    return { value, map, gradient };
  }

  // mean(relu(-det J)) of a displacement by forward differences; adds `weight` times its gradient.
  // cells gets the determinants. Returns { value, folds }; folds counts the cells with det <= 0.
  function jacobian(u, [columns, rows], weight, gradient, cells) {
    const n = columns * rows;
    const count = (columns - 1) * (rows - 1);
    let [value, folds] = [0, 0];
    for (let i = 0, c = 0; i < columns - 1; i++) {
      for (let j = 0; j < rows - 1; j++, c++) {
        const p = i * rows + j;
        const q = n + p;
        const xx = 1 + u[p + rows] - u[p];
        const xy = u[q + rows] - u[q];
        const yx = u[p + 1] - u[p];
        const yy = 1 + u[q + 1] - u[q];
        const determinant = xx * yy - xy * yx;
        cells[c] = determinant;
        if (determinant <= 0) folds++;
        if (determinant >= 0) continue;
        value -= determinant / count;
        const g = weight / count; // minus the cofactors, times this
        gradient[p + rows] -= g * yy;
        gradient[p + 1] += g * xy;
        gradient[p] += g * (yy - xy);
        gradient[q + rows] += g * yx;
        gradient[q + 1] -= g * xx;
        gradient[q] += g * (xx - yx);
      }
    }
    return { value, folds };
  }

  // The mean squared forward difference of a field; adds `weight` times its gradient.
  function smoothness(u, [columns, rows], weight, gradient) {
    const n = columns * rows;
    const steps = [
      [rows, 1 / (4 * (columns - 1) * rows), columns - 1, rows],
      [1, 1 / (4 * columns * (rows - 1)), columns, rows - 1],
    ]; // a mean over two components and the voxels, then over two axes
    let value = 0;
    for (const [step, share, most, high] of steps) {
      for (let c = 0; c < 2; c++) {
        for (let i = 0; i < most; i++) {
          for (let j = 0, p = c * n + i * rows; j < high; j++, p++) {
            const difference = u[p + step] - u[p];
            value += share * difference * difference;
            const g = 2 * weight * share * difference;
            gradient[p + step] += g;
            gradient[p] -= g;
          }
        }
      }
    }
    return value;
  }

  return { boxSum, localNcc, jacobian, smoothness };
}
