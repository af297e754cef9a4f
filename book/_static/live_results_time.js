// Page "The results": mean Dice against time, one mark for each method and processor, and the
// paper's methods as diamonds.
"use strict";

window.nevfResultsTime = (() => {
  const TICKS = [0.1, 1, 10, 100, 1000];
  const text = (x, y, words, more = "") => `<text x="${x}" y="${y}" ${more}>${words}</text>`;

  // A small diamond around (x, y).
  const diamond = (x, y, size, more) =>
    `<path class="nl-diamond" ${more} d="M${x} ${y - size}L${x + size} ${y}L${x} ${y + size}L${x - size} ${y}Z"/>`;

  // marks: [{ label, dice, seconds, colour, paper, few, title }].
  function draw(place, marks, say) {
    const all = marks.map(({ dice }) => dice);
    const low = Math.floor(20 * Math.min(...all)) / 20;
    const high = Math.ceil(20 * Math.max(...all)) / 20;
    const width = Math.max(280, Math.min(900, place.clientWidth || 360));
    const height = Math.round(Math.max(260, Math.min(380, 0.55 * width)));
    const [left, right, top, bottom] = [48, 14, 14, 44];
    const [from, to] = [-1, 3.5];
    const along = (s) =>
      left + ((Math.log10(s) - from) / (to - from)) * (width - left - right);
    const up = (v) => height - bottom - ((v - low) / (high - low)) * (height - top - bottom);
    const parts = [];
    for (const tick of TICKS) {
      const x = along(tick).toFixed(1);
      parts.push(`<path class="nl-grid" d="M${x} ${top}V${height - bottom}"/>`);
      parts.push(text(x, height - bottom + 17, tick, 'text-anchor="middle"'));
    }
    for (let v = Math.round(20 * low); v <= Math.round(20 * high); v++) {
      const y = up(v / 20).toFixed(1);
      parts.push(`<path class="nl-grid" d="M${left} ${y}H${width - right}"/>`);
      parts.push(text(left - 6, +y + 4, (v / 20).toFixed(2), 'text-anchor="end"'));
    }
    const middle = (top + height - bottom) / 2;
    parts.push(text((left + width - right) / 2, height - 8, "seconds a pair", 'text-anchor="middle"'));
    parts.push(text(0, 0, "mean Dice", `transform="translate(13 ${middle}) rotate(-90)" text-anchor="middle"`));
    const taken = []; // boxes of names: one that would cover another is left to its title
    const free = (box) =>
      taken.every((b) => box[0] > b[2] || box[2] < b[0] || box[1] > b[3] || box[3] < b[1]);
    for (const { dice, seconds } of marks) {
      const [x, y] = [along(seconds), up(dice)];
      taken.push([x - 5, y - 5, x + 5, y + 5]);
    }
    for (const { label, dice, seconds, colour, paper, few, title } of marks) {
      const [x, y] = [along(seconds), up(dice)];
      const dim = few ? ' opacity="0.55"' : "";
      const shape = paper
        ? diamond(x, y, 6, `style="stroke:${colour}"`)
        : `<circle style="fill:${colour}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="5"/>`;
      parts.push(`<g${dim}><title>${title}</title>${shape}</g>`);
      const long = 6.7 * label.length;
      const spots = [
        [x + 9, y + 4, "start", x + 9],
        [x - 9, y + 4, "end", x - 9 - long],
        [x + 4, y - 9, "start", x + 4],
        [x + 4, y + 17, "start", x + 4],
      ];
      for (const [a, b, anchor, start] of spots) {
        const box = [start, b - 10, start + long, b + 2];
        if (start < left || start + long > width || !free(box)) continue;
        taken.push(box);
        parts.push(text(a.toFixed(1), b.toFixed(1), label, `text-anchor="${anchor}"`));
        break;
      }
    }
    place.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${say}">${parts.join("")}</svg>`;
  }

  return { draw, diamond };
})();
