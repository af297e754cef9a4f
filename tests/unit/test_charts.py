"""Charts, and what all pictures share: colours, formats, descriptions."""

from __future__ import annotations

import io
import itertools
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image
from toy_images import blob, slice_axes

from nevf_lite.scans.space import Grid
from nevf_lite.viz import charts, figures, style
from nevf_lite.viz.comparisons import dice_against_time
from nevf_lite.viz.sketch import curves, images
from nevf_lite.viz.style import CURVE_COLOURS, LETTER_COLOURS, METHOD_COLOURS, colours_of
from nevf_lite.viz.widths import NARROW, PHONE


def history(iterations=20, folds=0.0) -> list[dict]:
    return [
        {"level": i // 10, "iteration": i % 10, "loss": 1 / (i + 1), "similarity": i / 20,
         "folds": folds, "seconds": 0.5 * (i + 1)}
        for i in range(iterations)
    ]  # fmt: skip


def test_convergence_counts_iterations_over_all_levels():
    """Protects the x axis: `iteration` restarts at each level, the curve does not."""
    figure = figures.convergence(history())
    assert len(figure.axes) == 4  # two levels; no folds, no chart of folds
    counted = [axes.lines[0].get_xdata() for axes in figure.axes[:2]]
    np.testing.assert_array_equal(np.concatenate(counted), np.arange(1, 21))
    assert [axes.get_title() for axes in figure.axes[:2]] == ["level 1", "level 2"]
    assert "10 s in all" in figure.get_supxlabel()
    assert "no folds in any" in figure.alt


def test_a_level_has_a_scale_of_its_own():
    """Protects the reader from taking the change of level for a crash of the similarity."""
    two = history()
    for row in two[10:]:
        row["similarity"] -= 5
    first, second = figures.convergence(two).axes[:2]
    assert first.get_ylim()[1] < 0.5 and second.get_ylim()[1] < -3.5
    assert "similarity from 0 to 0.45, then from -4.5 to -4.05" in figures.convergence(two).alt


def test_convergence_shows_folds_in_percent():
    """Protects the unit: the optimiser records a fraction."""
    axes = figures.convergence(history(folds=0.002)).axes[-2]
    assert axes.get_ylabel() == "folds (%)"
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 0.2)


@pytest.mark.parametrize("rows", [1, 3])
def test_convergence_draws_what_there_is(rows):
    """Protects interrupted runs: one iteration, missing keys and NaN are drawn or left out."""
    some = [{"loss": 1.0 + i, "similarity": None} for i in range(rows)]
    some.append({"loss": float("nan")})
    figure = figures.convergence(some)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss"]


@pytest.mark.parametrize("nothing", [[], [{"level": 1}], [{"loss": float("nan")}]])
def test_convergence_refuses_an_empty_history(nothing):
    """Protects the message: what was missing, not an IndexError."""
    with pytest.raises(ValueError, match="^history: "):
        figures.convergence(nothing)


def test_an_unknown_theme_is_refused():
    """Protects the message: which themes there are."""
    with pytest.raises(ValueError, match="^theme: got 'blue', wanted one of light"):
        figures.convergence(history(), theme="blue")


def test_dice_bars_are_sorted_and_named():
    """Protects the order (best first), the names, and absent structures being left out."""
    after = {1: 0.5, 2: 0.9, 3: float("nan"), 7: 0.7}
    figure = figures.dice_bars({1: 0.4, 2: 0.8}, after, {1: "left <b>", 2: "right"})
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["right", "label 7", "left <b>"]
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [0.9, 0.7, 0.5]
    assert "mean 0.600 before and 0.700 after" in figure.alt
    assert len(figures.dice_bars(None, after, {}).axes[0].lines) == 0
    with pytest.raises(ValueError, match="^after: "):
        figures.dice_bars(None, {3: float("nan")}, {})


def test_each_dot_has_its_name_beside_it_and_one_colour_everywhere():
    """Protects the reading without a legend: names at the dots, inside the panel, alike in both."""
    panels = {
        "similarity": {"good": (0.9, 1.0), "greedy": (0.96, 2.7), "a twin of good": (0.901, 1.02)},
        "Dice": {"greedy": (0.79, 2.7), "good": (0.84, 1.0), "a twin of good": (0.839, 1.02)},
    }
    figure = charts.named_dots(panels, "Two results by two measures.", y="error (mm)")
    figure.draw_without_rendering()
    colours = []
    for axes, dots in zip(figure.axes, panels.values(), strict=True):
        assert [(t.get_text(), t.xy) for t in axes.texts] == list(dots.items())
        window = axes.get_window_extent()
        boxes = [Text.get_window_extent(name) for name in axes.texts]  # without its thin line
        assert all(window.x0 <= box.x0 and box.x1 <= window.x1 for box in boxes)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        colours.append(
            {t.get_text(): x.get_color() for t, x in zip(axes.texts, axes.lines, strict=True)}
        )
        letters = {name: LETTER_COLOURS[colour] for name, colour in colours[-1].items()}
        assert letters == {t.get_text(): t.get_color() for t in axes.texts}
    assert colours[0] == colours[1] and len(set(colours[0].values())) == 3
    assert figure.axes[0].get_ylabel() == "error (mm)" and figure.alt.startswith("Two results")
    with pytest.raises(ValueError, match="^panels: "):
        charts.named_dots({"Dice": {}}, "Nothing.", y="error (mm)")


