"""Names in tables: "NeVF" is the paper's method, on reading too, and ours are what they are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from nevf_lite.config import PRESETS
from nevf_lite.study import METHODS, Study, read_rows
from nevf_lite.study.names import is_paper, nevf_title, true_label, true_labels

RESULTS = Path(__file__).parents[2] / "book" / "results"
LEVEL = {"iterations": 300, "step": 3, "lr": 1e-4}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"width": 128},
        {"omega": 10, "squarings": 6},
        {"scale": 1, "levels": [LEVEL | {"lr": 1e-3}]},
    ],
)
def test_what_the_paper_leaves_open_does_not_change_the_name(changed):
    """Width, omega, squarings; the unit, as long as a step is as long."""
    assert nevf_title({"preset": "paper", **changed}, None) == "NeVF"


@pytest.mark.parametrize(
    "changed",
    [
        {"levels": [LEVEL | {"step": 2}]},
        {"levels": [LEVEL | {"iterations": 150}]},
        {"levels": [LEVEL | {"lr": 1e-3}]},
        {"levels": [LEVEL | {"window": 7}]},
        {"levels": [LEVEL | {"factor": 2}, LEVEL]},
        {"order": "integrate-upsample"},
        {"field": "voxel"},
        {"integrator": "rk4"},
        {"depth": 4},
        {"smooth": 0.5},
        {"margin": 0.2},
        {"init": {"method": "symnet"}, "init_mode": "warm"},
    ],
)
def test_what_the_paper_states_does(changed):
    assert not is_paper({"preset": "paper", **changed}, None)
    assert "NeVF" not in nevf_title({"preset": "paper", **changed}, None)


def test_it_is_the_papers_at_1_mm_alone():
    assert is_paper({"preset": "paper"}, 1) and not is_paper({"preset": "paper"}, 2)


def test_every_preset_has_a_name_and_one_alone_is_the_papers():
    names = {name: nevf_title({"preset": name}, None) for name in PRESETS}
    assert names["default"] == "features, default" and names["fast"] == "features, fast"
    assert names["siren"] == "SIREN, coarse to fine"
    assert [name for name, title in names.items() if "NeVF" in title] == ["paper"]
    assert len(set(names.values())) == len(PRESETS)
    assert METHODS["nevf"].label({"preset": "fast", "omega": 15}, 1) == "features, fast omega 15"


def test_old_labels_are_read_as_what_they_were():
    network = {"init": {"method": "symnet"}}
    assert true_label("NeVF", "nevf", {}, 1) == "features, default"
    assert true_label("NeVF, fast", "nevf", {"preset": "fast"}, 1) == "features, fast"
    assert true_label("NeVF, SIREN", "nevf", {"preset": "siren"}, 2) == "SIREN, coarse to fine"
    assert true_label("SYMNet + NeVF", "nevf", network, 1) == "SYMNet + features, default"
    paper = {"preset": "paper", **network}
    assert true_label("SYMNet + NeVF", "nevf", paper, None) == "SYMNet + NeVF"
    assert true_label("ours", "nevf", {}, 1) == "ours"
    assert true_label("NeVF", "nevf", {"preset": "forgotten"}, 1) == "velocity field"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.yml")), ids=lambda path: path.stem)
def test_no_study_of_the_book_calls_another_method_nevf(path):
    for spec in Study.from_yaml(path).methods:
        assert true_label(spec.label, spec.method, spec.options, spec.spacing) == spec.label


def test_the_rows_of_the_book_are_read_under_their_names():
    rows = read_rows(RESULTS / "trajectories.csv")
    assert {"features, default", "SIREN, coarse to fine"} <= set(rows.label)
    assert not rows.label.str.contains("NeVF").any()
    assert set(read_rows(RESULTS / "rerun.csv").label) == {"NeVF"}
    assert true_labels(rows).label.tolist() == rows.label.tolist()


def test_a_method_of_the_book_has_one_name():
    """Protects the reader of two pages; the curve of several budgets keeps its own."""
    rows = pd.DataFrame(
        [
            ("greedy at 1 mm", "greedy", "{}", 1.0),
            ("greedy at 1 mm [100,100,0]", "greedy", '{"iterations":[100,100,0]}', 1.0),
            ("greedy", "greedy", "{}", 2.0),
        ],
        columns=["label", "method", "options", "spacing_mm"],
    )
    wanted = ["greedy, untuned", "greedy at 1 mm [100,100,0]", "greedy"]
    assert list(true_labels(rows)["label"]) == wanted
