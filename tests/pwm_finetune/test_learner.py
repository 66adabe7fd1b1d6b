# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from pwm_finetune.learner import Learner, LearnerSettings, log_tail, progress


def learner(program: str, cores: str = "", timeout: float = 60.0) -> Learner:
    command = (sys.executable, "-I", "-S", "-c", program)
    return Learner(LearnerSettings(command, cores, (), (), False, 19, timeout))


def status_of(running: Learner) -> int:
    deadline = time.monotonic() + 60
    while (status := running.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


def test_it_gives_way_and_keeps_to_its_cores(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    running = learner("import os; print(os.nice(0), os.sched_getaffinity(0))", cores=str(core))
    running.start(["finetune"], tmp_path / "log")
    assert running.pid is not None
    assert status_of(running) == 0
    assert log_tail(tmp_path / "log", 1) == f"19 {{{core}}}"
    assert running.pid is None


def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    running = learner("import time; time.sleep(3600)", timeout=0.1)
    running.start([], tmp_path / "log")
    assert status_of(running) < 0


def test_one_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    running = Learner(LearnerSettings(("no-such-program",), "", (), (), False, 19, 60.0))
    running.start(["finetune"], tmp_path / "log")
    assert status_of(running) != 0
    assert "no-such-program" in log_tail(tmp_path / "log")


def test_stopping_ends_it_at_once(tmp_path: Path) -> None:
    running = learner("import time; time.sleep(3600)")
    running.start([], tmp_path / "log")
    pid = running.pid
    running.stop()
    assert running.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_progress_is_the_last_whole_line_of_the_latest_stage(tmp_path: Path) -> None:
    assert progress(tmp_path) == {}
    model = tmp_path / "run" / "world_model" / "metrics.jsonl"
    model.parent.mkdir(parents=True)
    model.write_text('{"step": 50}\n{"step": 100, "loss": 1.5}\n{"st')
    assert progress(tmp_path) == {"stage": "world model", "step": 100, "loss": 1.5}
    policy = tmp_path / "run" / "candidate" / "metrics.jsonl"
    policy.parent.mkdir()
    policy.write_text('{"step": 25}\n')
    assert progress(tmp_path) == {"stage": "policy", "step": 25}
