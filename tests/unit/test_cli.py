"""`nevf`, command by command, as people and scripts use it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_inputs import SHAPES, good, label_options, nevf, register_pair, write_pair

from nevf_lite.scans.io import load_image, load_labels
from nevf_lite.scans.space import Grid
from nevf_lite.transforms.transform import Transform

COMMANDS = (
    *("register", "demo", "apply", "invert", "compose", "evaluate", "view", "info", "data"),
    "study",
)
RESULT = {
    "warped.nii.gz",
    "warp.nii.gz",
    "inverse_warp.nii.gz",
    "jacobian.nii.gz",
    "velocity.safetensors",
    "report.html",
    "result.json",
}


@pytest.fixture(scope="module", params=[2, 3])
def done(request, tmp_path_factory) -> dict:
    """A pair registered once, in 2-D and in 3-D."""
    return register_pair(tmp_path_factory.mktemp("pair"), request.param)


# -------------------------------------------------------------------------------------- help


def heavy(*words: str) -> str:
    """Which of the slow libraries a command has loaded by its end, from a process of its own."""
    program = (
        f"import sys\nsys.argv = ['nevf', *{words}]\nfrom nevf_lite.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'nilearn', 'matplotlib', 'scipy', 'numba'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout, run.stderr
    return run.stdout.splitlines()[-1]


def test_help_loads_nothing_heavy():
    """`nevf --help` answers at once: no import of torch, nilearn or matplotlib has crept in."""
    assert heavy("--help") == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    """Each command has one line in the list, help of its own, and examples."""
    listed = good("--help")
    assert sum(line.split()[:1] == [command] for line in listed.splitlines()) == 1
    text = good(command, "--help")
    prose = [line for line in text.splitlines() if not line.startswith(" ")]
    assert max(map(len, prose)) <= 80  # as wide as a terminal; an example may be longer
    assert f"  nevf {command}" in text.partition("Examples:")[2]
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text


def test_alone_it_prints_help_and_with_version_the_version():
    """What people type first."""
    assert good() == good("--help") == good("-h")
    assert good("--version").startswith("nevf 0.")


# ---------------------------------------------------------------------------------- register


def test_register_writes_the_result_and_prints_json_alone(done):
    """--json puts what result.json holds on standard output and nothing else; Dice has risen."""
    document = json.loads(done["said"].stdout)
    assert document == json.loads((done["folder"] / "result.json").read_text())
    assert {file.name for file in done["folder"].iterdir()} == RESULT | {"warped_labels.nii.gz"}
    assert document["metrics"]["dice_after"] > document["metrics"]["dice_before"] + 0.1
    assert [level["iterations"] for level in document["config"]["levels"]] == [40, 40, 40]
    assert document["seed"] == 3
    assert shlex.split(document["command"]) == ["nevf", *done["words"]]
    assert "nevf: level 1 of 3" in done["said"].stderr


def test_register_prints_a_summary_and_leaves_other_files_alone(done, tmp_path):
    """Dice before and after, folds, time and where the report is; what lay in the folder stays."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "warp.nii.gz").write_text("of an earlier result")
    words = ["register", done["fixed"], done["moving"], "-o", tmp_path, "--iterations", "1,1,1"]
    out = good(*words, *label_options(done), "--labels", "1-2", "--label-names", "oasis")
    assert out.startswith("moving to fixed\n  Dice        0.")
    for word in ("mean of 2 structures", "Folds", "Time", "3 iterations on cpu", "report.html"):
        assert word in out
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert load_image(tmp_path / "warped.nii.gz").shape == SHAPES[done["ndim"]]
    assert Transform.load(tmp_path / "warp.nii.gz").fixed == Grid.of(load_image(done["fixed"]))
    named = json.loads((tmp_path / "result.json").read_text())["dice"]
    assert named["1"]["name"] == "Left-Cerebral-White-Matter"


