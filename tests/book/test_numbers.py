"""Pages cannot go stale: results come from rows, and a page says of which rows.

Chapters that run have their own rules; these are the pages of `book/` that do not run.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
pytest.importorskip("sphinx")
sys.path.insert(0, str(BOOK / "_ext"))
import nevf_claims  # noqa: E402
import nevf_rows  # noqa: E402

from nevf_lite.study.verdicts import VERDICTS  # noqa: E402

PAGES = sorted(BOOK.glob("*.md"))
#: Directives whose text is prose.
OPEN = re.compile(r"^```\{(?:dropdown|glossary)\}[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: What is no prose: front matter, formulas, listings and generated parts, roles and code, targets
#: of links. A number in a role is from rows, or marked as one that no row can change.
NOT_PROSE = re.compile(
    r"\A---\n.*?\n---\n|^\$\$.*?^\$\$|^```.*?^```|\$[^$\n]+\$|`[^`\n]*`|\]\([^)\n]*\)",
    re.DOTALL | re.MULTILINE,
)
#: A result looks like one: two decimals or more, a percentage, seconds, memory.
RESULT = re.compile(
    r"\b\d+\.\d{2,}\b|\b\d+(?:\.\d+)? ?%"
    r"|\b\d+(?:\.\d+)? (?:s|ms|seconds|minutes|hours|MiB|GiB|MB|GB|KB)\b"
)


def results(page: str) -> list[str]:
    """Numbers in the prose of a page that look like results of its own."""
    return RESULT.findall(NOT_PROSE.sub("", OPEN.sub(r"\1", page)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_result_is_typed_into_a_page(page):
    """Use {row}`study; label; dataset; column; .3f`, or {fixed}`...` where no row can change it."""
    assert not results(page.read_text(encoding="utf-8"))


def test_a_typed_result_is_found():
    """In a sentence, in a table and in a dropdown; not in code, formulas, links or roles."""
    page = (
        "---\nx: 0.123\n---\nDice is 0.654 in 43 s, with 0.05 % folds.\n\n| a | 0.5765 |\n\n"
        "```{dropdown} Answer\nIt takes 12 minutes and 20.56 KB.\n```\n"
        "```\nspacing: 0.125\n```\n$0.156$, [x](a/0.25), `0.75`, {row}`a; b; c; dice; .3f`, "
        "{fixed}`0.01`, lambda 0.1, 128 units, L = 3.\n\n$$\n0.99\n$$\n"
    )
    found = ["0.654", "43 s", "0.05", "0.5765", "12 minutes", "20.56"]
    assert results(page) == found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_with_rows_says_which(page):
    """Commit and date of every study whose numbers it shows."""
    text = page.read_text(encoding="utf-8")
    shown = set(re.findall(r"\{row\}`(\w+);", text))
    told = re.findall(r"^```\{nevf-provenance\} ?(.*)$", text, re.MULTILINE)
    assert shown == {study for line in told for study in line.split()}
    assert bool(told) == bool(shown or "{nevf-claims}" in text)


def test_the_page_of_claims_has_every_claim_once():
    text = (BOOK / "claims.md").read_text(encoding="utf-8")
    parts = re.findall(r"^```\{nevf-claims\} (.*)$", text, re.MULTILINE)
    assert parts == list(dict.fromkeys(entry.claim.part for entry in nevf_claims.entries()))
    for part in parts:
        assert f"\n## {part}\n" in text
    lines = [line for part in parts for line in nevf_claims.claims_table(part).split("\n")[2:]]
    assert len(lines) == len(nevf_claims.entries())
    for line, entry in zip(lines, nevf_claims.entries(), strict=True):
        assert line.count(" | ") == 2, line
        assert entry.claim.where in line
        assert f">{entry.verdict}</span><br>{entry.claim.says}" in line


def test_a_claim_shows_both_numbers_the_interval_and_the_pairs():
    """NeVF beside the networks, of which there are rows: the cell is made of the finding."""
    (entry,) = (e for e in nevf_claims.entries() if e.claim.name == "over-symnet")
    found = entry.findings[0]
    line = next(
        x for x in nevf_claims.claims_table(entry.claim.part).split("\n") if "SYMNet. " in x
    )
    assert f"{found.pairs}{nevf_claims.HOLD}pairs" in line  # no line ends between the two
    line = line.replace(nevf_claims.HOLD, " ")
    assert f"Mindboggle {found.printed:+.3f}" in line
    assert f"Mindboggle {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" in line


def test_the_strip_has_a_named_square_for_every_claim_and_leads_to_its_row():
    square = r'href="#claim-([\w-]+)" title="[^"]*" aria-label="([^"]*)"'
    found = re.findall(square, nevf_claims.strip())
    claims = [entry.claim for entry in nevf_claims.entries()]
    assert [name for name, _ in found] == [claim.name for claim in claims]
    tables = "".join(nevf_claims.claims_table(part) for part in {c.part for c in claims})
    for (name, told), entry in zip(found, nevf_claims.entries(), strict=True):
        assert html.unescape(told) == f"{entry.verdict}: {entry.claim.says}"
        assert tables.count(f'id="claim-{name}"') == 1


def test_a_drawing_has_its_dot_on_the_side_of_the_number():
    """Protects who only looks: the dot is right of the upright line where the number is larger."""
    table = nevf_claims.claims_table("On top of a network")
    drawn = r' ([−+])[\d.]+ \[.*?<circle cx="(\d+)".*?<path d="M(\d+) 0v14'
    found = re.findall(drawn, table)
    assert len(found) > 3
    for sign, dot, line in found:
        off = int(dot) - int(line)  # 0 where the number is next to nothing
        assert off >= 0 if sign == "+" else off <= 0
    assert any(dot != line for _, dot, line in found)


def test_a_level_shows_the_spread_that_judges_it():
    """Without it "holds" beside a number that is far off looks like a blunder."""
    levels = [entry for entry in nevf_claims.entries() if entry.claim.kind == "level"]
    assert levels
    for entry in levels:
        shown = nevf_claims.claims_table(entry.claim.part).replace(nevf_claims.HOLD, " ")
        for found in entry.findings:
            assert f"{found.printed:.3f} ± {found.sd:.3f}" in shown


def test_the_headline_counts_every_claim():
    counted = [int(n) for n in re.findall(r"\d+", nevf_claims.headline())]
    assert counted[0] == sum(counted[1:]) == len(nevf_claims.entries())
    assert len(counted) == 1 + len(VERDICTS)


def test_a_number_is_that_of_its_rows():
    from nevf_lite.study import read_rows

    rows = read_rows(BOOK / "results" / "presets_test.csv")
    rows = rows[(rows.label == "features, default") & (rows.dataset == "mindboggle")]
    said = nevf_rows.number("presets_test; features, default; mindboggle; dice; .4f")
    assert said == f"{rows.dice.mean():.4f}" and len(rows) >= 3
    said = nevf_rows.number("presets_test; features, default; mindboggle; cpu_seconds; .1f")
    assert said == f"{rows.cpu_seconds.median():.1f}"
    with pytest.raises(ValueError, match="presets_test.csv has no row of 'NeVF'"):
        nevf_rows.number("presets_test; NeVF; mindboggle; dice; .3f")


def test_provenance_names_commits_and_dates():
    text = nevf_rows.provenance("rerun")
    assert re.fullmatch(r"Rows: `rerun`, \d+ rows of 20\d\d-.*, commits `[0-9a-f]{7}`.*\.", text)
    # of all studies those whose rows decide a claim: nothing was judged on the pairs of the search
    decide = nevf_rows.provenance()
    assert "`rerun`" in decide and "`memory`" in decide and "tuning" not in decide


def test_what_has_been_run_is_every_study_with_rows():
    table = nevf_rows.rows_table()
    for path in (BOOK / "results").glob("*.yml"):
        assert (f"| `{path.stem}` |" in table) == path.with_suffix(".csv").exists()
