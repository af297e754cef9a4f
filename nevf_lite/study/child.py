"""A child process and its parent: what each end does.

The parent sends one JSON document and waits for the one that comes back in a file. The child ends
when the parent does, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from nevf_lite.study.environment import with_threads


def run_module(
    module: str, document, threads: int, stopped: Callable[[], bool] = lambda: False
) -> list | str | None:
    """Run `python -m MODULE RESULT.json` in a new process with a JSON line on its standard input.

    document: what the line holds. threads: of every library in the process. stopped: as for
    `run_jobs`. Returns what the module has written to RESULT.json, or one line about why there is
    none, or None if it was stopped.
    """
    if stopped():
        return None
    environment = with_threads(threads)
    with tempfile.TemporaryDirectory(prefix="nevf-study-") as folder:
        result, log = Path(folder, "result.json"), Path(folder, "log.txt")
        environment["TMPDIR"] = folder  # removed with what a killed tool leaves in it
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(result)],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which kills the process
            )
        try:
            with contextlib.suppress(BrokenPipeError):  # the reason is in its log
                process.stdin.write(json.dumps(document).encode() + b"\n")
                process.stdin.flush()
            while not stopped():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.25)
                    break
            else:
                return None
        finally:
            _kill(process)
        try:
            return json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return _exit_reason(process.returncode, log)


def receive_document():
    """In a process of `run_module`: the document. From here on it ends when its parent does.

    Standard input becomes empty, so that a tool cannot read from the parent.
    """
    parent = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with os.fdopen(os.dup(parent), "rb", buffering=0) as pipe:
        document = json.loads(pipe.readline())
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    return document


def _end_with_parent(pipe: int) -> None:
    """Kill this process and its children when the parent ends and so closes the pipe."""
    while os.read(pipe, 4096):
        pass
    if hasattr(os, "killpg"):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _kill(process: subprocess.Popen) -> None:
    """Kill a process and its descendants, if it runs, and wait for its end."""
    import psutil

    if process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            for member in [parent, *parent.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _exit_reason(status: int, log: Path) -> str:
    """One line about a process that ended without a result."""
    if status >= 0:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"ended with exit status {status}: {last}"
    name = {s.value: s.name for s in signal.Signals}.get(-status, "unknown")
    hint = "; out of memory?" if -status == getattr(signal, "SIGKILL", 9) else ""
    return f"killed by signal {-status} ({name}{hint})"
