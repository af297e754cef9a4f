/* Paper is white: a page that is read in the dark is printed as a light one, its figures too. And its
   title, which the theme makes anew for paper, has the chapter's number, by which others call it, and
   stands at the foot of every page. */
"use strict";

(() => {
  const page = document.documentElement.dataset;
  let theme;
  addEventListener("beforeprint", () => {
    theme = page.theme;
    page.theme = "light";
  });
  addEventListener("afterprint", () => {
    page.theme = theme;
  });
  addEventListener("DOMContentLoaded", () => {
    const number = document.querySelector(".bd-article h1 .section-number");
    const title = document.querySelector("#jb-print-docs-body h1");
    if (number && title) title.prepend(number.cloneNode(true));
    if (!title) return;
    const foot = document.createElement("style");
    const words = title.textContent.replace(/#$/, "").trim();
    const named = JSON.stringify(words === "NeVF, hands on" ? words : `NeVF, hands on · ${words}`);
    foot.textContent = `@page { @bottom-left { content: ${named}; } }`;
    document.head.append(foot);
  });
})();
