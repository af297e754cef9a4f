/* Paper is white: a page that is read in the dark is printed as a light one, its figures too. */
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
})();
