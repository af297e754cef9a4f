// Chapter "Reading a result": which of these results is wrong? The reader judges a card, then it
// turns over. The cards are in the page already, each with its answer in a fold: nevf_lite.viz.quiz.
"use strict";

(() => {
  const { make, button } = window.nevfLive;

  for (const host of document.querySelectorAll('[data-live="quiz"]')) {
    const cards = [...host.querySelectorAll(".nl-card")];
    const score = make("p", { class: "nl-words nl-score", role: "status" });
    const judged = new Map(); // card -> whether the verdict was right

    const tell = () => {
      const right = [...judged.values()].filter(Boolean).length;
      score.textContent = judged.size
        ? `Judged ${judged.size} of ${cards.length}, ${right} rightly.`
        : `${cards.length} results. Judge each before you turn it over.`;
      host.dataset.judged = judged.size;
      host.dataset.right = right;
    };

    for (const card of cards) {
      const sound = card.dataset.sound === "true";
      const answer = card.querySelector("details");
      const text = answer.querySelector("p");
      const front = make("div", { class: "nl-front" });
      const back = make("div", { class: "nl-back", tabindex: "-1" });
      const verdict = make("p", { class: "nl-verdict" });
      const again = make("p", { class: "nl-verdict" }); // on the front of a card that was judged
      answer.remove();
      front.append(...card.childNodes);
      const turn = (over) => {
        card.classList.toggle("is-turned", over);
        front.inert = over;
        back.inert = !over;
        (over ? back : front.querySelector("button")).focus({ preventScroll: true });
      };
      const judge = (trusted) => () => {
        const right = trusted === sound;
        judged.set(card, right);
        card.dataset.judged = right ? "right" : "wrong";
        verdict.textContent = `${right ? "Right" : "Not so"}: this one ${sound ? "is sound" : "is wrong"}.`;
        again.textContent = `Judged ${right ? "rightly" : "wrongly: look again"}.`;
        front.append(again);
        tell();
        turn(true);
      };
      const name = `Result ${card.dataset.letter}`;
      const trust = button("I trust it", judge(true));
      const doubt = button("It is wrong", judge(false));
      trust.setAttribute("aria-label", `${name}: I trust it`);
      doubt.setAttribute("aria-label", `${name}: it is wrong`);
      front.append(make("div", { class: "nl-judge" }, trust, doubt));
      const heading = make("p", {}, make("strong", {}, name));
      back.append(
        heading,
        verdict,
        text,
        button("Turn back", () => turn(false)),
      );
      back.inert = true;
      const sheet = make("div", { class: "nl-sheet" }, front, back);
      card.append(sheet);
    }
    host.prepend(score);
    host.classList.add("is-ready");
    tell();
  }
})();
