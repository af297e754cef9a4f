"""Live panels: sliders that redraw a picture, where a kernel runs; figures that need none.

explore(draw, amplitude=[2, 4, 8, 12], squarings=range(9))
LiveFigure("siren", "A random SIREN, by its frequency.")
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.colors import Colormap, Normalize

from nevf_lite.viz.cards import plane_of
from nevf_lite.viz.style import GREY, Picture


class LiveFigure:
    """The place of a live figure of the book, which runs in the page and needs no kernel.

    The book's page carries the figure's scripts (`book/_ext/nevf_live.py`) and fills the place;
    anywhere else it is one sentence.

    name: of its script, `book/_static/live_NAME.js`. says: what it shows, in a sentence. given:
    numbers for the script, as JSON can hold them. Raises ValueError for a name that is not one
    small word.
    """

    def __init__(self, name: str, says: str, given: object = None) -> None:
        if not re.fullmatch(r"[a-z]+", name):
            raise ValueError(f"name: wanted the name of a live figure, like 'siren', got {name!r}")
        self.name, self.says, self.given = name, says, given

    def _repr_html_(self) -> str:
        says, given = html.escape(self.says), ""
        if self.given is not None:
            given = f' data-given="{html.escape(json.dumps(self.given, allow_nan=False))}"'
        return f'<figure class="nevf-live" data-live="{self.name}"{given}>{says}</figure>'

    def __repr__(self) -> str:
        return f"<live figure {self.name}: {self.says}>"


def still(
    values, colours: Colormap = GREY, limits: tuple[float, float] = (0.0, 1.0), quality: int = 70
) -> str:
    """An image for a live figure's script: a data URL of a WebP.

    values: (H, W) or (1, 1, H, W); axis 0 runs right and axis 1 up. limits: the values of the first
    and the last colour. quality: of WebP, 0 to 100.
    """
    from PIL import Image

    scaled = Normalize(*limits, clip=True)(plane_of(values)).T[::-1]
    stream = io.BytesIO()
    pixels = (255 * colours(scaled)[..., :3]).round().astype(np.uint8)
    Image.fromarray(pixels).save(stream, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def explore(
    draw: Callable[..., Picture],
    start: Mapping[str, object] | None = None,
    **choices: Sequence,
) -> None:
    """Show the picture that `draw` returns, with a slider for each of its parameters below.

    draw: called with one value of each parameter by name; returns a `Picture`. choices: parameter
    to its possible values, in order. start: the initial values; by default the middle ones.
    The first picture is an ordinary output, so it is also shown in a rendered page and where
    ipywidgets is not installed. Raises ValueError for a start that is not among the choices.
    """
    from IPython.display import HTML, display

    values = {name: list(options)[len(options) // 2] for name, options in choices.items()}
    values |= start or {}
    for name, value in values.items():
        if name not in choices or value not in choices[name]:
            raise ValueError(f"{name}: wanted one of {list(choices.get(name, ()))}, got {value!r}")
    output = display(HTML(draw(**values).html()), display_id=True)
    try:
        import ipywidgets
    except ModuleNotFoundError:
        return
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=list(options),
            value=values[name],
            description=name.replace("_", " "),
            continuous_update=False,
        )
        for name, options in choices.items()
    }
    elapsed = ipywidgets.Label()

    def redraw(_change) -> None:
        started = time.perf_counter()
        picture = draw(**{name: slider.value for name, slider in sliders.items()})
        output.update(HTML(picture.html()))
        elapsed.value = f"{time.perf_counter() - started:.2f} s"

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    display(ipywidgets.VBox([*sliders.values(), elapsed]))
