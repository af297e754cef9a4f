"""The benchmark without its clock: what is compared is the same work, and the counts are right."""

from __future__ import annotations

import csv
import io
import json
import subprocess

import pytest
import torch

import benchmarks.__main__ as command
from benchmarks import ceilings, commits, counts, iteration, kernel, record, registration, table
from benchmarks.operations import OPERATIONS, shape_at
from nevf_lite import kernels
from nevf_lite.integrate import determinant

TINY = 20  # mm: a head of 8 x 10 x 8 voxels
KEYS = {"case", "backend", "seconds", "reference_seconds", "ratio", "peak_mib"}


@pytest.fixture(autouse=True)
def threads():
    """A case sets the number of torch's threads; it is a process's own elsewhere."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Counted:
    """A number that counts what is done with it."""

    done = 0

    def _count(self, other) -> Counted:
        Counted.done += 1
        return Counted()

    __add__ = __radd__ = __sub__ = __mul__ = __rmul__ = _count


def operations_of(function) -> int:
    Counted.done = 0
    function()
    return Counted.done


def interpolated(axes: int) -> Counted:
    if axes == 0:
        return Counted()
    return Counted() * interpolated(axes - 1) + Counted() * interpolated(axes - 1)


def test_the_counted_formulas_have_that_many_operations():
    """Counted by running them on numbers that count, not by counting again by eye."""
    assert operations_of(lambda: interpolated(3)) == counts.LOOKUP
    rows = [[Counted() for _ in range(3)] for _ in range(3)]
    assert operations_of(lambda: determinant(rows)) == 14


def test_bytes_are_those_of_a_hand_count():
    """Floats that cross once, by voxel: arrays read and written, forward and backward."""
    # image, u -> result; image, u, gradient -> gradient of u
    assert counts.pull(7).bytes == 7 * 4 * ((1 + 3 + 1) + (1 + 3 + 1 + 3))
    # u -> u, which is kept; u, gradient -> gradient
    assert counts.squaring(7, 1).bytes == 7 * 4 * ((3 + 3) + (3 + 3 + 3))
    assert counts.squaring(7, 3).bytes == 7 * 4 * (3 * 6 + 3 * 9)
    # two images, two statistics -> gradient; and that scaled
    assert counts.local_ncc(7, 9).bytes == 7 * 4 * (4 + 1 + 2)
    assert counts.local_ncc(7, 9).bytes == counts.local_ncc(7, 3).bytes
    assert counts.penalties(7).bytes == 7 * 4 * (3 + 3 + 3)
    # points twice, gradient, velocities; sine and cosine of each unit, to memory and back
    assert counts.siren(7, 64, 5).bytes == 7 * 4 * (3 + 3 + 3 + 3 + 2 * 2 * 64 * 5)


def test_a_network_s_products_are_those_of_its_layers():
    width, depth, points = 5, 3, 11
    layers = [(3, width), (width, width), (width, width), (width, 3)]
    forward = sum(a * b for a, b in layers)
    by_input = sum(a * b for a, b in layers[1:])
    multiplied = 2 * (forward + forward + by_input)
    assert counts.siren(points, width, depth).flops == points * (multiplied + 3 * width * depth)


def test_the_least_time_is_of_memory_or_of_arithmetic_whichever_is_longer():
    count = counts.Count(bytes=100, flops=10)
    assert count.intensity == 0.1
    assert count.seconds(bandwidth=10, rate=10) == 10
    assert count.seconds(bandwidth=1000, rate=10) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_backend_is_given_the_same_work(operation):
    """A ratio of two different computations would mean nothing."""
    task = OPERATIONS[operation](shape_at(TINY))
    found = {}
    for backend in ("torch", "numba"):
        with kernels.backend(backend):
            value = task()
        found[backend] = [value, *(leaf.grad.clone() for leaf in task.leaves)]
    for ours, reference in zip(found["numba"], found["torch"], strict=True):
        scale = reference.abs().max().clamp_min(1e-6)
        assert (ours - reference).abs().max() < 2e-4 * scale


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kernel_s_cases_have_all_keys(operation):
    torch_case, fast = kernel.main(operation, TINY, budget=0, compiled=False)
    assert KEYS <= set(torch_case) and KEYS <= set(fast)
    assert (torch_case["backend"], fast["backend"]) == ("torch", "numba")
    assert torch_case["ratio"] == 1 and fast["reference_seconds"] == torch_case["seconds"]
    assert json.loads(json.dumps(fast)) == fast
    assert fast["bytes"] > 0 and fast["flops"] > 0


def test_what_cannot_be_compiled_is_a_row_that_says_why(monkeypatch):
    """A missing compiler is no reason to lose the other cases."""

    def broken(function, **_):
        def fail():
            raise RuntimeError("no compiler\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    *_, case = kernel.main("penalties", TINY, budget=0)
    assert case["backend"] == "torch.compile" and case["seconds"] is None
    assert case["note"] == "torch.compile: RuntimeError: no compiler"


@pytest.mark.parametrize("setting", ["default", "siren"])
def test_an_iteration_is_predicted_and_measured(setting):
    case = iteration.main(setting, TINY, "numba", shape=(10, 12, 10))
    assert case["predicted_mib"] > 0 and case["wall"] > 0 and case["peak_mib"] >= 0
    (level,) = iteration.config_of(setting, 3).levels
    assert level.factor == 1 and level.step == (3 if setting == "siren" else 2)


def test_ceilings_are_rates():
    found = ceilings.main(large=2**16, side=32)
    assert set(found) == {"bandwidth", "cache_bandwidth", "flops"} and min(found.values()) > 0


def test_peers_have_the_settings_of_the_book_s_studies_and_equal_threads():
    methods = registration.methods(threads=2)
    assert [m.label for m in methods][:2] == ["SyN [40,20,0]", "features, default"]
    assert {m.method for m in methods} == {"syn", "nevf", "greedy", "niftyreg", "dipy"}
    assert {m.threads for m in methods} == {2}
    assert methods[0].options == {"iterations": [40, 20, 0]}
    assert len(registration.methods(1, long=True)) == len(methods) + len(registration.LONG)


def test_without_brains_there_is_one_line_and_no_registration(monkeypatch, capsys):
    monkeypatch.setattr("nevf_lite.data.available", list)
    monkeypatch.setattr(command, "_in_process", lambda module, *_, **given: [])
    monkeypatch.setattr(command, "iterations", lambda *_: [])
    assert list(command.measurements(command.make_parser().parse_args([]))) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "NEVF_DATA" in line


def test_quick_leaves_out_the_head_at_1_mm(monkeypatch):
    asked = []
    options = command.make_parser().parse_args(["--quick"])
    monkeypatch.setattr(command, "_in_process", lambda *_, **given: asked.append(given) or [])
    monkeypatch.setattr(command, "iterations", lambda *given: asked.append(given) or [])
    list(command.measurements(options))
    spacings = {given["spacing"] if isinstance(given, dict) else given[1] for given in asked}
    assert spacings == {4, 2}
    assert not any(given["compiled"] for given in asked if isinstance(given, dict))


def made_up_run(case: str = "pull 4 mm") -> dict:
    found = {"case": case, "kind": "kernel", "backend": "torch", "seconds": 0.1, "ratio": 1.0}
    found |= {"bytes": 100, "flops": 10, "trajectory": [[0, 0.3], [1, 0.5]]}
    return {**record.describe_run(1, "cpu"), "ceilings": {"bandwidth": 1e3}, "cases": [found]}


def test_a_run_is_added_to_the_file_of_its_machine(tmp_path):
    record.append(made_up_run("first"), tmp_path)
    path = record.append(made_up_run("second"), tmp_path)
    (file,) = tmp_path.iterdir()
    runs = json.loads(file.read_text())
    assert file == path and [run["cases"][0]["case"] for run in runs] == ["first", "second"]
    assert {"machine", "threads", "versions", "commit", "started", "load"} <= set(runs[0])


def test_the_table_holds_cases_and_ceilings():
    ceiling, case = csv.DictReader(io.StringIO(record.table(made_up_run())))
    assert (ceiling["kind"], ceiling["case"], ceiling["ratio"]) == (
        "ceiling",
        "bandwidth",
        "1000.0",
    )
    assert json.loads(case["trajectory"])[1] == [1, 0.5] and case["dice"] == ""


def test_the_book_s_table_is_one_of_the_recorded_runs():
    """A number in the chapter that no recorded run has would be nobody's."""
    recorded = [run for path in record.RUNS.glob("*.json") for run in json.loads(path.read_text())]
    assert record.TABLE.read_text(encoding="utf-8") in [record.table(run) for run in recorded]


