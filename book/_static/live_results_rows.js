// Page "The results": a list to choose from, the plot as a table, and the rows as a file to take home.
"use strict";

window.nevfResultsRows = (() => {
  const { make } = window.nevfLive;
  const told = (value, digits) => (value === undefined ? "–" : value.toFixed(digits));

  function choice(label, options, value, change) {
    const id = `nevf-results-${label.toLowerCase().replaceAll(" ", "-")}`;
    const list = make("select", { id, onchange: () => change(list.value) });
    const fill = (entries) => {
      list.replaceChildren(...entries.map(([v, text]) => make("option", { value: v }, text)));
    };
    fill(options);
    list.value = value;
    const element = make("div", { class: "nl-choice" }, make("label", { for: id }, label));
    element.append(list);
    return { element, list, fill };
  }

  // methods: [{ label, rows, dice, paper, folds, time }]; undefined is an en dash.
  function table(methods) {
    const head = ["method", "pairs", "mean Dice", "the paper", "folds %", "seconds"];
    const titles = head.map((name) => make("th", { scope: "col" }, name));
    const lines = methods.flatMap(({ label, rows, dice, paper, folds, time }) => {
      const cells = [rows.length, told(dice, 3), told(paper, 3), told(folds, 4), told(time, 0)];
      const name = make("th", { scope: "row" }, label);
      const above = make("th", { colspan: cells.length, scope: "rowgroup" }, label); // on a phone
      return [
        make("tr", { class: "nevf-name" }, above),
        make("tr", {}, name, ...cells.map((cell) => make("td", {}, cell))),
      ];
    });
    const made = make("table", { class: "nevf-above" }, make("thead", {}, make("tr", {}, ...titles)));
    made.append(make("tbody", {}, ...lines));
    const about = { tabindex: 0, role: "region", "aria-label": "The plot as a table" };
    return make("div", { class: "nl-scroll", ...about }, made);
  }

  function download(name, columns, rows) {
    const quoted = (value) => {
      const text = String(value ?? "");
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = [columns, ...rows].map((row) => row.map(quoted).join(","));
    const blob = new Blob([`${lines.join("\n")}\n`], { type: "text/csv" });
    const link = make("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  return { choice, table, download };
})();
