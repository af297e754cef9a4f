"""What the chapters answer under their live figures is what the figures show."""

from __future__ import annotations

from cmath import phase
from contextlib import contextmanager

import pytest
from test_live import recording

from nevf_lite.viz.live import LiveFigure

STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 32, 64]
SHIFTS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16]  # voxels of 1.5 mm
NOISES = [0, 0.02, 0.04, 0.08, 0.16]
CONTRASTS = [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
WINDOWS = [0, 3, 5, 9, 15, 31]  # 0: the squared error


@pytest.fixture
def asked(live, measured):
    """asked(name): what a figure has measured with its sliders at these places, (label, place)."""

    @contextmanager
    def opened(name: str):
        with live(name, LiveFigure(name, "What it shows.")._repr_html_()) as page:

            def read(*places: tuple[str, int]) -> dict:
                for label, place in places:
                    page.get_by_label(label, exact=True).evaluate(
                        "(slider, place) => { slider.value = place;"
                        " slider.dispatchEvent(new Event('input', { bubbles: true })); }",
                        place,
                    )
                measured(page)  # the frame before may have been under way
                return measured(page)

            yield read

    return opened


def test_03_six_to_eight_midpoint_steps_are_as_good_as_64_of_euler(asked):
    with asked("dust") as read:
        label = "Steps in one unit of time"
        found = {n: read((label, k)) for k, n in enumerate(STEPS)}
    assert found[6]["midpoint"] < found[64]["euler"] < found[3]["midpoint"]
    assert found[4]["midpoint"] > found[64]["euler"]


def test_03_dust_is_lost_where_the_arrows_turn_and_to_the_outside(live):
    """Of winds that the figure offers, and places all over them."""
    script = """() => {
      const [rows, shape] = [[], [112, 72]];
      for (let seed = 11; seed < 15; seed++) {
        const v = nevfWind.field(shape, 7, seed).map((value) => 48 * value);
        for (let i = 0; i < 54; i++) {
          const from = [14 + 10 * (i % 9), 10 + 10 * Math.floor(i / 9)];
          const paths = ["rk4", "euler"].map((rule, k) =>
            nevfWind.trail(v, shape, from, rule, k ? 3 : 256));
          rows.push([paths[0], paths[1][3]]);
        }
      }
      return rows;
    }"""
    with live("dust", LiveFigure("dust", "What it shows.")._repr_html_()) as page:
        rows = page.evaluate(script)
    off: dict[str, list[float]] = {"bent": [], "straight": []}
    outside = 0
    for path, end in rows:
        ways = [complex(*b) - complex(*a) for a, b in zip(path, path[1:], strict=False)]
        if sum(map(abs, ways)) < 6:
            continue
        turns = [_angle(a, b) for a, b in zip(ways, ways[1:], strict=False)]
        miss = complex(*end) - complex(*path[-1])
        if sum(map(abs, turns)) > 1:
            off["bent"].append(abs(miss))
            outside += _angle(ways[-1], miss) * sum(turns) < 0
        elif sum(map(abs, turns)) < 0.5:
            off["straight"].append(abs(miss))
    bent, straight = (sum(found) / len(found) for found in off.values())
    assert 3 < bent < 4.5 and 1 < straight < 2
    assert outside > 0.9 * len(off["bent"])


def _angle(first: complex, second: complex) -> float:
    """From one direction to another, in radians; 0 if one of them is none."""
    return phase(second * first.conjugate()) if first and second else 0.0


def test_03_two_squarings_for_24_voxels_and_none_helps_at_80(asked):
    with asked("squaring") as read:
        folds = {
            (longest, T): read(("Longest velocity", k), ("Squarings T", T), ("Film", 112))["folds"]
            for k, longest in ((2, 24), (5, 80))
            for T in range(8)
        }
    assert folds[24, 0] > 100 and folds[24, 1] == 1
    assert not any(folds[24, T] for T in range(2, 8))
    assert 280 < folds[80, 7] < 320 and folds[80, 5] < 1.1 * folds[80, 7]


def test_04_which_window_arrives(asked):
    with asked("window") as read:
        good = {
            (noise, 1.5 * shift): read(("Noise", n), ("Shift of the partner", s))["good"]
            for n, noise in enumerate(NOISES)
            for s, shift in enumerate(SHIFTS)
            if shift >= 8
        }
    assert good[0, 15] == [3, 5, 9, 15, 31]
    assert good[0, 18] == [3, 15, 31] and good[0, 24] == [15, 31]
    assert good[0.04, 15] == [5, 9, 15, 31]
    assert good[0.04, 24] == [31]


def test_04_which_similarity_pushes_the_right_way(asked):
    with asked("force") as read:
        label = "Contrast, moving slice"
        share = {
            (window, contrast): round(100 * read(("Similarity", w), (label, k))["share"])
            for w, window in enumerate(WINDOWS)
            for k, contrast in enumerate(CONTRASTS)
            if contrast in (1, 0.4)
        }
    assert (share[0, 1], share[0, 0.4]) == (91, 65)
    assert share[9, 1] == share[9, 0.4] == 86 and share[3, 0.4] == 71


def test_05_the_frequency_folds_sooner_than_the_length(asked):
    omega, largest = "Frequency ω₀", "Largest velocity"
    with asked("siren") as read:
        slow, usual, fast = (read((omega, k), (largest, 4)) for k in (0, 4, 9))
        long = read((omega, 4), (largest, 8))
    assert (usual["omega"], fast["omega"], long["largest"]) == (10, 60, 30)
    assert [round(usual[key]) for key in ("half", "rule")] == [26, 24]
    assert [round(fast[key]) for key in ("half", "rule")] == [5, 4]
    assert round(slow["low"], 2) == 0.84 and fast["low"] < 0 < fast["folds"] < 20
    assert long["folds"] == 0 and round(long["low"], 2) == 0.31


def test_06_how_large_the_step_may_be(asked):
    with asked("sampling") as read:
        errors = {
            (omega, L): round(100 * read(("Frequency ω₀", w), ("Step L", k))["error"])
            for w, omega, k, L in (
                (2, 10, 5, 6),
                (2, 10, 6, 8),
                (6, 42, 1, 2),
                (6, 42, 2, 3),
            )
        }
    assert errors == {(10, 6): 10, (10, 8): 17, (42, 2): 13, (42, 3): 25}


def test_07_what_the_finer_level_brings():
    rows = {row[0]: row for row in recording()["rows"]}
    assert round(rows[100][1], 2) == 0.71 and round(rows[200][1], 2) == 0.87