def test_an_svg_is_shorter_than_matplotlib_writes_it_and_draws_the_same(monkeypatch):
    """Protects the size of pages: nothing but what is drawn, and all of that."""
    chart = figures.convergence(history())
    short = style.encode(chart, "svg")
    monkeypatch.setattr(style, "_shorter", lambda svg: svg)
    whole = style.encode(chart, "svg")
    assert len(short) < 0.88 * len(whole) and not re.search(rb"<!--|<metadata", short)
    drawn = [
        [node.tag for node in ElementTree.fromstring(svg).iter() if "/svg}" in node.tag]
        for svg in (short, whole)
    ]
    assert drawn[0] == [tag for tag in drawn[1] if not tag.endswith("metadata")]


def test_a_chart_is_drawn_once_more_for_narrow_pages():
    """Protects readers with a phone: letters of the same size, and all of them inside."""
    panels = {"Dice": {"a": (0.5, 1.0), "b": (0.6, 2.0)}, "folds (%)": {"a": (0, 1.0), "b": (3, 2)}}
    label = "a label of an axis that is longer than a phone is wide"
    drawn = [
        figures.convergence(history(30, folds=0.1)),
        charts.named_dots(panels, "Two results.", y="error (mm)"),
        figures.dice_bars({1: 0.2}, {1: 0.5, 2: 0.4}, {1: "left superior temporal gyrus"}),
        curves({"line": ([0, 1], [0, 1])}, "A line.", x=label, y=label),
    ]
    for wide in drawn:
        narrow = wide.narrow()
        assert narrow.get_figwidth() == NARROW < wide.get_figwidth() and narrow.narrow is None
        assert narrow.alt == wide.alt
        narrow.draw_without_rendering()
        box = narrow.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0
        assert box.x1 <= NARROW and box.y1 <= narrow.get_figheight()
    under_each_other = [axes.get_position().x0 for axes in drawn[1].narrow().axes]
    assert np.ptp(under_each_other) < 0.01
    assert f'<source media="(max-width:{PHONE}px)" srcset="data:image/svg' in wide.html()


def test_a_row_of_slices_goes_on_in_a_second_line_on_a_narrow_page():
    """Protects readers with a phone: letters of the same size and none cut, slices to scale."""
    for wide in (
        figures.before_after(blob(), blob(), blob(), views=["slices"]),
        figures.jacobian_map(np.ones((24, 20, 12)), blob()),
        figures.deformed_grid(np.ones((24, 20, 12, 3)), Grid.of(blob()), blob()),
    ):
        narrow = wide.narrow()
        assert narrow.get_figwidth() == NARROW and narrow.alt == wide.alt
        narrow.draw_without_rendering()
        texts = [*narrow.texts, *narrow.artists, *(t for a in narrow.axes for t in a.texts)]
        for box in (text.get_window_extent() for text in texts):
            assert box.x0 >= 0 and box.x1 <= NARROW * narrow.dpi
        axial, coronal, sagittal = (axes.get_position() for axes in slice_axes(narrow)[:3])
        assert axial.x1 <= coronal.x0 + 1e-6 and sagittal.y1 < min(axial.y0, coronal.y0)
        widths = [
            np.ptp(axes.get_xlim()) / axes.get_position().width for axes in slice_axes(narrow)
        ]
        np.testing.assert_allclose(widths, widths[0])


def test_a_last_row_that_is_not_full_stands_in_the_middle_of_its_card():
    plane = np.zeros((30, 40))
    for number, narrow in (3, True), (5, False), (5, True):
        picture = images({str(i): plane for i in range(number)}, "Some.")
        picture = picture.narrow() if narrow else picture
        picture.draw_without_rendering()
        boxes = [axes.get_position() for axes in picture.axes]
        for low in {round(box.y0, 3) for box in boxes}:
            row = [box for box in boxes if abs(box.y0 - low) < 1e-3]
            assert row[0].x0 == pytest.approx(1 - row[-1].x1, abs=1e-3)
        np.testing.assert_allclose([box.width for box in boxes], boxes[0].width)


