"""The ledger: which rows may enter it, which are compared, and when a claim holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import made_row

from nevf_lite.data.splits import split
from nevf_lite.data.splits import test_pairs as nine_pairs
from nevf_lite.study import Study
from nevf_lite.study.claims import (
    Claim,
    Side,
    admitted,
    at_spacing,
    of_test_split,
    published,
    read_claims,
)
from nevf_lite.study.verdicts import (
    FAILS,
    HOLDS,
    IN_PART,
    OPEN,
    UNTESTED,
    VERDICTS,
    WAITING,
    Entry,
    Finding,
    count,
    find,
    ledger,
    outcome,
    verdict,
)

BOOK = Path(__file__).parents[2] / "book"
PAPER = pd.DataFrame(
    [("A", "mindboggle", 0.60, 0.02, 3.0), ("B", "mindboggle", 0.55, 0.02, 8.0)],
    columns=["label", "dataset", "dice", "dice_sd", "minutes"],
)
CLAIM = Claim("c", "part", "Table 1", "A is better.", compare=[["A", "B"]], datasets=["mindboggle"])


def rows_of(label: str, dice, dataset: str = "mindboggle", **more) -> list[dict]:
    """A row for each Dice, on the first of the nine pairs."""
    pairs = zip(nine_pairs(dataset), dice, strict=False)
    common = {"dataset": dataset, "study": "tables", "spacing_mm": 1.0, **more}
    return [made_row(0, label, d, fixed=f, moving=m) | common for (f, m), d in pairs]


def judge(*tables, claim=CLAIM) -> tuple[str, list[Finding]]:
    """The verdict on a claim from some rows, and its findings."""
    found = find(claim, {}, PAPER, pd.DataFrame([row for table in tables for row in table]))
    return verdict(claim, found), found


def test_rows_of_other_people_stay_out():
    """Trained or tuned on, people of both data sets at once, atlas and scan exchanged."""
    good = rows_of("A", [0.5])
    others = [
        good[0] | {"fixed": "trt02", "moving": "trt01"},
        good[0] | {"dataset": "oasis", "fixed": "1008", "moving": "1011"},
        good[0] | {"fixed": good[0]["moving"], "moving": good[0]["fixed"]},
        good[0] | {"dataset": "simulated", "fixed": "s0", "moving": "s0"},
    ]
    assert of_test_split(pd.DataFrame([*others, *good])).index.tolist() == [len(others)]


def test_the_rows_that_decide_are_of_twelve_people_who_were_never_tuned_on():
    rows = admitted(published(BOOK / "results"), CLAIM)
    assert len(rows) and (rows.status == "done").all()
    assert {split(person) for person in {*rows.fixed, *rows.moving}} == {"test"}
    people = {name: {*of.fixed, *of.moving} for name, of in rows.groupby("dataset")}
    assert not {f"10{int(p[3:]) - 1:02d}" for p in people["mindboggle"]} & people["oasis"]


def test_a_label_is_one_configuration():
    """Rows are found by their label, so another option or another grid needs another label."""
    rows = at_spacing(admitted(published(BOOK / "results"), CLAIM))
    hashes = rows.groupby(["label", "dataset"]).config_hash.nunique()
    assert (hashes == 1).all(), hashes[hashes > 1]


def test_a_difference_holds_where_its_interval_is_above_zero():
    ahead, behind = [0.60, 0.61, 0.62, 0.60, 0.61, 0.62], [0.5] * 6
    assert judge(rows_of("A", ahead), rows_of("B", behind))[0] == HOLDS
    assert judge(rows_of("A", behind), rows_of("B", ahead))[0] == FAILS
    mixed = [0.50, 0.61, 0.40, 0.60, 0.41, 0.52]  # ahead by 0.007 on average
    assert judge(rows_of("A", mixed), rows_of("B", behind))[0] == OPEN
    assert judge(rows_of("A", behind), rows_of("B", mixed))[0] == OPEN  # one rule for both sides


def test_few_pairs_decide_nothing():
    """Below three nothing is said; below six a claim holds in part at most, or is open."""
    ahead, behind = [0.6, 0.61, 0.62, 0.63, 0.64], [0.5] * 5
    assert judge(rows_of("A", ahead), rows_of("B", behind))[0] == IN_PART
    assert judge(rows_of("A", behind), rows_of("B", ahead))[0] == OPEN
    assert judge(rows_of("A", ahead), rows_of("B", behind[:2]))[0] == WAITING
    assert judge(rows_of("A", ahead))[0] == WAITING


def test_a_data_set_without_rows_caps_the_verdict():
    """Both are claimed: one alone can neither confirm nor refute."""
    both = replace(CLAIM, datasets=("mindboggle", "oasis"))
    ahead, behind = rows_of("A", [0.6] * 9), rows_of("B", [0.5] * 9)
    assert judge(ahead, behind, claim=both)[0] == IN_PART
    assert judge(rows_of("A", [0.4] * 9), behind, claim=both)[0] == OPEN
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
    waiting = replace(CLAIM, compare=(("A", "D"), ("B", "A")))
    assert judge(*rows, claim=waiting)[0] == FAILS  # whatever D will be


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


def test_rows_on_a_coarser_grid_do_not_count():
    """The paper compares at 1 mm; a method at 2 mm beside it is another comparison."""
    ahead, coarse = rows_of("A", [0.6] * 6), rows_of("B", [0.5] * 6, spacing_mm=2.0)
    assert judge(ahead, coarse)[0] == WAITING
    result, (found,) = judge(ahead, coarse, rows_of("B", [0.65] * 6, spacing_mm=np.nan))
    assert result == FAILS and found.value == pytest.approx(-0.05)


def test_seconds_are_a_ratio_and_say_on_which_processors():
    sooner = replace(CLAIM, kind="ratio", measure="cpu_seconds", wanted="less")
    quick = rows_of("A", [0.6] * 6, cpu_seconds=10.0, machine="one, 2 cores")
    slow = rows_of("B", [0.5] * 6, cpu_seconds=40.0, machine="other, 2 cores")
    result, (found,) = judge(quick, slow, claim=sooner)
    assert result == HOLDS and found.value == pytest.approx(0.25)
    assert found.printed == pytest.approx(3 / 8) and found.machines == {"one", "other"}


def test_seeds_of_a_pair_count_as_their_mean():
    first, second = rows_of("A", [0.5] * 3), rows_of("A", [0.7] * 3, seed=1)
    _, (found,) = judge(first, second, rows_of("B", [0.5] * 3))
    assert found.pairs == 3 and found.value == pytest.approx(0.1)


def test_what_does_not_depend_on_people_is_read_from_its_study():
    """Memory: one pair, of whomever, is enough to say something, and not for an interval."""
    memory = replace(CLAIM, kind="ratio", measure="peak_mib", study="memory", printed={})
    anyone = {"fixed": "trt02", "moving": "trt01", "study": "memory"}
    rows = [rows_of(x, [0.3], peak_mib=m)[0] | anyone for x, m in (("A", 30.0), ("B", 20.0))]
    result, (found,) = judge(rows, claim=memory)
    assert result == IN_PART and found.value == 1.5 and np.isnan(found.low)
    assert judge(rows, claim=replace(memory, study=""))[0] == WAITING


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """The ledger of the book: thousands of bootstrap means, drawn once."""
    return ledger(BOOK)


def test_holm_corrects_within_a_part(entries):
    """A part of the claims is one table of the page."""
    for part in {entry.claim.part for entry in entries}:
        findings = [f for e in entries if e.claim.part == part for f in e.findings]
        p = [f.p for f in findings if np.isfinite(f.p)]
        if p:
            corrected = min(f.p_holm for f in findings if np.isfinite(f.p))
            assert corrected == pytest.approx(min(1, len(p) * min(p)))


@pytest.mark.parametrize("value, expected", [(0.615, HOLDS), (0.57, IN_PART), (0.55, FAILS)])
def test_a_level_is_judged_by_the_papers_own_spread(value, expected):
    """0.60 with a standard deviation of 0.02."""
    level = replace(CLAIM, kind="level", compare=(("A",),))
    assert judge(rows_of("A", [value] * 6), claim=level)[0] == expected


@pytest.mark.parametrize(
    "wanted, folds, expected", [("less", 0.001, HOLDS), ("more", 0.001, FAILS)]
)
def test_a_limit_is_of_the_whole_interval(wanted, folds, expected):
    limit = replace(
        CLAIM, kind="limit", measure="folds_percent", wanted=wanted, limit=0.01, compare=(("A",),)
    )
    assert judge(rows_of("A", [0.5] * 6, folds_percent=folds), claim=limit)[0] == expected
    near = Finding("mindboggle", ("A",), 0.01, pairs=6, value=0.009, low=0.007, high=0.012)
    assert outcome(replace(limit, wanted="less"), near) == OPEN
    assert outcome(replace(limit, wanted="more"), near) == OPEN


def test_a_bad_claim_is_refused():
    with pytest.raises(ValueError, match="c.kind: wanted one of"):
        replace(CLAIM, kind="feeling")
    with pytest.raises(ValueError, match="c.compare: wanted lists of 1 names"):
        replace(CLAIM, kind="level")
    with pytest.raises(ValueError, match="c.compare: wanted methods, or a reason"):
        replace(CLAIM, compare=())


def test_the_books_claims_are_about_thirty_and_each_has_a_verdict(entries):
    assert 30 <= len(entries) <= 45 and sum(count(entries).values()) == len(entries)
    assert len({entry.claim.name for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.verdict in VERDICTS
        assert (entry.verdict == UNTESTED) == bool(entry.claim.untested)
        fewest = 1 if entry.claim.study else 3
        assert all(f.pairs >= fewest for f in entry.findings if f.outcome != WAITING)


def test_a_hundred_iterations_of_test_time_training_would_take_longer_than_nevf():
    """What the page says of a claim that its rows cannot test: theirs have twenty."""
    rows = admitted(published(BOOK / "results"), CLAIM)
    pair = ["dataset", "fixed", "moving"]
    nevf = rows[rows.label == "NeVF"].set_index(pair).cpu_seconds
    trained = rows[rows.label.isin(["VoxelMorph + TTR", "SYMNet + TTR"])].set_index(pair)
    assert len(trained) >= 12 and (trained.iterations == 20).all()
    assert (100 * trained.seconds_per_iteration > nevf[trained.index]).all()


def test_what_the_claims_print_is_what_the_papers_tables_give():
    """The percentages of section 3.4 are of Tables 1 and 2, for the best of the others."""
    claims, _ = read_claims(BOOK / "claims.yml")
    paper = pd.read_csv(BOOK / "results" / "paper.csv")
    dice = paper.drop_duplicates(["label", "dataset"]).set_index(["label", "dataset"]).dice
    for claim in (claim for claim in claims if claim.kind == "percent"):
        for dataset, printed in claim.printed.items():
            named = [[Side.of(name, {}).method for name in names] for names in claim.compare]
            (ours,) = {ours for ours, _ in named}
            # the longest SyN is the paper's, also where its rows here are of the shortest
            others = {"SyN [160,120,80]" if "SyN" in other else other for _, other in named}
            best = max(dice[other, dataset] for other in others)
            exceeds = 100 * (dice[ours, dataset] / best - 1)
            assert exceeds == pytest.approx(printed, abs=0.11), (claim.name, dataset)


def test_every_method_of_a_claim_with_a_number_has_it_in_the_papers_table(entries):
    """A name that is not that of `paper.csv` would show no number of the paper's."""
    without = {e.claim.name for e in entries for f in e.findings if np.isnan(f.printed)}
    assert without <= {
        *("over-syn-short", "over-niftyreg-short", "sooner-voxelmorph", "sooner-symnet"),
        "overtakes-at-80",
        *("overtakes-at-120", "step-size-accuracy", "ode-accuracy", "ode-speed"),
    }


