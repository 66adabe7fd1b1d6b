# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while a verb runs in processes of its own: a line, status 130, and nobody goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PATIENCE = 250.0
"""Seconds to wait for what comes within a few on an idle machine."""
LINE = "interrupted; give the same command again to go on"
LONG = 30_000
"""Iterations and updates of minutes: no test waits for the last."""
TASKS = ("cartpole-swingup", "cartpole-balance")


class Command:
    """``pwm …`` in a process group of its own, as a terminal starts it."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._lines_before = {file: lines(file) for file in folder.rglob("*.jsonl")}
        words = [sys.executable, "-m", "pwm_core", *map(str, arguments)]
        self._errors = folder / "errors.txt"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with open(self._errors, "w") as errors:
            self.process = psutil.Popen(
                ["env", "--default-signal", *words],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                env=environment,
            )

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait(self, reached: Callable[[], object]) -> None:
        """Wait until ``reached`` returns something true."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, f"it ended by itself: {self.errors}"
            assert time.monotonic() < end, f"not within {PATIENCE} s: {self.errors}"
            time.sleep(0.01)

    def wait_for_lines(self, file: Path, more: int) -> None:
        """Wait until ``file`` has so many complete lines more than when the command began."""
        least = self._lines_before.get(file, 0) + more
        self.wait(lambda: lines(file) >= least)

    def mapped(self, library: str) -> bool:
        """Return whether the process has loaded ``library``, as it does early in its imports."""
        return library in Path(f"/proc/{self.process.pid}/maps").read_text()

    def workers(self) -> list[psutil.Process]:
        """Return the processes of the pool, as soon as their interpreters begin."""
        children = self.process.children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(_command(child))]

    def interrupt(self, all_processes: bool = True) -> None:
        """Interrupt all of its processes, as Ctrl-C does, or the first one alone; see it end."""
        others = self.process.children(recursive=True)
        send = os.killpg if all_processes else os.kill
        send(self.process.pid, signal.SIGINT)
        status = self.process.wait(PATIENCE)
        assert status == 130, self.errors
        _, alive = psutil.wait_procs(others, PATIENCE)
        assert alive == []
        before, line, after = self.errors.partition(LINE)
        assert line, self.errors
        assert after == "\n", "nothing is said after it"
        assert "Traceback" not in before

    def close(self) -> None:
        """Leave no process behind, whatever has failed."""
        for process in [*self.process.children(recursive=True), self.process]:
            process.kill()
        self.process.wait(PATIENCE)


def lines(file: Path) -> int:
    """Return how many complete lines there are, none where there is no file."""
    return file.read_text().count("\n") if file.is_file() else 0


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def pwm(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start a verb; what a failed test leaves running is killed."""
    started: list[Command] = []

    def start(*arguments: object) -> Command:
        started.append(Command(tmp_path, *arguments))
        return started[-1]

    yield start
    for command in started:
        if command.process.is_running():
            command.close()


@pytest.fixture
def extract(
    pwm: Callable[..., Command], tmp_path: Path, tiny_world_model: Path, tiny_data: Path
) -> Callable[..., Command]:
    """Start an extraction of both tasks for minutes."""
    sources = ["--world-model", tiny_world_model, "--data", tiny_data, "--out", tmp_path / "out"]
    small = ["--iterations", LONG, "--batch", 8, "--horizon", 3, "--actor-hidden", 16]
    small += ["--critic-hidden", 16, "--critic-passes", 1, "--evaluation-episodes", 1]
    return lambda *more: pwm("extract", *sources, *small, *more)


def test_while_it_is_imported(extract: Callable[..., Command]) -> None:
    command = extract()
    command.wait(lambda: command.mapped("libtorch_cpu"))
    command.interrupt()


def test_while_its_workers_are_imported(extract: Callable[..., Command]) -> None:
    command = extract("--workers", 2)
    command.wait(lambda: len(command.workers()) == 2)
    command.interrupt()


@pytest.mark.timeout(600)
def test_while_workers_iterate_and_then_it_goes_on(
    extract: Callable[..., Command], tmp_path: Path
) -> None:
    """Told alone, as by a supervisor, the command does not wait for its workers either."""
    metrics = [tmp_path / "out" / task / "metrics.jsonl" for task in TASKS]
    options = ["--workers", 2, "--threads", 1, "--evaluate-every", 100, "--evaluate", "model"]
    for more, all_processes in ((2, True), (1, False)):
        command = extract(*options)
        for file in metrics:
            command.wait_for_lines(file, more)
        command.interrupt(all_processes)
    for file in metrics:
        found = [json.loads(line)["step"] for line in file.read_text().splitlines()]
        assert found[:3] == [0, 100, 200], "evaluated once each"


@pytest.mark.parametrize(("every", "marks"), [(LONG, 1), (1, 3)], ids=["threads", "evaluation"])
def test_while_it_chooses_threads_and_while_it_evaluates(
    extract: Callable[..., Command], tmp_path: Path, every: int, marks: int
) -> None:
    """The choice follows the first evaluation; then there is little else than evaluations."""
    command = extract("--tasks", TASKS[0], "--evaluate-every", every)
    command.wait_for_lines(tmp_path / "out" / TASKS[0] / "metrics.jsonl", marks)
    command.interrupt()


def test_pretraining(pwm: Callable[..., Command], tmp_path: Path, tiny_data: Path) -> None:
    out = tmp_path / "out"
    small = ["--updates", LONG, "--transitions", 32, "--horizon", 4]
    command = pwm("pretrain", "--data", tiny_data, "--out", out, *small)
    command.wait((out / "config.json").is_file)
    command.interrupt()


@pytest.mark.timeout(600)
def test_collection_keeps_what_it_has(pwm: Callable[..., Command], tmp_path: Path) -> None:
    """All but the episode that is being written, which may be taken back."""
    episodes = tmp_path / "data" / "episodes.jsonl"
    noise = ["--uniform", 2000, "--correlated", 0, "--mpc", 0]
    for _ in range(2):
        command = pwm("collect", "--out", episodes.parent, *noise, "--workers", 2)
        command.wait_for_lines(episodes, 2)
        *kept, _ = episodes.read_text().splitlines()
        command.interrupt()
        found = episodes.read_text().splitlines()
        assert found[: len(kept)] == kept
        assert len(set(found)) == len(found)


def test_evaluation(pwm: Callable[..., Command], tmp_path: Path, tiny_policy: Path) -> None:
    second = tmp_path / "again" / "policy.safetensors"
    second.parent.mkdir()
    second.write_bytes(tiny_policy.read_bytes())
    many = ["--episodes", 500, "--workers", 2]
    command = pwm("eval", "--policies", tiny_policy, second, *many)
    command.wait(lambda: len(command.workers()) == 2)
    command.interrupt()


def test_study(pwm: Callable[..., Command], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = pwm("study", "action-dimensions", "--out", out, "--workers", 2)
    command.wait((out / "config.json").is_file)
    command.interrupt()


def test_finetuning(
    pwm: Callable[..., Command],
    tmp_path: Path,
    tiny_policy: Path,
    tiny_world_model: Path,
    tiny_data: Path,
) -> None:
    out = tmp_path / "out"
    sources = ["--policy", tiny_policy, "--world-model", tiny_world_model]
    sources += ["--data", tiny_data, "--offline", tiny_data]
    command = pwm("finetune", *sources, "--out", out, "--updates", LONG)
    command.wait(out.is_dir)
    command.interrupt()
