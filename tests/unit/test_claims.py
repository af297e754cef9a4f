"""The ledger: which rows may enter it, which are compared, and when a claim holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import made_row

from nevf_lite.data.splits import split
from nevf_lite.data.splits import test_pairs as nine_pairs
from nevf_lite.study.claims import Claim, Name, admitted, evidence, published, read_claims
from nevf_lite.study.verdicts import (
    FAILS,
    HOLDS,
    IN_PART,
    UNTESTED,
    VERDICTS,
    WAITING,
    Finding,
    count,
    find,
    ledger,
    outcome,
    verdict,
)

BOOK = Path(__file__).parents[2] / "book"
NAMES = {name: Name((name,), name) for name in ("A", "B", "C")}
PAPER = pd.DataFrame(
    [("A", "mindboggle", 0.60, 0.02, 3.0), ("B", "mindboggle", 0.55, 0.02, 8.0)],
    columns=["label", "dataset", "dice", "dice_sd", "minutes"],
)
CLAIM = Claim("c", "part", "Table 1", "A is better.", compare=[["A", "B"]], datasets=["mindboggle"])


def rows_of(label: str, dice, dataset: str = "mindboggle", **more) -> list[dict]:
    """A row for each Dice, on the first of the nine pairs."""
    pairs = zip(nine_pairs(dataset), dice, strict=False)
    common = {
        "dataset": dataset,
        "method": "syn",
        "options": "{}",
        "spacing_mm": 1.0,
        "trajectory": "",
        **more,
    }
    return [made_row(0, label, d, fixed=f, moving=m) | common for (f, m), d in pairs]


def judge(*tables, claim=CLAIM) -> tuple[str, list[Finding]]:
    """The verdict on a claim from some rows, and its findings."""
    found = find(claim, NAMES, PAPER, pd.DataFrame([row for table in tables for row in table]))
    return verdict(claim, found), found


def test_rows_of_other_people_stay_out():
    """Trained or tuned on, people of both data sets at once, wrong order, failed: none enters."""
    good = rows_of("A", [0.5])
    others = [
        good[0] | {"fixed": "trt02", "moving": "trt01"},
        good[0] | {"dataset": "oasis", "fixed": "1008", "moving": "1011"},
        good[0] | {"fixed": good[0]["moving"], "moving": good[0]["fixed"]},
        good[0] | {"dataset": "simulated", "fixed": "s0", "moving": "s0"},
        good[0] | {"status": "failed"},
    ]
    assert admitted(pd.DataFrame([*others, *good])).index.tolist() == [len(others)]


def test_the_published_rows_are_of_twelve_people_who_were_never_tuned_on():
    rows = published(BOOK / "results")
    assert len(rows) and (rows.status == "done").all()
    assert {split(person) for person in {*rows.fixed, *rows.moving}} == {"test"}
    people = {name: {*of.fixed, *of.moving} for name, of in rows.groupby("dataset")}
    assert not {f"10{int(p[3:]) - 1:02d}" for p in people["mindboggle"]} & people["oasis"]


def test_a_difference_holds_where_its_interval_is_above_zero():
    ahead, behind = [0.60, 0.61, 0.62, 0.60, 0.61, 0.62], [0.5] * 6
    assert judge(rows_of("A", ahead), rows_of("B", behind))[0] == HOLDS
    assert judge(rows_of("A", behind), rows_of("B", ahead))[0] == FAILS
    mixed = [0.50, 0.61, 0.40, 0.60, 0.41, 0.52]  # ahead by 0.007 on average
    assert judge(rows_of("A", mixed), rows_of("B", behind))[0] == IN_PART


def test_few_pairs_cannot_make_a_claim_hold():
    """Below three nothing is said, below six a claim holds in part at most."""
    ahead, behind = [0.6, 0.61, 0.62, 0.63, 0.64], [0.5] * 5
    assert judge(rows_of("A", ahead), rows_of("B", behind))[0] == IN_PART
    assert judge(rows_of("A", ahead), rows_of("B", behind[:2]))[0] == WAITING
    assert judge(rows_of("A", ahead))[0] == WAITING


def test_a_data_set_without_rows_caps_the_verdict():
    """Both are claimed: one alone can refute, and cannot confirm."""
    both = replace(CLAIM, datasets=("mindboggle", "oasis"))
    ahead, behind = rows_of("A", [0.6] * 9), rows_of("B", [0.5] * 9)
    assert judge(ahead, behind, claim=both)[0] == IN_PART
    assert judge(rows_of("A", [0.4] * 9), behind, claim=both)[0] == FAILS
    oasis = [*rows_of("A", [0.6] * 9, "oasis"), *rows_of("B", [0.5] * 9, "oasis")]
    assert judge(ahead, behind, oasis, claim=both)[0] == HOLDS
    turned = [*rows_of("A", [0.4] * 9, "oasis"), *rows_of("B", [0.5] * 9, "oasis")]
    assert judge(ahead, behind, turned, claim=both)[0] == IN_PART


def test_all_comparisons_of_a_claim_have_to_hold():
    best = replace(CLAIM, compare=(("A", "B"), ("A", "C")))
    rows = rows_of("A", [0.6] * 6), rows_of("B", [0.5] * 6)
    assert judge(*rows, claim=best)[0] == IN_PART  # C is missing
    assert judge(*rows, rows_of("C", [0.7] * 6), claim=best)[0] == FAILS
    assert judge(*rows, rows_of("C", [0.4] * 6), claim=best)[0] == HOLDS


def test_a_claim_of_size_has_to_reach_the_papers_number():
    """The paper's A is 0.05 ahead of its B, or 9.1 %; an advantage of 0.01 is one in part."""
    sized = replace(CLAIM, size=True)
    behind = rows_of("B", [0.5] * 6)
    assert judge(rows_of("A", [0.51] * 6), behind, claim=sized)[0] == IN_PART
    result, (found,) = judge(rows_of("A", [0.55] * 6), behind, claim=sized)
    assert result == HOLDS and found.printed == pytest.approx(0.05)
    percent = replace(sized, kind="percent")
    result, (found,) = judge(rows_of("A", [0.55] * 6), behind, claim=percent)
    assert result == HOLDS and found.value == pytest.approx(10)
    assert found.printed == pytest.approx(100 * (0.60 / 0.55 - 1))


