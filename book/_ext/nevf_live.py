"""Gives a page the scripts of its live figures, and no other page.

The place of one is `<figure class="nevf-live" data-live="NAME">`, see `nevf_lite.viz.live`.
"""

from __future__ import annotations

import re

SHARED = ("playground_field.js", "playground_draw.js", "playground_signs.js", "live.js")
#: A slice of the template, and local NCC with its gradient.
SLICE = ("playground_slice.js", "nevf/losses.js", "live_slice.js")
#: The live figures: what each needs besides, in order.
SCRIPTS = {
    "siren": ("live_field.js", "live_siren.js"),
    "sampling": ("live_field.js", "live_sampling.js"),
    "learn": ("live_learn_data.js", "live_learn.js"),
    "quiz": ("live_quiz.js",),
    "dust": ("live_field.js", "live_wind.js", "live_dust.js"),
    "squaring": ("live_field.js", "live_wind.js", "live_squaring.js"),
    "window": (*SLICE, "live_window.js"),
    "force": ("live_field.js", "live_wind.js", *SLICE, "live_force.js"),
    "kernel": ("live_field.js", "live_kernel.js"),
    "wave": ("live_field.js", "live_wind.js", "live_wave.js"),
    "lattices": ("live_lattices.js",),
    "amdahl": ("live_field.js", "live_wind.js", "live_amdahl.js"),
    "results": ("live_results_time.js", "live_results_rows.js", "live_results.js"),
}
PLACE = re.compile(r'data-live="(\w+)"')


def scripts(body: str) -> list[str]:
    """The scripts of all live figures in a page, each once and in order."""
    names = PLACE.findall(body)
    wanted = [*(SHARED if names else ()), *(s for name in names for s in SCRIPTS[name])]
    return list(dict.fromkeys(wanted))


def _add_scripts(app, pagename, templatename, context, doctree) -> None:
    for name in scripts(context.get("body") or ""):
        app.add_js_file(name, loading_method="defer")
        app.add_css_file("live.css")


def setup_live(app) -> None:
    """Called by the book's extension."""
    app.connect("html-page-context", _add_scripts)
