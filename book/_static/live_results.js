// Page "The results": every pair as a dot, every method as a row, to be sorted, followed and taken
// home. The rows are in the page, put there by book/_ext/nevf_explorer.py when the book is built.
"use strict";

(() => {
  const live = window.nevfLive;
  const { draw: drawTime, diamond, nearest } = window.nevfResultsTime;
  const { choice, table: tabled, download } = window.nevfResultsRows;
  const PAPER = live.CURVES[1];
  const MACHINES = [live.CURVES[0], live.CURVES[2], live.CURVES[3]];
  const NARROW = 520;
  const SORTS = { dice: "mean Dice", time: "seconds", folds: "folds", name: "name" };

  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  function median(values) {
    const ordered = [...values].sort((a, b) => a - b);
    return (ordered[(ordered.length - 1) >> 1] + ordered[ordered.length >> 1]) / 2;
  }

  live.mount("results", (host) => {
    const data = JSON.parse(document.getElementById("nevf-results").textContent);
    const all = data.rows.map((row) => Object.fromEntries(row.map((v, k) => [data.columns[k], v])));
    const BEFORE = data.before;
    for (const row of all) row.pair = `${row.fixed} ← ${row.moving}`;
    const machines = [...new Set(all.map(({ machine }) => machine))];
    const colours = Object.fromEntries(machines.map((m, k) => [m, MACHINES[k % MACHINES.length]]));
    // mark: the title of the one that was pressed in Dice against time, and whose method it is
    const none = { pinned: "", pair: "", mark: "", method: "" };
    const state = { dataset: Object.keys(data.titles)[0], sort: "dice", ...none };

    const titles = Object.entries(data.titles);
    const dataset = choice("Data set", titles, state.dataset, (value) => {
      Object.assign(state, none, { dataset: value });
      draw();
    });
    const sort = choice("Sort by", Object.entries(SORTS), state.sort, (value) => {
      state.sort = value;
      draw();
    });
    const pair = choice("Follow a pair", [], "", (value) => {
      state.pinned = state.pair = value;
      draw();
    });
    const plot = live.make("div", { class: "nl-chart nl-dots" });
    const more = live.button("", () => {
      state.whole = !state.whole;
      draw();
    });
    const words = live.make("p", { class: "nl-words", role: "status" });
    const timeTitle = live.make("div", { class: "nl-title" }, "Dice against time");
    const time = live.make("div", { class: "nl-chart nl-time" });
    const named = live.make("p", { class: "nl-words", role: "status" });
    const key = live.make("p", { class: "nl-key" });
    const table = live.make("details", { class: "nl-table" });
    const save = live.button("Download the rows (CSV)", () =>
      download("nevf-results.csv", data.columns, data.rows),
    );
    host.append(
      live.make("div", { class: "nl-controls" }, dataset.element, sort.element, pair.element),
      plot,
      more,
      words,
      timeTitle,
      time,
      named,
      key,
      live.make("div", { class: "nevf-buttons" }, save),
      table,
    );
    for (const machine of machines) {
      const dot = live.make("span", { class: "nl-dot", style: `background:${colours[machine]}` });
      key.append(live.make("span", {}, dot, machine));
    }
    const mark = live.make("span", { class: "nl-dot nl-tilted", style: `border-color:${PAPER}` });
    key.append(live.make("span", {}, mark, "the paper"));
    const pale = live.make("span", { class: "nl-dot nl-pale" });
    key.append(live.make("span", {}, pale, `pale: fewer than ${data.few} pairs`));

    // One entry for each method of the data set: its pairs, mean, and what else is shown.
    const printed = (name) =>
      data.paper.find(({ label, dataset: d }) => label === name && d === state.dataset)?.dice;
    function methods() {
      const here = all.filter((row) => row.dataset === state.dataset);
      const names = [...new Set(here.map(({ label }) => label))];
      const made = names.flatMap((label) => {
        const rows = here.filter((row) => row.label === label);
        if (rows.every((row) => row.dice === row.dice_before)) return []; // the start itself
        return {
          label,
          rows,
          few: rows.length < data.few,
          dice: mean(rows.map((row) => row.dice)),
          time: median(rows.map((row) => row.cpu_seconds)),
          folds: mean(rows.map((row) => row.folds_percent)),
          paper: printed(label),
        };
      });
      const order = {
        dice: (a, b) => b.dice - a.dice,
        time: (a, b) => a.time - b.time,
        folds: (a, b) => a.folds - b.folds,
        name: (a, b) => a.label.localeCompare(b.label),
      }[state.sort];
      made.sort((a, b) => a.few - b.few || order(a, b));
      const once = new Map(here.map((row) => [row.pair, { ...row, dice: row.dice_before }]));
      const rows = [...once.values()];
      made.push({ label: BEFORE, rows, few: false, dice: mean(rows.map((row) => row.dice)), paper: printed(BEFORE) });
      return made;
    }

    function draw() {
      const shown = methods();
      const pairs = [...new Set(shown.flatMap(({ rows }) => rows.map((row) => row.pair)))].sort();
      pair.fill([["", "none"], ...pairs.map((name) => [name, name])]);
      pair.list.value = state.pinned;
      const values = shown.flatMap(({ rows, paper }) => [...rows.map((r) => r.dice), paper ?? 0.5]);
      const low = Math.floor(20 * Math.min(...values)) / 20;
      const high = Math.ceil(20 * Math.max(...values)) / 20;
      // on a phone, methods of few pairs would be two more screens: they come when they are asked for
      const some = shown.filter(({ few, label }) => !few || label === state.method);
      more.hidden = plot.clientWidth >= NARROW || some.length === shown.length;
      more.textContent = state.whole
        ? `Hide methods with fewer than ${data.few} pairs`
        : `Show ${shown.length - some.length} methods with fewer than ${data.few} pairs`;
      dots(more.hidden || state.whole ? shown : some, low, high);
      tell(shown);
      const say = `Mean Dice against seconds, ${data.titles[state.dataset]}`;
      drawTime(time, marks(shown), say, state.mark);
      table.replaceChildren(live.make("summary", {}, "As a table"), tabled(shown));
      host.dataset.measured = JSON.stringify({
        ...state,
        order: shown.map(({ label }) => label),
        counts: shown.map(({ rows }) => rows.length),
      });
    }

    function dots(shown, low, high) {
      const width = Math.max(280, Math.min(900, plot.clientWidth || 360));
      const narrow = width < NARROW; // on a phone the name stands over its row
      const longest = Math.max(...shown.map(({ label }) => label.length));
      const beside = Math.min(345, Math.max(160, 7.1 * longest + 20)); // room for the names
      const [left, right, top] = [narrow ? 18 : beside, 52, 26];
      const high_ = narrow ? 40 : 27;
      const height = top + high_ * shown.length + 40;
      const along = (v) => left + ((v - low) / (high - low)) * (width - left - right);
      const parts = [];
      for (let v = Math.ceil(20 * low); v <= 20 * high + 1e-9; v += narrow ? 2 : 1) {
        const x = along(v / 20).toFixed(1);
        parts.push(`<path class="nl-grid" d="M${x} ${top}V${height - 36}"/>`);
        for (const y of [top - 8, height - 20])
          parts.push(`<text x="${x}" y="${y}" text-anchor="middle">${(v / 20).toFixed(2)}</text>`);
      }
      parts.push(`<text x="${(left + width - right) / 2}" y="${height - 3}" text-anchor="middle">Dice (1 is perfect)</text>`);
      let path = ""; // from row to row; broken where one lacks the pair
      let joined = false;
      shown.forEach(({ label, rows, few, dice, paper }, k) => {
        const y = top + high_ * (k + (narrow ? 0.68 : 0.5));
        const [x0, y0, end] = narrow ? [4, y - 13, "start"] : [left - 12, y + 4, "end"];
        const dim = few ? ' class="nl-few"' : label === "NeVF" ? ' class="nl-ours"' : "";
        if (label === state.method)
          parts.push(`<rect class="nl-lit" y="${top + high_ * k}" width="${width}" height="${high_}" rx="4"/>`);
        parts.push(`<text x="${x0}" y="${y0}" text-anchor="${end}"${dim}>${label}</text>`);
        const followed = rows.find((row) => row.pair === state.pair)?.dice.toFixed(3) ?? "–";
        const told = state.pair ? followed : `n = ${rows.length}`;
        parts.push(`<text x="${width - 4}" y="${y + 4}" text-anchor="end"${dim}>${told}</text>`);
        parts.push(`<path class="nl-grid" d="M${left} ${y}H${width - right}"/>`);
        if (!few) {
          const x = along(dice).toFixed(1);
          parts.push(`<path class="nl-mean" d="M${x} ${y - 9}V${y + 9}"/>`);
        }
        const before = joined;
        joined = rows.some((row) => row.pair === state.pair);
        for (const row of rows) {
          const x = along(row.dice).toFixed(1);
          const on = row.pair === state.pair;
          if (on) path += `${before ? "L" : "M"}${x} ${y}`;
          const kind = `nl-pair-dot${on ? " is-on" : ""}${label === BEFORE ? " is-before" : ""}`;
          parts.push(
            `<circle class="${kind}" data-pair="${row.pair}" cx="${x}" cy="${y}" r="${on ? 6.5 : 5}"><title>${label}, ${row.pair}: ${row.dice.toFixed(3)}</title></circle>`,
          );
        }
        if (paper) parts.push(diamond(along(paper), y, 6, `style="stroke:${PAPER}"`));
      });
      if (path) parts.push(`<path class="nl-follow" d="${path}"/>`);
      plot.innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Dice of every pair, a row for each method; the table below has the same numbers">${parts.join("")}</svg>`;
    }

    const pairAt = (event) => nearest(plot, "[data-pair]", event)?.dataset.pair ?? "";
    plot.addEventListener("pointermove", (event) => {
      const wanted = pairAt(event) || state.pinned;
      if (wanted === state.pair) return;
      state.pair = wanted;
      draw();
    });
    plot.addEventListener("pointerleave", () => {
      state.pair = state.pinned;
      draw();
    });
    plot.addEventListener("click", (event) => {
      state.pinned = state.pair = pairAt(event);
      draw();
    });
    time.addEventListener("click", (event) => {
      const found = nearest(time, "[data-mark]", event);
      const { title, label } = found ? marks(methods())[found.dataset.mark] : {};
      Object.assign(state, { mark: title ?? "", method: label ?? "" });
      draw();
    });

    function tell(shown) {
      const having = shown.flatMap(({ label, rows }) =>
        rows.filter((row) => row.pair === state.pair).map((row) => `${label} ${row.dice.toFixed(3)}`),
      );
      words.textContent = state.pair
        ? `${state.pair}: ${having.join(", ")}.`
        : `${data.titles[state.dataset]}: ${shown.length - 1} methods; n is the number of pairs.`;
      named.textContent = state.mark ? `${state.mark}.` : "Press a mark and it says what it is.";
      named.classList.toggle("nl-invites", !state.mark);
    }

    // The marks of the second plot: our means by processor, the paper's as they are printed.
    function marks(shown) {
      const ours = shown.slice(0, -1).flatMap(({ label, rows, few, dice }) =>
        [...new Set(rows.map((row) => row.machine))].map((machine) => {
          const timed = rows.filter((row) => row.machine === machine);
          const seconds = median(timed.map((row) => row.cpu_seconds));
          const some = timed.length < rows.length ? `, n = ${timed.length}` : "";
          const title = `${label}: Dice ${dice.toFixed(3)}, n = ${rows.length}; ${seconds.toFixed(0)} s on ${machine}${some}`;
          return { label, name: label, dice, seconds, few, colour: colours[machine], title };
        }),
      );
      const papers = data.paper.filter((p) => p.dataset === state.dataset && p.minutes);
      return [
        ...ours,
        ...papers.map(({ label, dice, minutes }) => ({
          label,
          name: `${label} (paper)`,
          dice,
          seconds: 60 * minutes,
          colour: PAPER,
          paper: true,
          title: `the paper's ${label}: Dice ${dice}, ${(60 * minutes).toFixed(1)} s`,
        })),
      ];
    }
    return draw;
  });
})();
