"""The page of claims: the key shows those of one verdict alone, and hides nothing for good."""

from __future__ import annotations

SHOWN = ".nevf-claims tbody tr:not(.nevf-off)"


def test_a_verdict_is_pressed_and_let_go_by_the_keyboard(visit, site):
    with visit(f"{site}/book/claims.html") as seen:
        page = seen.page
        every = page.locator(SHOWN).count()
        choice = page.locator(".nevf-choice", has_text="does not hold")
        choice.focus()
        page.keyboard.press("Enter")
        assert choice.get_attribute("aria-pressed") == "true"
        marks = page.locator(f"{SHOWN} .nevf-verdict").all_inner_texts()
        assert 0 < len(marks) < every and set(marks) == {"does not hold"}
        assert f"{len(marks)} of {every}" in page.locator(".nevf-counted").inner_text()
        assert not page.locator("section.nevf-off:visible").count()
        page.keyboard.press("Enter")
        assert page.locator(SHOWN).count() == every
        choice.click()
        page.locator("a.nevf-holds").first.click()  # a claim that was not shown
        assert page.locator(SHOWN).count() == every


def test_paper_shows_every_claim(visit, site):
    with visit(f"{site}/book/claims.html") as seen:
        seen.page.locator(".nevf-choice").first.click()
        seen.page.emulate_media(media="print")
        hidden = "() => [...document.querySelectorAll('.nevf-off')].filter((e) => !e.offsetHeight)"
        assert seen.page.evaluate(f"({hidden})().length") == 0
