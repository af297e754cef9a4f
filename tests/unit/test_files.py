"""Files that appear whole or not at all, whatever kills the process or closes its streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from cli_inputs import good, write_inputs

from nevf_lite.scans.files import atomic, clear_leftovers, unfinished_folder
from nevf_lite.scans.io import load_image, save_image, write_displacement

DATA = np.arange(120, dtype=np.float32).reshape(4, 5, 6)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    """Its half-written files and folders; not those of a process that still runs."""
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from nevf_lite.scans.files import atomic, unfinished_folder\n"
        "folder = Path(sys.argv[1])\n"
        "with unfinished_folder(folder) as hidden, atomic(folder / 'a.nii.gz') as path:\n"
        "    (hidden / 'warp.nii.gz').write_text('half'); path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 2
    with atomic(tmp_path / "b.txt") as mine:
        mine.write_text("whole")
        assert list(tmp_path.iterdir()) == [mine]
        clear_leftovers(tmp_path)
        assert mine.exists()
    with unfinished_folder(tmp_path) as hidden:
        clear_leftovers(tmp_path)
        assert hidden.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("length", [246, 255])
def test_long_names(tmp_path, length):
    """As long as the disk allows, and the name itself in the message where it is longer."""
    path = tmp_path / ("n" * (length - 7) + ".nii.gz")
    save_image(path, DATA, np.eye(4))
    assert load_image(path).shape == DATA.shape
    with pytest.raises(OSError) as caught:
        save_image(tmp_path / ("n" * 250 + ".nii.gz"), DATA, np.eye(4))
    assert ".writing" not in str(caught.value)


def test_every_command_writes_long_names(tmp_path):
    """Fault 15: 255 characters, for every kind of file and for the folder of a result."""
    files = write_inputs(tmp_path)
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    words = {
        ".nii.gz": ["apply", files["transform"], files["moving"]],
        ".csv": ["apply", files["transform"], tmp_path / "p.csv"],
        ".safetensors": ["invert", files["transform"]],
        ".h5": ["compose", files["transform"]],
        "": ["register", files["fixed"], files["moving"], "--iterations", "1,0,0"],
    }
    for ending, command in words.items():
        output = tmp_path / ("n" * (255 - len(ending)) + ending)
        good(*command, "-o", output)
        assert output.exists()


def test_files_written_in_sections_are_those_of_nibabel(tmp_path):
    """Values, affine and type, for an image, labels and a field, compressed or not."""
    affine = np.diag([1.0, 2, 3, 1])
    for name, data in (("a.nii", DATA), ("b.nii.gz", DATA.astype(np.int16)), ("c.nii", DATA[0])):
        save_image(tmp_path / name, data, affine)
        image = nib.load(tmp_path / name)
        assert (np.asanyarray(image.dataobj).squeeze() == data).all()
        assert image.get_data_dtype() == data.dtype and (image.affine == affine).all()
    field = np.stack([DATA, -DATA, DATA + 1], axis=-1)
    write_displacement(tmp_path / "f.nii.gz", field, affine)
    stored = np.asanyarray(nib.load(tmp_path / "f.nii.gz").dataobj)
    assert stored.shape == (4, 5, 6, 1, 3) and (stored[:, :, :, 0] == field * [-1, -1, 1]).all()


@pytest.mark.parametrize(
    ("sform", "qform", "expected"), [(4, 1, 4), (0, 3, 3), (2, 0, 2), (0, 0, 1)]
)
def test_the_code_of_the_space_is_kept(tmp_path, sform, qform, expected):
    """MNI stays MNI, from a file or from memory."""
    image = nib.Nifti1Image(DATA, np.eye(4))
    image.set_sform(np.eye(4), sform)
    image.set_qform(np.eye(4), qform)
    nib.save(image, tmp_path / "a.nii.gz")
    for source in (image, tmp_path / "a.nii.gz"):
        header = load_image(source).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (expected, expected)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_closed_streams_do_no_harm(tmp_path, closed):
    """The command succeeds, and its output file holds nothing but its own bytes."""
    save_image(tmp_path / "a.nii.gz", DATA, np.eye(4))
    (tmp_path / "points.csv").write_text("x,y,z\n1,2,3\n")
    write_displacement(tmp_path / "warp.nii.gz", np.zeros((4, 5, 6, 3)), np.eye(4))
    command = f"{sys.executable} -m nevf_lite apply warp.nii.gz points.csv -o out.csv {closed}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, check=False, env=dict(os.environ))
    assert done.returncode == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "x,y,z"
