"""The tables of the book: nobody of the test split was tuned on, and rows are what studies say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from nevf_lite.data.splits import split
from nevf_lite.study import Study, read_rows

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "book" / "results"
STUDIES = sorted(path.stem for path in RESULTS.glob("*.yml"))
#: Studies that show what a method is worth. Every other is where something was chosen or learned.
SHOWN = {"tables", "ablations", "ablations_seed1", "ablations_seed2"}
SHOWN |= {"rerun", "paper_ablations", "classical", "networks", "curves", "on_top", "long"}
SHOWN |= {"presets_test", "network_starts", "newer_peers", "neural_ode_test"}
RECORDS = sorted((ROOT / "nevf_lite" / "networks" / "weights").glob("*.json"))

every_study = pytest.mark.parametrize("name", STUDIES)


def people(name: str) -> set[str]:
    """Everybody in the rows of a study, and in the plan of it."""
    planned = Study.from_yaml(RESULTS / f"{name}.yml").pairs
    found = {subject for pair in planned for subject in (pair.fixed, pair.moving)}
    if (RESULTS / f"{name}.csv").exists():
        rows = read_rows(RESULTS / f"{name}.csv", every=True)
        rows = rows[rows.dataset != "simulated"]
        found |= set(rows.fixed) | set(rows.moving)
    return found - {""}


@every_study
def test_what_is_shown_is_of_the_test_split_and_what_is_tuned_of_the_train_split(name):
    wanted = {"test"} if name in SHOWN else {"train"}
    assert {split(subject) for subject in people(name)} <= wanted


def test_networks_learned_from_the_train_split_alone():
    assert RECORDS
    for path in RECORDS:
        record = json.loads(path.read_text(encoding="utf-8"))
        subjects, pairs = record["subjects"], record["scores"]["pairs"]
        assert subjects and {split(subject) for subject in subjects} == {"train"}, path.name
        scored = {subject for pair in pairs for subject in (pair["fixed"], pair["moving"])}
        assert scored and {split(subject) for subject in scored} == {"train"}, path.name


@every_study
def test_every_row_is_of_a_method_that_its_study_names(name):
    if not (RESULTS / f"{name}.csv").exists():
        pytest.skip(f"{name} was planned and not run")
    methods = {m.label: m.hash for m in Study.from_yaml(RESULTS / f"{name}.yml").methods}
    rows = read_rows(RESULTS / f"{name}.csv")
    for row in rows.itertuples():
        assert methods.get(row.label) == row.config_hash, f"{row.label}: run it again"


@every_study
def test_no_row_is_without_its_provenance(name):
    if not (RESULTS / f"{name}.csv").exists():
        pytest.skip(f"{name} was planned and not run")
    rows = read_rows(RESULTS / f"{name}.csv")
    done = rows[rows.status == "done"]
    assert len(done) and done.dice.between(0, 1).all() and (done.seconds > 0).all()
    for column in ("commit", "machine", "versions", "started"):
        assert rows[column].str.len().gt(0).all(), column


def test_the_papers_figures_have_our_labels():
    import csv

    with (RESULTS / "paper.csv").open(newline="", encoding="utf-8") as lines:
        paper = list(csv.DictReader(lines))
    studies = (Study.from_yaml(RESULTS / f"{name}.yml") for name in SHOWN & set(STUDIES))
    ours = {method.label for study in studies for method in study.methods}
    shared = {row["label"] for row in paper if row["table"] in "12"}
    assert {"Affine", "NeVF", "VoxelMorph", "SYMNet", "VoxelMorph + TTR"} <= shared & ours


def test_the_readme_shows_the_rows():
    """Mean Dice of its presets on each data set, and the median of the seconds."""
    rows = read_rows(RESULTS / "presets.csv")
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    shown = {line.split("|")[1].split(",")[0].strip(): line for line in lines if "|" in line}
    presets = [f"features, {name}" for name in ("fast", "default", "accurate")]
    for title, dataset in (("Mindboggle", "mindboggle"), ("OASIS", "oasis")):
        of = rows[rows.dataset == dataset]
        means = [of[of.label == label].dice.mean() for label in presets]
        found = [float(cell.strip(" *")) for cell in shown[title].split("|")[2:-1]]
        assert found == pytest.approx([of.dice_before.mean(), *means], abs=6e-4)
    seconds = [rows[rows.label == label].cpu_seconds.median() for label in presets]
    found = [float(cell) for cell in shown["processor seconds"].split("|")[3:-1]]
    assert found == pytest.approx(seconds, abs=0.6)


def test_what_the_readme_says_of_greedy():
    """Ahead of `fast` and behind `default` on each pair of the test split with a row of each."""
    rows = pd.concat(read_rows(RESULTS / f"{name}.csv") for name in ("presets_test", "classical"))
    pairs = rows.pivot_table("dice", ["dataset", "fixed", "moving"], "label")
    both = pairs[["greedy", "features, fast", "features, default"]].dropna()
    assert (both["greedy"] > both["features, fast"]).all()
    assert (both["greedy"] < both["features, default"]).all()
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    every = f"{len(both)} of {len(both)}"
    assert f"ahead of `fast` on {every} pairs, and behind `default` on {every};" in text
