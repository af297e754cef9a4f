"""Settings: what is refused before anything runs, and that a config survives a file."""

from __future__ import annotations

import json

import pytest

from nevf_lite.config import CHOICES, PRESETS, Config, Level, preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_json(name):
    """result.json must bring back the very settings that made a result."""
    config = PRESETS[name]
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert preset(name) is not None and preset(config) == config


def test_paper_preset_is_the_papers():
    """Section 3.2: L = 3, weights 100 and 0.1; 2.4: window 9; Table 1: 300 iterations."""
    paper = PRESETS["paper"]
    (level,) = paper.levels
    assert (level.step, level.window, level.iterations, level.factor) == (3, 9, 300, 1)
    assert (paper.squarings, paper.jacobian, paper.smooth) == (7, 100, 0.1)
    assert (paper.depth, paper.width, paper.omega) == (5, 512, 30)
    assert (paper.order, paper.integrator) == ("upsample-integrate", "squaring")
    assert (paper.margin, paper.decay, paper.smooth_target) == (0, 1, "displacement")
    assert paper.spacing is None and level.lr == 1e-4 and paper.similarity == "lncc"
    assert paper.patience >= level.iterations  # the paper stops by count


def test_preset_takes_changes_and_names_its_kind():
    """`register(..., spacing=3)` changes one setting of a preset and nothing else."""
    changed = preset("fast", spacing=3.0, seed=5)
    assert (changed.spacing, changed.seed) == (3.0, 5)
    assert preset(changed, spacing="auto", seed=0) == PRESETS["fast"]
    with pytest.raises(ValueError, match=r"config: wanted a Config or one of .*got 'quick'"):
        preset("quick")


@pytest.mark.parametrize("name", list(CHOICES))
def test_unknown_choices_list_the_known(name):
    """One line with the setting, what came and what there is."""
    with pytest.raises(ValueError, match=rf"^{name}: wanted one of .*{CHOICES[name][0]}.*got 'x'"):
        Config(**{name: "x"})


@pytest.mark.parametrize(
    "name, value",
    [
        ("spacing", 0),
        ("spacing", -1.0),
        ("spacing", "fine"),
        ("width", 0),
        ("depth", 0),
        ("squarings", 0),
        ("patience", 0),
        ("omega", 0),
        ("scale", -2),
        ("jacobian", -1),
        ("smooth", -0.1),
        ("tolerance", -1e-9),
        ("decay", 0),
        ("decay", 1.5),
        ("chunk", 0),
        ("patches", 0),
        ("adjoint", True),
        ("patch", 16),
        ("field", "time-siren"),
        ("levels", ()),
        ("width", 2.5),
        ("squarings", "seven"),
        ("omega", "ten"),
        ("omega", float("inf")),
        ("jacobian", float("nan")),
        ("seed", -1),
        ("seed", None),
        ("betas", (0.9, "x")),
        ("lattices", ("8",)),
        ("chunk", 1.5),
    ],
)
def test_impossible_settings_are_named(name, value):
    """A zero learning decay or half a unit would otherwise end in a crash much later."""
    with pytest.raises(ValueError, match=f"^{name}: wanted"):
        Config(**{name: value})


@pytest.mark.parametrize(
    "name, changes",
    [
        ("integrator", {"integrator": "squaring"}),
        ("patch", {"patch": 1}),
        ("similarity", {"patch": 16, "similarity": "mind"}),
        ("smooth_target", {"smooth_target": "velocity"}),
    ],
)
def test_what_has_no_continuous_form_is_named(name, changes):
    """Squarings, a velocity on a grid, and a similarity that needs the whole image."""
    with pytest.raises(ValueError, match=f"^{name}: wanted"):
        Config(**{"order": "continuous", "integrator": "rk4", **changes})


@pytest.mark.parametrize(
    "name, value",
    [
        ("factor", 0.5),
        ("factor", "2"),
        ("iterations", -1),
        ("iterations", 10.5),
        ("step", 0.9),
        ("lr", 0),
        ("lr", 1),
        ("window", 8),
        ("window", 5.0),
    ],
)
def test_impossible_levels_are_named(name, value):
    """An even window or an L below one voxel."""
    with pytest.raises(ValueError, match=f"^{name}: wanted"):
        Level(**{name: value})


def test_unknown_settings_are_named():
    """A misspelt key in a file says so, at the top and inside a level."""
    values = Config().to_dict()
    with pytest.raises(ValueError, match=r"unknown settings \['widht'\]"):
        Config.from_dict({**values, "widht": 3})
    with pytest.raises(ValueError, match=r"levels: unknown settings \['itterations'\]"):
        Config.from_dict({**values, "levels": [{"itterations": 3}]})


def test_levels_may_be_plain_dictionaries():
    """As they come out of a file; and a config can be a dictionary key."""
    config = Config(levels=[{"factor": 2}, Level()])
    assert config.levels == (Level(2), Level()) and hash(config) == hash(
        Config(levels=(Level(2), Level()))
    )
