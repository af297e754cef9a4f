// What the live figures of the chapters share: controls, dark cards for images, charts in the
// page's ink. A chapter holds an empty place, <div class="nevf-live" data-live="NAME">, with a
// sentence for readers without JavaScript; the module of that name fills it with `mount`.
"use strict";

window.nevfLive = (() => {
  const { minus } = window.nevfSigns;
  const { STYLE } = window.nevfDraw; // the colours of nevf_lite/viz/style.py
  const CURVES = ["#2f86cc", "#d9660d", "#1f9d78", "#b05a94"];
  const LADDER = ladder(STYLE.SIGNED);

  function rgb(hex) {
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  }

  function ladder(colours) {
    const stops = colours.map(rgb);
    return Array.from({ length: 256 }, (_, k) => {
      const place = (k / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((value, c) => value + (place - low) * (stops[low + 1][c] - value));
    });
  }

  // An element with attributes (`on...` are listeners) and children, elements or text.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  let serial = 0;

  // A slider over a list of values. change(value) is called at each move; show(value) is its text.
  function slider(label, values, value, show, change) {
    const id = `nevf-live-${++serial}`;
    const output = make("output", { for: id });
    const input = make("input", { id, type: "range", min: 0, max: values.length - 1, step: 1 });
    const tell = () => {
      output.textContent = show(values[input.value]);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    const set = (wanted) => {
      input.value = values.indexOf(wanted);
      tell();
    };
    input.addEventListener("input", () => {
      tell();
      change(values[input.value]);
    });
    set(value);
    const element = make("div", { class: "nl-slider" }, make("label", { for: id }, label));
    element.append(output, input);
    return { element, input, set };
  }

  function button(text, press) {
    return make("button", { type: "button", class: "nevf-button", onclick: press }, text);
  }

  // A canvas under its title. `say` is what a screen reader hears of it.
  function panel(title, say) {
    const canvas = make("canvas", { role: "img", "aria-label": say });
    const caption = make("div", { class: "nl-title" }, title);
    const element = make("div", { class: "nl-panel" }, caption, canvas);
    return { element, canvas, caption };
  }

  // Paints values on the canvas, axis 0 to the right and axis 1 up. colour(value) is [r, g, b].
  function paint(canvas, values, shape, colour, smooth = true) {
    const [columns, rows] = shape;
    const small = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    const pen = small.getContext("2d");
    const picture = pen.createImageData(columns, rows);
    for (let i = 0; i < columns; i++) {
      for (let j = 0; j < rows; j++) {
        const at = 4 * ((rows - 1 - j) * columns + i);
        picture.data.set(colour(values[i * rows + j]), at);
        picture.data[at + 3] = 255;
      }
    }
    pen.putImageData(picture, 0, 0);
    const seen = fitted(canvas, shape);
    seen.clearRect(0, 0, canvas.width, canvas.height);
    seen.imageSmoothingEnabled = smooth;
    seen.imageSmoothingQuality = "high";
    seen.drawImage(small, 0, 0, canvas.width, canvas.height);
    return seen;
  }

  // The drawing context of a canvas with as many pixels as the screen shows of it.
  function fitted(canvas, shape) {
    canvas.style.aspectRatio = `${shape[0]} / ${shape[1]}`;
    const width = Math.round(canvas.clientWidth * Math.min(window.devicePixelRatio || 1, 2)) || 240;
    const height = Math.round((width * shape[1]) / shape[0]);
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
    }
    return canvas.getContext("2d");
  }

  // -1 to 1 in blue, the dark of the card, which is nothing, and orange.
  function signed(value) {
    return LADDER[Math.round(255 * Math.min(1, Math.max(0, 0.5 + value / 2)))];
  }

  // Lines on axes, an SVG in the page's ink, as wide as `place`, so that its letters keep their size.
  // axes: { x: { label, low, high, ticks, show }, y: ... }; show(tick) is its text. lines: [{ name, xs, ys, colour, dash, dots }].
  // marks: [{ x, text, colour }], upright lines. Returns where the axes are: { left, right }.
  function chart(place, axes, lines, say, marks = []) {
    const width = Math.max(200, Math.min(800, place.clientWidth || 360));
    const told = ({ show = minus }, tick) => show(tick);
    const longest = Math.max(...axes.y.ticks.map((tick) => String(told(axes.y, tick)).length));
    // The key is one line, which begins further left where it is long, or a line for each name.
    const named = lines.filter(({ name }) => name);
    const long = ({ name }) => 40 + 6.6 * name.length;
    const spare = width - named.reduce((sum, line) => sum + long(line), -17);
    const more = spare < 0 ? 16 * (named.length - 1) : 0;
    const [left, right, top, bottom] = [34 + 7 * longest, 13, 24 + more, 40]; // for names and numbers
    const height = more + Math.round(Math.max(190, Math.min(250, 0.62 * width)));
    const along = (v) =>
      left + ((v - axes.x.low) / (axes.x.high - axes.x.low)) * (width - left - right);
    const up = (v) =>
      height - bottom - ((v - axes.y.low) / (axes.y.high - axes.y.low)) * (height - top - bottom);
    const parts = [];
    for (const tick of axes.x.ticks) {
      const x = along(tick).toFixed(1);
      parts.push(`<path class="nl-grid" d="M${x} ${top}V${height - bottom}"/>`);
      parts.push(`<text x="${x}" y="${height - bottom + 16}" text-anchor="middle">${told(axes.x, tick)}</text>`);
    }
    for (const tick of axes.y.ticks) {
      const y = up(tick).toFixed(1);
      parts.push(`<path class="nl-grid" d="M${left} ${y}H${width - right}"/>`);
      parts.push(`<text x="${left - 6}" y="${+y + 4}" text-anchor="end">${told(axes.y, tick)}</text>`);
    }
    const across = (left + width - right) / 2;
    parts.push(`<text x="${across}" y="${height - 6}" text-anchor="middle">${axes.x.label}</text>`);
    const middle = (top + height - bottom) / 2;
    parts.push(
      `<text transform="translate(13 ${middle}) rotate(-90)" text-anchor="middle">${axes.y.label}</text>`,
    );
    const paths = lines.map(({ xs, ys }) => Array.from(xs, (x, i) => [along(x), up(ys[i])]));
    let [key, under] = [more ? left : Math.min(left, spare), 13];
    lines.forEach((line, k) => {
      const colour = line.colour ?? CURVES[k % CURVES.length];
      const path = paths[k].map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      const dash = line.dash ? ' stroke-dasharray="6 4"' : "";
      parts.push(`<path class="nl-line" style="stroke:${colour}"${dash} d="M${path}"/>`);
      for (const [x, y] of line.dots ? paths[k] : []) {
        const place = `cx="${x.toFixed(1)}" cy="${y.toFixed(1)}"`;
        parts.push(`<circle style="fill:${colour}" ${place} r="3.4"/>`);
      }
      if (!line.name) return;
      const stroke = `<path class="nl-line" style="stroke:${colour}"${dash}`;
      parts.push(`${stroke} d="M${key} ${under - 4}h18"/>`);
      parts.push(`<text x="${key + 23}" y="${under}">${line.name}</text>`);
      if (more) under += 16;
      else key += long(line);
    });
    // A mark is named as high up as no curve is in the way.
    const inked = paths.flatMap((path) =>
      path.flatMap(([x, y], i) => {
        const [fromX, fromY] = path[Math.max(0, i - 1)];
        return [0, 0.25, 0.5, 0.75].map((t) => [x + t * (fromX - x), y + t * (fromY - y)]);
      }),
    );
    const rows = [];
    for (let y = top + 12; y < height - bottom - 4; y += 12) rows.push(y);
    rows.push(height - bottom - 4);
    for (const { x, text, colour } of marks) {
      const at = along(x);
      if (at < left || at > width - right) continue;
      const style = colour ? ` style="stroke:${colour}"` : "";
      parts.push(`<path class="nl-mark"${style} d="M${at.toFixed(1)} ${top}V${height - bottom}"/>`);
      const fits = (letters) => 8 + 6.6 * letters < Math.max(width - at, at - left);
      const said = fits(text.length) ? [text] : text.replace(/^(.{4,}?) /, "$1\n").split("\n");
      const room = 8 + 6.6 * Math.max(...said.map((line) => line.length));
      const end = at + room > width;
      const [low, high] = end ? [at - room, at] : [at, at + room];
      const met = (y) =>
        inked.filter(([a, b]) => a > low && a < high && b > y - 10 && b < y + 4).length;
      const y = rows.slice(said.length - 1).reduce((best, row) => (met(row) < met(best) ? row : best));
      const place = `x="${(at + (end ? -5 : 5)).toFixed(1)}"${end ? ' text-anchor="end"' : ""}`;
      for (const [k, line] of said.toReversed().entries())
        parts.push(`<text class="nl-said" ${place} y="${y - 12 * k}">${line}</text>`);
    }
    const spoken = say.replaceAll('"', "");
    place.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${spoken}">${parts.join("")}</svg>`;
    return { left: left / width, right: 1 - right / width };
  }

  // Fills every place of this name. build(host) returns draw(), called now and at each new size.
  function mount(name, build) {
    for (const host of document.querySelectorAll(`[data-live="${name}"]`)) {
      const spoken = host.textContent.trim();
      host.textContent = "";
      host.setAttribute("role", "group");
      if (!host.hasAttribute("aria-label")) host.setAttribute("aria-label", spoken.slice(0, 120));
      const draw = build(host);
      host.classList.add("is-ready");
      draw();
      let width = host.clientWidth;
      new ResizeObserver(() => {
        if (host.clientWidth === width) return;
        width = host.clientWidth;
        draw();
      }).observe(host);
    }
  }

  // A function that asks for one `draw` before the next frame, however often it is called.
  function onFrame(draw) {
    let pending = 0;
    return () => {
      cancelAnimationFrame(pending);
      pending = requestAnimationFrame(draw);
    };
  }

  // What a slider calls: (name) => (value) => state[name] becomes the value, and `later` is called.
  function setter(state, later) {
    return (name) => (value) => {
      state[name] = value;
      later();
    };
  }

  const still = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  return {
    STYLE,
    CURVES,
    make,
    slider,
    button,
    panel,
    paint,
    fitted,
    signed,
    chart,
    mount,
    onFrame,
    setter,
    still,
  };
})();
