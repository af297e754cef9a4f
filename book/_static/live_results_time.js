// Page "The results": mean Dice against time, one mark for each method and processor, and the
// paper's methods as diamonds. A mark that is pressed is named.
"use strict";

window.nevfResultsTime = (() => {
  const TICKS = [0.1, 1, 10, 100, 1000];
  const text = (x, y, words, more = "") => `<text x="${x}" y="${y}" ${more}>${words}</text>`;

  // A small diamond around (x, y).
  const diamond = (x, y, size, more) =>
    `<path class="nl-diamond" ${more} d="M${x} ${y - size}L${x + size} ${y}L${x} ${y + size}L${x - size} ${y}Z"/>`;

  const pen = document.createElement("canvas").getContext("2d");
  const SIDES = [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [1, 1], [-1, -1], [-1, 1]];
  const HIGH = 12;

  // A name at a mark, at the nearest place where it covers nothing, with a thin line from further
  // off; its box is then taken. "" where there is no room. frame: left, top, right, bottom. reaches:
  // pixels between the two that are tried.
  function named(label, [x, y], taken, frame, reaches) {
    const long = pen.measureText(label).width;
    for (const reach of reaches)
      for (const [dx, dy] of SIDES) {
        const far = dx && dy ? 0.75 * reach : reach;
        const start = x + dx * far - ((1 - dx) / 2) * long;
        const high = y + dy * (far + HIGH / 2 - 3) - HIGH / 2;
        const box = [start - 3, high, start + long + 3, high + HIGH];
        const inside = box[0] >= frame[0] && box[2] <= frame[2] && high >= frame[1] && box[3] <= frame[3];
        const free = (b) => box[0] >= b[2] || box[2] <= b[0] || box[1] >= b[3] || box[3] <= b[1];
        if (!inside || !taken.every(free)) continue;
        taken.push(box);
        const at = (d) => `${(x + dx * d).toFixed(1)} ${(y + dy * d).toFixed(1)}`;
        const line = reach > 9 ? `<path class="nl-leader" d="M${at(6)}L${at(far - 2)}"/>` : "";
        return line + text(start.toFixed(1), (high + HIGH - 2.5).toFixed(1), label, 'class="nl-name"');
      }
    return "";
  }

  // The element of `query` in `place` nearest to a pointer, within a finger's reach; or undefined.
  function nearest(place, query, { clientX, clientY }) {
    let [best, reach] = [undefined, 16];
    for (const element of place.querySelectorAll(query)) {
      const box = element.getBoundingClientRect();
      const away = Math.hypot(
        clientX - box.left - box.width / 2,
        clientY - box.top - box.height / 2,
      );
      if (away < reach) [best, reach] = [element, away];
    }
    return best;
  }

  // marks: [{ name, dice, seconds, colour, paper, few, title }]. chosen: the title of the mark that
  // is named before all others, in a ring.
  function draw(place, marks, say, chosen) {
    const all = marks.map(({ dice }) => dice);
    const low = Math.floor(20 * Math.min(...all)) / 20;
    const high = Math.ceil(20 * Math.max(...all)) / 20;
    const width = Math.max(280, Math.min(900, place.clientWidth || 360));
    const height = Math.round(Math.max(260, Math.min(380, 0.55 * width)));
    const [left, right, top, bottom] = [56, 14, 14, 44];
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
    const shapes = marks.map(({ dice, seconds }) => [along(seconds), up(dice)]);
    const taken = shapes.map(([x, y]) => [x - 6, y - 6, x + 6, y + 6]); // of marks, then of names
    marks.forEach(({ colour, paper, few, title }, k) => {
      const [x, y] = shapes[k];
      const shape = paper
        ? diamond(x, y, 6, `style="stroke:${colour}"`)
        : `<circle style="fill:${colour}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="5"/>`;
      parts.push(`<g data-mark="${k}"${few ? ' opacity="0.55"' : ""}><title>${title}</title>${shape}</g>`);
      if (title === chosen)
        parts.push(`<circle class="nl-ring" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="9"/>`);
    });
    pen.font = `12px ${getComputedStyle(place).fontFamily}`;
    const rank = ({ title, few }) => (title === chosen ? -1 : few ? 1 : 0);
    const order = marks.map((_, k) => k).sort((i, j) => rank(marks[i]) - rank(marks[j]));
    for (const k of order) {
      const reaches = { "-1": [14, 20, 30], 0: [9, 18, 30], 1: [9] }[rank(marks[k])];
      const frame = [left + 2, top, width, height - bottom - 2];
      const name = named(marks[k].name, shapes[k], taken, frame, reaches);
      if (name) parts.push(name); // without room it is left to its title and to a press
    }
    place.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${say}">${parts.join("")}</svg>`;
  }

  return { draw, diamond, nearest };
})();