def test_a_finer_grid_is_said_and_cannot_make_a_claim_hold():
    """1 mm beside 2 mm is no equal comparison; rows on one grid are taken where there are any."""
    ahead, coarse = rows_of("A", [0.6] * 6), rows_of("B", [0.5] * 6, spacing_mm=2.0)
    result, (found,) = judge(ahead, coarse)
    assert result == IN_PART and found.spacings == (1.0, 2.0)
    result, (found,) = judge(ahead, coarse, rows_of("B at 1 mm", [0.65] * 6))
    assert result == FAILS and found.spacings == (1.0, 1.0)
    ours_coarser = rows_of("A", [0.6] * 6, spacing_mm=2.0)
    assert judge(ours_coarser, rows_of("B", [0.5] * 6))[0] == WAITING


def test_seconds_on_a_finer_grid_count_where_they_are_fewer_all_the_same():
    sooner = replace(CLAIM, kind="ratio", measure="cpu_seconds", wanted="less")
    quick = rows_of("A", [0.6] * 6, cpu_seconds=10.0)
    slow = rows_of("B", [0.5] * 6, spacing_mm=2.0, cpu_seconds=40.0)
    result, (found,) = judge(quick, slow, claim=sooner)
    assert result == HOLDS and found.value == pytest.approx(0.25)
    assert found.printed == pytest.approx(3 / 8)
    assert judge(rows_of("A", [0.6] * 6, cpu_seconds=80.0), slow, claim=sooner)[0] == WAITING


def test_seeds_are_one_configuration_and_others_are_not():
    """The Dice of a pair is the mean over its seeds; another option is another method."""
    first, second = rows_of("A", [0.5] * 3), rows_of("A, seed 1", [0.7] * 3, seed=1)
    other = rows_of("A", [0.9] * 2, options='{"width":64}')
    made = evidence(pd.DataFrame(first + second + other), "mindboggle", ["A"], "dice", None)
    assert [(len(e.values), e.seeds) for e in made] == [(3, 2), (2, 1)]
    assert made[0].values.tolist() == pytest.approx([0.6] * 3)