def test_quiet_says_nothing(done, tmp_path):
    """--quiet: no notes, no progress, no summary, but the result."""
    words = [
        "register",
        done["fixed"],
        done["moving"],
        "-o",
        tmp_path / "r",
        "--iterations",
        "1,0,0",
    ]
    result = nevf(*words, "--quiet", "--threads", "1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "r" / "report.html").exists()


def test_options_reach_the_registration(done, tmp_path, monkeypatch):
    """Each option arrives where `register` expects it, and threads where torch does."""
    import torch

    from nevf_lite.registration import register as registration

    seen, threads = {}, []

    def spy(fixed, moving, config, **options):
        seen.update(options, config=config)
        raise ValueError("seen enough")

    monkeypatch.setattr(registration, "register", spy)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    words = "--preset paper --spacing 3.5 --iterations 7 --seed 5 --threads 3 --device cpu"
    words += " --backend torch"
    words += f" --fixed-mask {done['fixed_labels']} --moving-mask {done['moving_labels']}"
    words += f" -o {tmp_path}/r"
    start = f" --init {done['folder']}"
    assert nevf("register", done["fixed"], done["moving"], *(words + start).split()).exit_code == 2
    config = seen["config"]
    assert (config.width, config.spacing, config.seed, len(config.levels)) == (512, 3.5, 5, 1)
    assert config.levels[0].iterations == 7 and threads == [3] and seen["device"] == "cpu"
    assert seen["backend"] == "torch"
    assert seen["fixed_mask"] == done["fixed_labels"]
    assert seen["moving_mask"] == done["moving_labels"]
    assert len(seen["init"].components) == 1 and not seen["affine"] and seen["resume"] is None
    nevf("register", done["fixed"], done["moving"], *words.split(), "--affine")
    assert seen["affine"] and seen["init"] is None


def test_a_network_is_a_place_to_start_from(tmp_path):
    """--init-from: the field is fitted to the prediction, or composed with it where asked for."""
    files = write_pair(tmp_path, 3)
    words = ["register", files["fixed"], files["moving"], "--iterations", "0,0,1"]
    said = nevf(*words, "-o", tmp_path / "warm", "--init-from", "small")
    assert said.exit_code == 0 and "mm from the initial one" in said.stderr
    assert len(Transform.load(tmp_path / "warm").components) == 1
    composed = ["--init-from", "small", "--init-mode", "compose"]
    good(*words, "-o", tmp_path / "composed", *composed)
    assert len(Transform.load(tmp_path / "composed").components) == 2
    siren = [*words[:3], "--preset", "siren", "--iterations", "0,1", "--init-from", "learned"]
    good(*siren, "-o", tmp_path / "learned")
    assert len(Transform.load(tmp_path / "learned").components) == 1
    for more, wrong in (
        (["--init-from", "small", "--affine"], "leave --init-from out"),
        (["--init-from", "small", "--resume", tmp_path / "warm"], "leave --init-from out"),
        (["--init-from", "learned"], "the learned one is for volumes and the preset 'siren'"),
        (["--init-from", "learned", "--init-mode", "warm"], "leave --init-mode out"),
        (["--init-mode", "warm"], "--init-mode was given without --init or --init-from"),
    ):
        refused = nevf(*words, "-o", tmp_path / "none", *more)
        assert refused.exit_code == 2 and wrong in refused.stderr
    assert not (tmp_path / "none").exists()


def test_resume_goes_on_where_the_result_stands(done, tmp_path):
    """The earlier settings hold, the earlier start too, and the first loss is near the last one."""
    words = ["register", done["fixed"], done["moving"], "-o", tmp_path / "r", "--json"]
    again = json.loads(good(*words, "--resume", done["folder"], "--iterations", "0,0,1"))
    first = json.loads(done["said"].stdout)
    assert again["seed"] == 3 and again["config"]["spacing"] == first["config"]["spacing"]
    assert again["metrics"]["similarity"] == pytest.approx(first["metrics"]["similarity"], abs=0.05)
    fresh = json.loads(good(*words, "--iterations", "0,0,1"))
    assert again["metrics"]["similarity"] > fresh["metrics"]["similarity"] + 0.1


def test_resume_keeps_the_initial_transform(tmp_path):
    """A result that started from a given transform is gone on with from that transform."""
    files = write_pair(tmp_path, 2)
    grid = Grid.of(load_image(files["fixed"]))
    shift = np.eye(4)
    shift[0, 3] = 6.0
    Transform.from_affine(shift, grid, grid).save(tmp_path / "shift.safetensors")
    words = ["register", files["fixed"], files["moving"], "--quiet", "--iterations", "0,0,3"]
    good(*words, "-o", tmp_path / "a", "--init", tmp_path / "shift.safetensors")
    good(*words, "-o", tmp_path / "b", "--resume", tmp_path / "a")
    parts = Transform.load(tmp_path / "b").components
    assert len(parts) == 2 and np.allclose(parts[1].matrix, shift)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_interrupt_keeps_the_best_field_and_writes_it(tmp_path):
    """Ctrl-C, twice even, on a real process: status 130, a whole result, a line about it."""
    files = write_pair(tmp_path, 3)
    words = [sys.executable, "-m", "nevf_lite", "register", files["fixed"], files["moving"]]
    words += [
        "-o",
        tmp_path / "r",
        "--spacing",
        "2",
        "--iterations",
        "100000,1,1",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a runner in the background may have told its children to ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert "level 1 of 3" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert "interrupted" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "interrupted" in out and "Traceback" not in err
    assert {file.name for file in (tmp_path / "r").iterdir()} == RESULT
    document = json.loads((tmp_path / "r" / "result.json").read_text())
    assert document["stopped"] == "interrupted" and document["iterations"] >= 1


# ---------------------------------------------------------------------------- info, data, demo


def test_info_tells_devices_data_and_memory(done):
    """JSON and text; a finer resolution needs more."""
    document = json.loads(good("info", "--json"))
    assert document["devices"][0]["name"] == "cpu" and document["versions"]["torch"]
    assert {found["name"] for found in document["data"]} >= {"mindboggle", "simulated"}
    assert [row["preset"] for row in document["memory"]] == [
        "default",
        "fast",
        "accurate",
        "siren",
        "paper",
    ]
    words = ["info", "--json", "--preset", "default"]

    def forecast(*more) -> dict:
        return json.loads(good(*words, *more))["memory"][0]

    usual, own = forecast(), forecast("--image", done["fixed"], "--spacing", 4)
    assert own["shape"] == list(SHAPES[done["ndim"]]) and own["bytes"] < usual["bytes"]
    assert forecast("--spacing", 0.8)["bytes"] > usual["bytes"]
    assert 1.05 * usual["bytes"] < forecast("--masks")["bytes"] < 2 * usual["bytes"]
    assert "Memory" in good("info")


def test_data_list(monkeypatch, tmp_path):
    """What is here and what is not, with how to have it."""
    monkeypatch.setenv("NEVF_DATA", str(tmp_path))
    monkeypatch.setenv("NEVF_CACHE", str(tmp_path))
    (tmp_path / "oasis").mkdir()
    for subject in ("1000", "1001"):
        (tmp_path / "oasis" / f"{subject}_t1.nii.gz").touch()
    found = {row["name"]: row for row in json.loads(good("data", "list", "--json"))["data"]}
    assert found["oasis"]["subjects"] == ["1000", "1001"] and found["oasis"]["folder"]
    assert not found["mindboggle"]["here"] and "fetch" in found["mindboggle"]["obtain"]
    assert "nevf data fetch mindboggle" in good("data", "list")


def test_data_fetch_shows_the_plan_and_asks(monkeypatch, tmp_path):
    """Size and licence first; without a yes nothing is downloaded and the exit status says so."""
    from local_server import running

    monkeypatch.setenv("NEVF_CACHE", str(tmp_path))
    with running() as server:
        server.files["/slices.tar"] = b"not much"
        words = [
            "data",
            "fetch",
            "neurite2d",
            "--url",
            server.url("/slices.tar"),
            "--quiet",
            "--trust",
        ]
        result = nevf(*words)
        assert result.exit_code == 1 and "nothing was downloaded" in result.stderr
        assert "24 MB" in result.stderr and "licence" in result.stderr
        assert not server.requests and not any(tmp_path.iterdir())
        result = nevf(*words, "--yes")
        assert result.exit_code == 0, result.stderr
        assert "nevf data prepare neurite2d" in result.stderr
        assert Path(result.stdout.strip()).read_bytes() == b"not much"


def test_data_prepare_counts_what_it_made(monkeypatch, tmp_path):
    """The options go to `prepare`, and the folder comes out."""
    from nevf_lite.data import prepare

    def make(name, **options):
        assert (name, options["archive"], options["own_affine"]) == ("neurite", Path("a.tar"), True)
        return [tmp_path / "a_t1.nii.gz", tmp_path / "b_t1.nii.gz"]

    monkeypatch.setattr(prepare, "prepare", make)
    out = good("data", "prepare", "neurite", "--archive", "a.tar", "--own-affine", "--quiet")
    assert out == f"2 images in {tmp_path}\n"


def test_demo_registers_a_pair_and_tells_the_true_error(monkeypatch, tmp_path):
    """Credit and Dice, and for a simulated pair the error in mm, which falls."""
    from nevf_lite import data

    files = write_pair(tmp_path / "pair", 2)
    images = {key: load_image(path) for key, path in files.items() if "labels" not in key}
    labels = {key: load_labels(path) for key, path in files.items() if "labels" in key}
    grid = Grid.of(images["fixed"])
    pair = data.Pair(
        "simulated 2-D, seed 0",
        images["fixed"],
        images["moving"],
        labels["fixed_labels"],
        labels["moving_labels"],
        labels["fixed_labels"],
        labels["moving_labels"],
        {1: "core", 2: "shell"},
        (1, 2),
        "free",
        "somebody",
        np.full((*grid.shape, 3), [6.0, 6.0, 0.0], np.float32),
    )

    def load(name, *subjects):
        if name == "simulated":
            return pair
        raise FileNotFoundError(f"{name}: not here")

    monkeypatch.setattr(data, "load_pair", load)
    result = nevf("demo", "-o", tmp_path / "demo", "--preset", "fast")
    assert result.exit_code == 0, result.stderr
    assert "credit: somebody" in result.stderr and "licence: free" in result.stderr
    assert str(tmp_path / "demo" / "report.html") in result.stdout and "Dice" in result.stdout
    error = next(line for line in result.stdout.splitlines() if "True error" in line).split()[1:]
    assert float(error[1]) == pytest.approx(8.49, abs=0.01) and float(error[3]) < 4


def test_label_names_in_every_form(tmp_path):
    """BIDS tables with tabs or commas, FreeSurfer's colour table, and the built-in ones."""
    from nevf_lite.cli.checks import label_names

    texts = {
        "bids.tsv": "index\tname\tcolor\n3\tthree\t#fff\n5\tfive\t\n",
        "any.csv": "name,index\nthree,3\nfive,5\n",
        "lut.txt": "# comment\n#No. Label R G B A\n\n3 three 0 0 0 0\n5   five 1 1 1 0\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert label_names(str(tmp_path / name)) == {3: "three", 5: "five"}, name
    assert label_names("mindboggle")[1] == "lh-caudalanteriorcingulate"
    assert label_names(None) == {}


def test_the_list_of_data_is_quick_enough_to_pipe():
    """`nevf data list | head -1` ends quietly when its reader goes; no plots, no compiler."""
    command = f"{shlex.quote(sys.executable)} -m nevf_lite data list | head -1"
    run = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert run.stdout.startswith("mindboggle") and run.stderr == ""
    assert not {"nilearn", "matplotlib", "numba"} & set(re.findall(r"\w+", heavy("data", "list")))