def test_three_panels_of_a_card_are_two_and_one_on_a_narrow_page():
    plane = np.linspace(0, 1, 30 * 40).reshape(30, 40)
    titles = "fixed", "moving, under a long title", "after"
    wide = images(dict.fromkeys(titles, plane), "Three.", unit="brightness of the image")
    narrow = wide.narrow()
    shown = [axes for axes in narrow.axes if axes.get_title()]
    spans = [
        (axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start)
        for axes in shown
    ]
    assert spans == [(0, 0), (0, 2), (1, 1)]  # in halves of a panel
    assert [axes.get_title().replace("\n", " ") for axes in shown] == list(titles)
    narrow.draw_without_rendering()
    assert narrow.get_tightbbox().x1 <= NARROW and narrow.alt == wide.alt
    assert "(max-width" in wide.html()


def test_an_axis_writes_all_its_numbers_alike():
    """0.001 beside a power of ten would look like another scale."""

    def ticks(*ys):
        axes = curves({"a": (range(len(ys)), ys)}, "A.", x="x", y="y", log="y").axes[0]
        axes.figure.draw_without_rendering()
        low, high = axes.get_ylim()
        return [t.get_text() for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]

    assert ticks(1e-2, 1, 1000) == ["0.01", "0.1", "1", "10", "100", "1000"]
    small = ticks(1e-6, 1e-3, 1e-1)
    assert small == [f"$10^{{{k}}}$" for k in range(-6, 0)]


def test_charts_are_svg_without_foreign_links_and_brains_are_webp():
    """Protects the offline page: an SVG that loads a font or an image would ask the network."""
    chart = figures.convergence(history())
    root = ElementTree.fromstring(style.encode(chart, chart.kind))
    links = [value for node in root.iter() for key, value in node.attrib.items() if "href" in key]
    assert links and all(link.startswith("#") for link in links)
    brain = figures.jacobian_map(np.ones((24, 20, 12)), blob())
    assert Image.open(io.BytesIO(style.encode(brain, brain.kind))).format == "WEBP"


def test_a_notebook_shows_a_picture_once_with_its_description(monkeypatch):
    """Protects readers who cannot see the figure, and the notebook's size."""
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: shown.append(bundle))
    figure = figures.convergence(history())
    figure.alt = 'loss "<falls>"'
    figure._ipython_display_()
    assert len(shown) == 1 and 'alt="loss &quot;&lt;falls&gt;&quot;"' in shown[0]["text/html"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_and_colours_stand_out_from_the_page(theme):
    """Protects contrast: text 7:1 on its page, curves and the unthemed ink 3:1 on both pages."""

    def contrast(one: str, other: str) -> float:
        light = []
        for colour in (one, other):
            rgb = np.array(to_rgb(colour))
            linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
        return max(light) / min(light)

    paper = style.PAPER[theme]
    assert contrast(style.INK[theme], paper) >= 7
    for colour in (style.INK["any"], style.BEFORE, style.AFTER, style.ALARM):
        assert contrast(colour, paper) >= 3
    assert contrast(style.INK["any"], style.PAPER["light"]) >= 4.5
    for colour in (style.ON_CARD, style.ON_CARD_MUTED, style.FIXED, style.MOVED, style.FOLD):
        assert contrast(colour, style.CARD) >= 4.5


def test_bytes_do_not_depend_on_the_caller():
    """Protects committed figures: same input, same file, whatever rcParams the notebook has set."""
    image = blob((16, 12))

    def files() -> list[bytes]:
        some = [figures.jacobian_map(np.ones((16, 12)), image), figures.convergence(history())]
        return [style.encode(figure, figure.kind) for figure in some]

    first = files()
    mine = {"font.size": 30, "axes.facecolor": "pink", "axes.grid": True, "svg.hashsalt": None}
    with matplotlib.rc_context(mine):
        assert files() == first


def test_a_method_has_one_colour_in_every_chart():
    """Protects the reader who goes from chart to chart: only those without a colour take turns."""
    alone, among = colours_of(["greedy"]), colours_of(["mine", "SIREN", "greedy", "yours"])
    assert alone["greedy"] == among["greedy"] == METHOD_COLOURS["greedy"]
    assert len(set(among.values())) == 4
    assert len(set(colours_of(["features", "VoxelMorph"]).values())) == 2  # alike, were they alone
    many = colours_of([*METHOD_COLOURS, "mine", "yours"], beyond="black")
    assert list(many.values()).count("black") == len(many) - len(CURVE_COLOURS)
    course = ([1, 2], [0.4, 0.5])
    names = ["demons", "SyN [40,20,0]", "greedy at 1 mm", "greedy"]
    figure = dice_against_time(dict.fromkeys(names, course), 0.3)
    seen = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert seen["greedy"] == seen["greedy at 1 mm"] == METHOD_COLOURS["greedy"]
    assert seen["SyN [40,20,0]"] == METHOD_COLOURS["SyN"]
