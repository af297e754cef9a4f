/* A figure fills the screen: press its picture, or the button behind its caption. On a phone held
   upright a picture that gains much by it is turned, and any other scrolls, twice as wide as the
   screen. Where the page shows a chart's narrow drawing, the wide one opens: it has more room. */
"use strict";

(() => {
  const GAIN = 1.4; // a picture that would not grow by so much is not turned
  const WHOLE = 1.2; // nor a chart: as a whole it says more than a half of it in larger letters
  const PICTURES = ".bd-article figure img";

  const dialog = document.createElement("dialog");
  dialog.className = "nevf-large";
  const shown = document.createElement("img");
  const close = document.createElement("button");
  close.type = "button";
  close.className = "nevf-button";
  close.textContent = "Close";
  dialog.append(shown, close);

  function turn() {
    const [width, height] = [shown.naturalWidth, shown.naturalHeight];
    const upright = Math.min(innerWidth / width, innerHeight / height);
    const turned = Math.min(innerHeight / width, innerWidth / height);
    const phone = innerWidth < 577;
    const gain = dialog.classList.contains("nevf-wide") ? WHOLE : GAIN;
    dialog.classList.toggle("nevf-turned", phone && turned > gain * upright);
    dialog.classList.toggle("nevf-scrolled", phone && turned <= gain * upright);
  }

  function open(picture, name) {
    shown.src = picture.src;
    shown.alt = picture.alt;
    const narrow = picture.currentSrc && picture.currentSrc !== picture.src;
    dialog.classList.toggle("nevf-wide", Boolean(narrow));
    dialog.classList.toggle("nevf-ink", shown.src.endsWith(".svg"));
    dialog.setAttribute("aria-label", name);
    if (!dialog.isConnected) document.body.append(dialog);
    dialog.showModal();
    turn();
  }

  function offer(picture) {
    const caption = picture.closest("figure").querySelector("figcaption");
    if (!caption || picture.closest("a")) return;
    const number = caption.querySelector(".caption-number");
    const name = `Enlarge ${number ? number.textContent.trim() : "the picture"}`;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "nevf-enlarge";
    button.textContent = "Enlarge";
    button.setAttribute("aria-label", name);
    (caption.querySelector("p") || caption).append(" ", button);
    picture.classList.add("nevf-can-grow");
    for (const pressed of [button, picture]) {
      pressed.addEventListener("click", () => open(picture, name));
    }
  }

  dialog.addEventListener("click", () => dialog.close());
  shown.addEventListener("load", turn);
  window.addEventListener("resize", turn);
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(PICTURES).forEach(offer);
  });
})();