def test_the_command_prints_a_line_a_case(monkeypatch, capsys):
    run = made_up_run()
    limits = {"bandwidth": 1e3, "flops": 1e3}
    monkeypatch.setattr(command, "_in_process", lambda *_, **__: limits)
    monkeypatch.setattr(command, "measurements", lambda _: iter(run["cases"]))
    command.main(["--json"])
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["of_ceiling"] == 1.0  # 100 bytes at 1000 a second took 0.1 s
    command.main([])
    assert capsys.readouterr().out.splitlines()[-1].startswith("pull 4 mm")


@pytest.mark.parametrize("kinds", [("kernel",), ("kernel", "registration")])
def test_only_a_whole_run_becomes_the_book_s(kinds, monkeypatch, tmp_path, capsys):
    """A quick run has no 1 mm and no peers, which the chapter draws."""
    found = [{**made_up_run()["cases"][0], "kind": kind} for kind in kinds]
    monkeypatch.setattr(command, "_in_process", lambda *_, **__: {"bandwidth": 1.0, "flops": 1.0})
    monkeypatch.setattr(command, "measurements", lambda _: iter(found))
    appended, shown = [], []
    monkeypatch.setattr(record, "append", lambda run: appended.append(run) or tmp_path)
    monkeypatch.setattr(record, "write_table", shown.append)
    command.main(["--json", "--record"])
    assert len(appended) == 1 and len(shown) == len(kinds) - 1
    assert {"load_after", "ceilings", "quick"} <= set(appended[0])


def test_a_commit_is_checked_out_beside_the_repository_and_leaves_nothing(monkeypatch, tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, stdout=-1)
        return done.stdout.decode()

    monkeypatch.setattr(commits, "ROOT", tmp_path)
    git("init", "--quiet")
    for text in ("then", "now"):
        (tmp_path / "file").write_text(text)
        git("add", "file")
        git("commit", "--quiet", "-m", text)
    with commits.checked_out("HEAD~1") as tree:
        assert (tree / "file").read_text() == "then"
    assert not tree.exists() and git("worktree", "list").count("\n") == 1
    with pytest.raises(SystemExit, match="benchmarks: git worktree add"), commits.checked_out("no"):
        pass


def test_a_table_goes_on_where_it_was_ended(tmp_path):
    columns = ("person", "dice", "machine", "commit")
    assert table.rows(tmp_path / "a.csv") == []
    for person in ("a", "b"):
        table.append(tmp_path / "a.csv", columns, {"person": person, "dice": 0.5})
    found = table.rows(tmp_path / "a.csv")
    assert [(row["person"], row["dice"]) for row in found] == [("a", "0.5"), ("b", "0.5")]
    assert all(row["machine"] for row in found)
