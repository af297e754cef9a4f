"""The index of a batch: one HTML page with every pair, the doubtful ones first, and a table."""

from __future__ import annotations

import base64
import csv
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from nevf_lite.cohorts.quality import MEASURES
from nevf_lite.cohorts.work import THUMBNAIL
from nevf_lite.scans.files import atomic
from nevf_lite.viz.report.summary import number

#: The files that a batch writes beside the result folders.
INDEX, TABLE = "index.html", "quality.csv"
#: Root mean square distance from the batch, in robust standard deviations, from which on a pair is
#: marked. A pair like the others has a value below 1.
DOUBTFUL = 2.0


def write_index(folder: Path, records: Sequence[dict], title: str) -> None:
    """Write index.html and quality.csv. records: as `quality.ranked` returns them.

    The page makes no requests: the thumbnails are in it, and it has no script.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    entries = [_entry(folder, record) for record in records]
    page = environment.get_template("index.html.jinja").render(
        title=title,
        pairs=entries,
        failed=sum(entry["failed"] for entry in entries),
        doubtful=sum(entry["doubtful"] and not entry["failed"] for entry in entries),
        measures=list(MEASURES.values()),
        limit=DOUBTFUL,
    )
    with atomic(folder / INDEX) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    _write_table(folder / TABLE, records)


def _template(name: str) -> str:
    room = "nevf_lite.cohorts" if name.startswith("index") else "nevf_lite.viz.report"
    return resources.files(room).joinpath(name).read_text("utf-8")


def _entry(folder: Path, record: dict) -> dict:
    """What the page shows of one pair."""
    failed = record["status"] != "done"
    name, picture = record["name"], folder / record["name"] / THUMBNAIL
    measured = record.get("measures", {})
    values = [(m.title, number(measured[k])) for k, m in MEASURES.items() if k in measured]
    if record.get("dice") is not None:
        values.insert(0, ("Dice", f"{record['dice']:.3f}"))
    return {
        "name": name,
        "failed": failed,
        "doubtful": record["score"] >= DOUBTFUL,
        "score": "failed" if failed else f"{record['score']:.1f}",
        "because": record["because"] if failed else record["because"].replace("-", "\u2212"),
        "notes": record.get("notes", []),
        "report": None if failed else f"{quote(name)}/report.html",
        "src": None if failed or not picture.is_file() else _data_uri(picture),
        "values": [] if failed else values,
    }


def _data_uri(picture: Path) -> str:
    return "data:image/webp;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")


def _write_table(path: Path, records: Sequence[dict]) -> None:
    columns = ("name", "status", "score", "because", "dice", *MEASURES, "seconds")
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for record in records:
            cells = {**record, **record.get("measures", {})}
            writer.writerow([_cell(cells.get(column)) for column in columns])


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else " ".join(str(value).split())
