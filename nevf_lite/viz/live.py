"""Live panels for notebooks: sliders that redraw a picture.

explore(draw, amplitude=[2, 4, 8, 12], squarings=range(9))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from nevf_lite.viz.style import Picture


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
