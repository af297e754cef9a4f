"""Chapters as others meet them: the first cell on Colab in an empty folder; no real brains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What Colab has before the setup cell: torch and numpy, which must stay as they are, and a kernel.
GIVEN = ("torch", "numpy", "ipykernel", "nbclient")
RUN = """
import nbformat, nbclient, sys
notebook = nbformat.read(sys.argv[1], as_version=4)
check = "import google.colab, torch, numpy; print(torch.__version__, numpy.__version__)"
notebook.cells.insert(0, nbformat.v4.new_code_cell(check))
notebook.cells.append(nbformat.v4.new_code_cell(check))
nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
print(notebook.cells[0].outputs[0].text == notebook.cells[-1].outputs[0].text)
"""


@pytest.mark.slow
def test_a_chapter_runs_in_an_empty_folder_with_nothing_but_torch(tmp_path):
    environment, folder = tmp_path / "environment", tmp_path / "content"
    folder.mkdir()
    shutil.copy(ROOT / "notebooks" / "02_images.ipynb", folder)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NEVF_", "PYTEST_", "VIRT"))}
    clean |= {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "OMP_NUM_THREADS": "2"}
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *GIVEN]
    subprocess.run(install, check=True, env=clean)
    stub = next((environment / "lib").glob("python*")) / "site-packages" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("")
    # the book's own address stands in the cell; what is tested is this checkout
    clean["NEVF_SOURCE"] = ROOT.as_uri()
    done = subprocess.run(
        [python, "-c", RUN, "02_images.ipynb"],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "True", "the setup cell changed torch or numpy"
    assert [path.name for path in folder.iterdir()] == ["02_images.ipynb"]
    assert json.loads((folder / "02_images.ipynb").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [19, 20, 21, 22, 23])
def test_a_chapter_runs_without_real_brains(number):
    """A reader without the data gets simulated scans, and what is asserted holds for them too."""
    (chapter,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    command = [sys.executable, ROOT / "book" / "execute.py", "--simulated", chapter]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