def test_every_method_of_a_claim_has_rows_or_a_plan():
    """A label that no study has or plans is a misspelling."""
    claims, labels = read_claims(BOOK / "claims.yml")
    results = BOOK / "results"
    known = {m.label for path in results.glob("*.yml") for m in Study.from_yaml(path).methods}
    asked = {Side.of(name, labels).label for c in claims for pair in c.compare for name in pair}
    assert asked <= known


def test_a_side_is_read_from_its_name():
    labels = {"NeVF after iterations": "watched", "A at 2 mm": "coarse"}
    assert Side.of("A", labels) == Side("A", "A")
    assert Side.of("A at 2 mm", labels) == Side("A", "coarse", 2.0)
    assert Side.of("B at 2 mm", labels) == Side("B", "B", 2.0)
    assert Side.of("NeVF after 80 iterations", labels) == Side("NeVF", "watched", 1.0, 80)
    assert Side.of("A after 80 iterations at 2 mm", labels).spacing == 2.0


def test_a_claim_at_another_spacing_takes_its_rows_alone():
    at_2 = replace(CLAIM, compare=(("A at 2 mm", "B at 2 mm"),))
    fine = rows_of("A", [0.4] * 6), rows_of("B", [0.5] * 6)
    coarse = [rows_of(name, [dice] * 6, spacing_mm=2.0) for name, dice in (("A", 0.6), ("B", 0.5))]
    assert judge(*fine, *coarse, claim=at_2)[0] == HOLDS
    assert judge(*fine, *coarse)[0] == FAILS
    assert judge(*fine, claim=at_2)[0] == WAITING


def test_a_claim_on_the_way_takes_the_dice_of_its_trajectory():
    """20 iterations apart: the third entry is that after 40, the first that of the start."""
    points = "[[0,0.3],[1,0.4],[2,0.6],[3,0.2]]"
    watched = {"options": '{"trajectory":20}', "trajectory": points, "iterations": 60}
    ours, others = rows_of("A", [0.2] * 6, **watched), rows_of("B", [0.5] * 6)
    on_the_way = replace(CLAIM, compare=(("A after 40 iterations", "B"),))
    verdict, (finding,) = judge(ours, others, claim=on_the_way)
    assert verdict == HOLDS and finding.value == pytest.approx(0.1)
    assert np.isnan(finding.printed)
    assert judge(ours, others)[0] == FAILS
    with pytest.raises(ValueError, match="A: its trajectory has no 50 iterations"):
        judge(ours, others, claim=replace(CLAIM, compare=(("A after 50 iterations", "B"),)))
