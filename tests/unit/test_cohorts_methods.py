"""The methods paragraph says what the settings say, for every preset and every choice."""

from __future__ import annotations

from itertools import product

import pytest

from nevf_lite.cohorts.methods import methods_paragraph
from nevf_lite.config import CHOICES, PRESETS, Level, preset


@pytest.mark.parametrize("name", PRESETS)
def test_the_numbers_of_each_preset_are_in_it(name):
    config, text = PRESETS[name], methods_paragraph(name)
    for level in config.levels:
        for value in (level.iterations, level.lr, level.step, level.window):
            assert f"{value:g}" in text
    assert f"weight {config.jacobian:g}" in text and f"weight {config.smooth:g}" in text
    assert ("all corners" in text) == config.corners
    assert "{" not in text and "\n" not in text


def test_every_choice_has_its_words():
    """No field, solver or similarity is left without a name."""
    for similarity, integrator in product(CHOICES["similarity"], CHOICES["integrator"]):
        methods_paragraph(preset("fast", similarity=similarity, integrator=integrator))
    texts = {methods_paragraph(preset("siren", field=f)) for f in ("siren", "features", "voxel")}
    assert len(texts) == 3


def test_grids_are_in_millimetres_where_they_are_known():
    config = preset("fast", spacing=2.0, levels=(Level(2, 9), Level(1, 7)))
    assert "9 and 7 iterations on grids of 4 and 2 mm" in methods_paragraph(config)
    assert "grids of 4 and 2 mm (for a head)" in methods_paragraph("fast")
    assert "grids of 1 voxels of the fixed image" in methods_paragraph("paper")
    assert "affine" in methods_paragraph(affine=True)
    assert "affine" not in methods_paragraph(affine=False)
    with pytest.raises(ValueError, match="config"):
        methods_paragraph("fastest")
