"""The book's Sphinx extension: repository settings, tables from the code, docstrings as RST.

Directives for the Markdown pages: `nevf-presets` (the table of presets), `nevf-dataset` (one entry
of the catalogue), `nevf-splits` (the table of splits), `nevf-help` (the help of a command). Those
that show rows are in `nevf_rows`, `nevf_claims`, `nevf_explorer`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parent))
from nevf_bibliography import setup_bibliography  # noqa: E402
from nevf_chapters import setup_chapters  # noqa: E402
from nevf_docstrings import known_arguments, known_names, to_rst  # noqa: E402
from nevf_explorer import setup_explorer  # noqa: E402
from nevf_finish import setup_finish  # noqa: E402
from nevf_live import setup_live  # noqa: E402
from nevf_rows import setup_rows  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
COLAB = "https://colab.research.google.com"


@functools.cache  # called for every page
def project() -> dict:
    """The [project] table of pyproject.toml, the only source of version, licence and address."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def theme_options() -> dict:
    """The theme options that depend on [project]: buttons, titles and the footer of the pages."""
    metadata = project()
    return {
        "repository_url": metadata["urls"]["Repository"].rstrip("/"),
        "show_toc_level": 2,
        "logo": {"text": "NeVF, hands on", "alt_text": "A warped lattice: home"},
        "use_repository_button": True,
        "use_source_button": True,
        "use_download_button": True,
        "launch_buttons": {"colab_url": COLAB, "notebook_interface": "classic"},
        "extra_footer": (
            f'<p class="nevf-version">nevf_lite {metadata["version"]}, '
            f"{metadata['license']} licence for text and code. "
            "The brains have terms of their own: see "
            '<a href="{data}">Data</a>.</p>'
        ),
    }


def _configure(app, config) -> None:
    config.html_theme_options = {**config.html_theme_options, **theme_options()}
    config.version = config.release = project()["version"]


def _adjust_page(app, pagename, templatename, context, doctree) -> None:
    """Give a page a footer with the right relative link, and remove Thebe from it.

    Thebe runs cells on a public server. Jupyter Book adds its scripts even when it is off; they
    name an outside address and declare one constant twice.
    """
    context["theme_extra_footer"] = theme_options()["extra_footer"].format(
        data=context["pathto"]("book/data")
    )
    scripts = context.get("script_files")
    if scripts is not None:
        scripts[:] = [s for s in scripts if "thebe" not in _asset_text(s).lower()]
    styles = context.get("css_files")
    if styles is not None:
        styles[:] = [s for s in styles if "thebe" not in _asset_text(s).lower()]


def _asset_text(asset) -> str:
    return f"{getattr(asset, 'filename', asset)} {getattr(asset, 'attributes', {}).get('body')}"


def _convert_docstring(app, what, name, obj, options, lines) -> None:
    def link(text: str) -> str | None:
        return known_names().get(text.removesuffix("()").removeprefix("nevf_lite."))

    lines[:] = to_rst(lines, known_arguments(obj), link)


def _fix_signature(app, what, name, obj, options, signature, returned):
    """Show the default of a field with a factory as `...`, which Sphinx can parse."""
    return (signature and signature.replace("<factory>", "..."), returned)


class _Generated(SphinxDirective):
    """A directive that renders Markdown generated from the code."""

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        self.state.nested_parse(StringList(self.markdown().split("\n"), ""), 0, container)
        return container.children


#: Rows of the table of presets that describe the levels: title to the text of one level.
LEVEL_ROWS = {
    "levels: how much coarser than the finest grid": lambda level: f"{level.factor:g}",
    "iterations of a level": lambda level: str(level.iterations),
    "`step` L": lambda level: f"{level.step:g}",
    "`lr`": lambda level: f"{level.lr:g}",
    "`window`": lambda level: str(level.window),
}

PRESETS = ("paper", "siren", "fast", "default", "accurate")


