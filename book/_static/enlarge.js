/* A figure fills the screen: press its picture, or the button behind its caption. On a phone held
   upright a wide picture is turned, so that its letters are twice as large. */
"use strict";

(() => {
  const WIDE = 1.15; // pictures wider than this for their height are turned
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
    const upright = innerHeight > innerWidth;
    const wide = shown.naturalWidth > WIDE * shown.naturalHeight;
    dialog.classList.toggle("nevf-turned", upright && wide);
  }

  function open(picture, name) {
    shown.src = picture.currentSrc || picture.src;
    shown.alt = picture.alt;
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
