# SPDX-License-Identifier: Apache-2.0
"""Real Ray clusters of two workers on this machine."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import psutil
import pytest

from pwm_core.checkpoint import load_checkpoint
from pwm_core.cli import main
from pwm_core.cluster import LOCAL, ClusterError, RayPool
from pwm_core.data.behaviours import Behaviour, Uniform
from pwm_core.data.collect import collect, plan

TASKS = ("cartpole-swingup", "cartpole-balance")
PATIENCE = 120.0
"""Seconds; a busy machine takes its time to start Ray."""
START = [
    *("start", "--head", "--block", "--num-cpus=2"),
    *("--include-dashboard=false", "--disable-usage-stats"),
]
SMALL = [
    *("--iterations", "2", "--batch", "8", "--horizon", "3", "--device", "cpu"),
    *("--actor-hidden", "8", "--critic-hidden", "8", "--critics", "1"),
    *("--critic-passes", "1", "--critic-batches", "1", "--evaluate", "model"),
]


@pytest.fixture(scope="module", autouse=True)
def _token() -> Iterator[None]:
    """Clusters are protected, as by default; Ray looks once in the life of a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", uuid.uuid4().hex)
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *START, f"--port={port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as head:
        assert head.stdout is not None
        said = list(itertools.takewhile(lambda line: "--block" not in line, head.stdout))
        assert head.poll() is None, said
        yield f"127.0.0.1:{port}"
        head.terminate()
        head.stdout.read()


def busy_worker(command: int) -> psutil.Process:
    """Return a worker below the process ``command`` that collects at this moment."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for process in psutil.Process(command).children(recursive=True):
            try:
                if process.cmdline()[:1] == ["ray::Job.run"]:
                    return process
            except psutil.Error:
                continue  # it has just ended
        time.sleep(0.01)
    raise AssertionError("no worker began a job")


def test_a_killed_workers_job_is_run_again(tmp_path: Path) -> None:
    """The dataset is that of an undisturbed collection, byte for byte."""
    behaviours: list[tuple[Behaviour, int]] = [(Uniform(), 6)]
    collect(plan(TASKS, behaviours, 0), tmp_path / "plain", workers=1)
    options = ["--uniform", "6", "--correlated", "0", "--mpc", "0", "--expert", "0"]
    where = ["--out", str(tmp_path / "ray"), "--ray", "local", "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "pwm_core", "collect", "--tasks", *TASKS, *options, *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        busy_worker(command.pid).send_signal(signal.SIGKILL)
        _, said = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, said
    assert "collect: 12/12 episodes" in said
    for file in (tmp_path / "plain").iterdir():
        assert file.read_bytes() == (tmp_path / "ray" / file.name).read_bytes(), file.name


def test_extraction_and_evaluation_on_a_cluster(
    cluster: str,
    tiny_world_model: Path,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The policies and returns are those of this process; a failure leaves the others alone.

    Paths may be relative to where the command runs.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ray" / TASKS[1]).mkdir(parents=True)
    (tmp_path / "ray" / TASKS[1] / "config.json").write_text('{"stage": "collect", "config": {}}')
    where = ["--world-model", str(tiny_world_model), "--data", str(tiny_data), *SMALL, "--json"]
    assert main(["extract", "--tasks", TASKS[0], "--out", "here", *where]) == 0
    capsys.readouterr()
    assert main(["extract", "--out", "ray", *where, "--ray", cluster]) == 1
    printed = capsys.readouterr()
    assert [row["task"] for row in json.loads(printed.out)] == list(TASKS)
    assert "extract: 2/2 tasks" in printed.err
    assert f"FAILED: {TASKS[1]}: " in printed.err
    here, there = (
        load_checkpoint(tmp_path / out / TASKS[0] / "policy.safetensors")[0]
        for out in ("here", "ray")
    )
    for name in here:
        np.testing.assert_allclose(here[name], there[name], rtol=1e-5, atol=1e-6, err_msg=name)
    scores = []
    for options in (["--workers", "1"], ["--ray", cluster]):
        evaluate = ["eval", "--policies", "ray", "--episodes", "2", "--published", "none"]
        assert main([*evaluate, "--json", *options]) == 0
        (row,) = json.loads(capsys.readouterr().out)["tasks"]
        scores.append(row["mean return"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


def test_exceptions_come_back_as_they_were_raised(cluster: str) -> None:
    def prepare() -> None:
        os.environ["PREPARED"] = "yes"

    def prepared() -> tuple[str, int]:
        return os.environ["PREPARED"], os.getpid()

    with RayPool(cluster, 0, prepare) as pool:
        assert pool.slots == 2
        failing = pool.submit(int, "no number")
        calls = [pool.submit(prepared) for _ in range(4)]
        found = [future.result() for future in as_completed(calls)]
        with pytest.raises(ValueError, match="invalid literal"):
            failing.result()
    assert {word for word, _ in found} == {"yes"}
    assert os.getpid() not in {pid for _, pid in found}


def test_a_cluster_on_which_calls_would_wait_for_ever_is_refused(cluster: str) -> None:
    with pytest.raises(ClusterError, match=r"has 0 GPUs, each call needs 1"):
        RayPool(cluster, 0, None, gpus=1)
    with pytest.raises(ClusterError, match=r"at 'local' has 0 CPUs, each call needs 1"):
        RayPool(LOCAL, 0, None)


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Ray cluster at '{address}'"):
            RayPool(address, 0, None)
