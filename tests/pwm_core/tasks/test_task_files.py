# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.behaviours import Uniform
from pwm_core.data.collect import Job
from pwm_core.tasks import UnknownTaskError, all_tasks, get_task
from pwm_core.tasks.mjcf import MjcfTask, MjcfTaskError
from pwm_core.tasks.task_files import own_task, read, save, try_out
from pwm_core.workers import worker_pool

ROBOT = Path("robots/pendulum.xml")


@pytest.fixture
def pendulum(project: Path) -> MjcfTask:
    return own_task(ROBOT, "my_rewards:upright")


def test_a_saved_task_is_known_by_name(pendulum: MjcfTask, monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(UnknownTaskError):
        get_task("pendulum-upright")
    path = save(pendulum)
    assert path == Path("tasks/pendulum-upright.json")
    assert get_task("pendulum-upright").observation.size == 3
    assert [task.name for task in all_tasks("own")] == ["pendulum-upright"]
    with pytest.raises(UnknownTaskError, match="did you mean pendulum-upright"):
        get_task("pendulum-uprigth")
    monkeypatch.setenv("PWM_TASKS", str(tmp_path / "elsewhere"))
    assert all_tasks("own") == []


def test_what_is_read_is_what_was_saved(pendulum: MjcfTask, project: Path) -> None:
    described = replace(pendulum, control_step=0.04, episode_steps=9)
    found = read(save(described))
    assert found.mjcf.resolve() == (project / ROBOT).resolve()
    assert found.modules.resolve() == project.resolve()
    assert replace(found, mjcf=described.mjcf, modules=described.modules) == described


def test_a_project_can_be_moved_as_a_whole(pendulum: MjcfTask, project: Path) -> None:
    save(pendulum)
    moved = project / "moved"
    moved.mkdir()
    for thing in ("robots", "my_rewards.py", "tasks"):
        (project / thing).rename(moved / thing)
    program = "from pwm_core.tasks import get_task; get_task('pendulum-upright').make_single(0)"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=moved, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


def test_worker_processes_know_it(pendulum: MjcfTask) -> None:
    save(replace(pendulum, episode_steps=20))
    job = Job("pendulum-upright", Uniform(), 0, 1, 0)
    with worker_pool(1) as pool:
        (there,) = pool.submit(job.run).result()
    (here,) = job.run()
    np.testing.assert_array_equal(there.reward, here.reward)


def test_the_module_is_looked_for_here_then_beside_the_mjcf(project: Path) -> None:
    assert own_task(ROBOT, "my_rewards:upright").modules == project
    (project / "robots" / "beside.py").write_text("def walk(model, data, action):\n    return 1\n")
    assert own_task(ROBOT, "beside:walk").modules == (project / "robots").resolve()
    assert own_task(ROBOT, "nowhere:walk").modules == project


def test_names(project: Path) -> None:
    assert own_task(Path("My_Robot.v2.xml"), "rewards:walk_fast").name == "my-robot-v2-walk-fast"
    assert own_task(ROBOT, "my_rewards:upright", "spin").name == "spin"
    for name in ("../spin", "Spin", "spin ", "-spin", ""):
        with pytest.raises(MjcfTaskError, match="lower case letters"):
            save(replace(own_task(ROBOT, "my_rewards:upright"), name=name))
    assert not (project / "tasks").exists()


def test_trying_a_task_out_takes_a_real_decision(project: Path) -> None:
    assert try_out(own_task(ROBOT, "my_rewards:upright")).action.size == 1
    with pytest.raises(MjcfTaskError, match="a finite number was expected"):
        try_out(own_task(ROBOT, "my_rewards:endless"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("mjcf"), "is no task file: 'mjcf'"),
        (lambda content: content.pop("reward"), "is no task file: .*'reward'"),
        (lambda content: content.update(speed=3), "is no task file: .*'speed'"),
        (lambda content: content.pop("schema_version"), "is no task file: 'schema_version'"),
        (lambda content: content.update(schema_version=9), "schema version 9, 1 was expected"),
    ],
)
def test_a_file_that_was_tampered_with(pendulum: MjcfTask, change, message: str) -> None:
    path = save(pendulum)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(MjcfTaskError, match=f"pendulum-upright.json.*{message}"):
        get_task("pendulum-upright")


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_that_is_no_task(pendulum: MjcfTask, text: str) -> None:
    path = save(pendulum)
    path.write_text(text)
    with pytest.raises(MjcfTaskError, match=r"pendulum-upright.json is no task file"):
        get_task("pendulum-upright")