def test_the_dice_on_the_way_is_read_where_it_was_recorded():
    """A trajectory holds the start, a point every 20 iterations, and the end."""
    course = json.dumps([[0, 0.3], [1, 0.4], [2, 0.5], [3, 0.55], [3, 0.56]])
    rows = rows_of("A", [0.56] * 3, options='{"trajectory":20}', trajectory=course)
    rows = pd.DataFrame(rows + rows_of("A", [0.56] * 6))
    made = {at: evidence(rows, "mindboggle", ["A"], "dice", at) for at in (40, 60, 30, 80)}
    assert made[40][0].values.tolist() == [0.5] * 3 and made[60][0].values.tolist() == [0.55] * 3
    assert made[30] == made[80] == []
    (whole,) = evidence(rows, "mindboggle", ["A"], "dice", None)
    assert len(whole.values) == 6  # with and without a trajectory: the same configuration


@pytest.mark.parametrize(
    "value, spacing, expected",
    [(0.615, 1, HOLDS), (0.57, 1, IN_PART), (0.55, 1, FAILS), (0.6, 2, IN_PART), (0.5, 2, WAITING)],
)
def test_a_level_is_judged_by_the_papers_own_spread(value, spacing, expected):
    """0.60 with a standard deviation of 0.02."""
    level = replace(CLAIM, kind="level", compare=(("A",),))
    assert (
        judge(rows_of("A", [value] * 6, spacing_mm=spacing), claim=level)[1][0].outcome == expected
    )


@pytest.mark.parametrize(
    "wanted, folds, expected", [("less", 0.001, HOLDS), ("more", 0.001, FAILS)]
)
def test_a_limit_is_of_the_whole_interval(wanted, folds, expected):
    limit = replace(
        CLAIM, kind="limit", measure="folds_percent", wanted=wanted, limit=0.01, compare=(("A",),)
    )
    assert judge(rows_of("A", [0.5] * 6, folds_percent=folds), claim=limit)[0] == expected
    near = Finding("mindboggle", ("A",), 0.01, pairs=6, value=0.009, low=0.007, high=0.012)
    assert outcome(replace(limit, wanted="less"), near) == IN_PART


def test_a_bad_claim_is_refused():
    with pytest.raises(ValueError, match="c.kind: wanted one of"):
        replace(CLAIM, kind="feeling")
    with pytest.raises(ValueError, match="c.compare: wanted lists of 1 names"):
        replace(CLAIM, kind="level")
    with pytest.raises(ValueError, match="c.compare: wanted methods, or a reason"):
        replace(CLAIM, compare=())


def test_the_books_claims_are_about_thirty_and_each_has_a_verdict():
    entries = ledger(BOOK)
    assert 30 <= len(entries) <= 45 and sum(count(entries).values()) == len(entries)
    assert len({entry.claim.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.verdict in VERDICTS
        assert (entry.verdict == UNTESTED) == bool(entry.claim.untested)
        assert all(f.pairs >= 3 for f in entry.findings if f.outcome != WAITING)


def test_what_the_claims_print_is_what_the_papers_tables_give():
    """The percentages of section 3.4 are of Tables 1 and 2, for the best of the others."""
    claims, names = read_claims(BOOK / "claims.yml")
    paper = pd.read_csv(BOOK / "results" / "paper.csv")
    dice = paper.drop_duplicates(["label", "dataset"]).set_index(["label", "dataset"]).dice
    for claim in (claim for claim in claims if claim.kind == "percent"):
        for dataset, printed in claim.printed.items():
            (ours,) = {names[name].printed for name, _ in claim.compare}
            best = max(dice[names[other].printed, dataset] for _, other in claim.compare)
            exceeds = 100 * (dice[ours, dataset] / best - 1)
            assert exceeds == pytest.approx(printed, abs=0.11), (claim.name, dataset)


def test_every_method_of_a_claim_with_a_number_has_it_in_the_papers_table():
    """A name that is not that of `paper.csv` would show no number of the paper's."""
    claims, _ = read_claims(BOOK / "claims.yml")
    without = {e.claim.name for e in ledger(BOOK) for f in e.findings if np.isnan(f.printed)}
    told = {c.name for c in claims if any(c.at) or "ode" in c.name}
    assert without <= told
