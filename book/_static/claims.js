// Page "The claims of the paper": the key of the verdicts chooses which claims are shown. Without this
// script, and on paper, all are.
"use strict";

(() => {
  const key = document.querySelector(".nevf-strip-key");
  const claims = [...document.querySelectorAll(".nevf-claims tbody tr")];
  if (!key || !claims.length) return;
  const verdict = (claim) => claim.querySelector(".nevf-verdict").textContent.trim();
  const told = document.createElement("p");
  told.className = "nevf-strip-key nevf-counted";
  told.role = "status";
  let chosen = "";

  function show(name) {
    chosen = name;
    let shown = 0;
    for (const claim of claims) {
      const on = !chosen || verdict(claim) === chosen;
      claim.classList.toggle("nevf-off", !on);
      shown += on;
    }
    for (const part of document.querySelectorAll("section:has(> .nevf-claims)"))
      part.classList.toggle("nevf-off", !part.querySelector("tbody tr:not(.nevf-off)"));
    for (const button of buttons) button.ariaPressed = String(button.value === chosen);
    told.textContent = chosen
      ? `${shown} of ${claims.length} claims are shown: ${chosen}.`
      : "Press a verdict to see its claims alone.";
  }

  const buttons = [...key.children].map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "nevf-choice";
    button.value = item.textContent.slice(item.firstChild.textContent.length).trim();
    button.append(...item.childNodes);
    button.addEventListener("click", () => show(chosen === button.value ? "" : button.value));
    item.replaceWith(button);
    return button;
  });
  key.after(told);
  document.querySelector(".nevf-strip").addEventListener("click", () => show("")); // a claim is asked for
  show("");
})();