def presets_table() -> str:
    """Every setting of every preset; what differs from `paper` is bold."""
    from nevf_lite import config

    presets = [config.PRESETS[name] for name in PRESETS]
    rows = []
    for title, level_text in LEVEL_ROWS.items():
        # one text where all levels agree, otherwise one per level, coarse to fine
        columns = [[level_text(level) for level in p.levels] for p in presets]
        columns = [texts[:1] if len(set(texts)) == 1 else texts for texts in columns]
        rows.append([title, *(", then ".join(texts) for texts in columns)])
    for setting in dataclasses.fields(config.Config):
        if setting.name != "levels":
            values = [_value(getattr(p, setting.name)) for p in presets]
            rows.append([f"`{setting.name}`", *values])
    for row in rows:
        row[2:] = [text if text == row[1] else f"**{text}**" for text in row[2:]]
    header = [["setting", *(f"`{name}`" for name in PRESETS)], ["---"] * (1 + len(PRESETS))]
    return "\n".join(f"| {' | '.join(row)} |" for row in header + rows)


class Presets(_Generated):
    """The table of presets."""

    def markdown(self) -> str:
        return presets_table()


def _value(value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", False: "no", True: "yes"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


class DatasetEntry(_Generated):
    """One entry of `nevf_lite.data.catalogue.DATASETS`."""

    required_arguments = 1

    def markdown(self) -> str:
        from nevf_lite.data import DATASETS

        dataset = DATASETS[self.arguments[0]]
        ndims = " or ".join(f"{n}-D" for n in dataset.ndims)
        rows = {
            "What": f"{dataset.title} ({ndims})",
            "Default pair": " <- ".join(f"`{subject}`" for subject in dataset.pair)
            or "made by `seed`",
            "To have it": dataset.obtain[0].upper() + dataset.obtain[1:],
            "Licence": dataset.licence,
            "Credit": dataset.credit,
        }
        return "\n".join(f"{name}\n: {text}\n" for name, text in rows.items())


class Splits(_Generated):
    """The table of splits: the subjects of each."""

    def markdown(self) -> str:
        from nevf_lite.data import TEST_ATLASES, TEST_SCANS, TRAIN

        rows = ["| split | dataset | subjects |", "|---|---|---|"]
        for dataset, subjects in TRAIN.items():
            rows.append(f"| `train` | `{dataset}` | {', '.join(subjects)} |")
        for dataset, atlases in TEST_ATLASES.items():
            scans = ", ".join(TEST_SCANS[dataset])
            rows.append(
                f"| `test` | `{dataset}` | atlases (fixed) {', '.join(atlases)}; "
                f"scans (moving) {scans} |"
            )
        return "\n".join(rows)


class Help(SphinxDirective):
    """What `nevf COMMAND --help` prints."""

    optional_arguments = 2

    def run(self) -> list[nodes.Node]:
        from typer.testing import CliRunner

        from nevf_lite.cli import app

        words = list(self.arguments)
        result = CliRunner().invoke(app, [*words, "--help"], prog_name="nevf", terminal_width=78)
        if result.exit_code:
            raise self.error(f"nevf {' '.join(words)} --help: {result.output}")
        return [nodes.literal_block(result.output, result.output, language="text")]


#: Search excerpts are fetched, which browsers do not allow for pages opened from the disk.
NO_EXCERPTS = (
    'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'
)


def setup(app) -> dict:
    app.add_js_file(None, body=NO_EXCERPTS, priority=900)
    app.connect("config-inited", _configure)
    # runs after the extensions of Jupyter Book, which add their scripts
    app.connect("html-page-context", _adjust_page, priority=999)
    app.connect("autodoc-process-docstring", _convert_docstring)
    app.connect("autodoc-process-signature", _fix_signature)
    app.add_directive("nevf-presets", Presets)
    app.add_directive("nevf-dataset", DatasetEntry)
    app.add_directive("nevf-splits", Splits)
    app.add_directive("nevf-help", Help)
    setup_rows(app)
    setup_explorer(app)
    setup_live(app)
    setup_chapters(app)
    setup_bibliography()
    files = project()["urls"]["Repository"].replace("//github.", "//raw.githubusercontent.")
    setup_finish(app, f"{files}/main/book/_static/")
    return {"version": project()["version"], "parallel_read_safe": True}
