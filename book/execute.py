"""Run chapters in new kernels and store their outputs: python book/execute.py [PATH ...]

Each notebook gets the common setup cell and is executed in an empty folder. It is written back only
if every cell ran: with its outputs, without widget state, and with metadata that does not depend on
the machine. Without arguments every notebook of notebooks/ is run. With --simulated nothing is
written: it shows that the chapters run for who has no real brains, on the embedded pair.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SETUP = Path(__file__).with_name("setup_cell.py").read_text(encoding="utf-8").rstrip()
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
METADATA = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path, timeout: int = 1800, store: bool = True) -> float:
    """Run one notebook and, to store it, write it back; returns seconds.

    Raises CellExecutionError.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", ()):
            cell.source = SETUP
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="nevf-chapter-") as folder:
        client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": folder}})
        client.execute()
    seconds = time.perf_counter() - started
    if store:
        normalise(notebook)
        nbformat.write(notebook, path)
    return seconds


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Remove what differs between runs and machines: metadata, ids, widgets and progress bars."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        if "remove-cell" in cell.metadata.get("tags", ()):
            cell.outputs = []  # not on the page: sliders, which need a kernel, and checks
        outputs = []
        for output in cell.outputs:
            data = output.get("data", {})
            if WIDGET in data:
                continue  # a live panel, which needs a kernel
            if output.output_type == "stream" and output.name == "stderr":
                continue  # progress bars
            outputs.append(output)
        cell.outputs = outputs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; all of them by default")
    parser.add_argument("--simulated", action="store_true", help="without data; stores nothing")
    given = parser.parse_args()
    paths = given.paths or sorted(NOTEBOOKS.glob("*.ipynb"))
    if given.simulated:
        os.environ |= {"NEVF_DATA": "", "NEVF_CACHE": os.devnull}
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    failed = 0
    for path in paths:
        print(f"{path.name} ...", end=" ", flush=True)
        try:
            print(f"{execute(path, store=not given.simulated):.0f} s")
        except CellExecutionError as error:
            failed += 1
            print(f"failed; left as it was\n{error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
