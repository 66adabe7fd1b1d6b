# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.data.behaviours import (
    Behaviour,
    BehaviourError,
    Correlated,
    SamplingMpc,
    ScriptedExpert,
    Trajectory,
    Uniform,
)
from pwm_core.data.collect import collect, plan
from pwm_core.data.dataset import Dataset, DatasetWriter, Episode
from pwm_core.data.merge import merge
from pwm_core.data.summary import behaviour_rows
from pwm_core.tasks import Task, get_task
from pwm_core.tasks.mjcf import MjcfTaskError
from pwm_core.tasks.shift import NOMINAL, Shift
from pwm_core.verbs.collect import Collect

TASKS = ("cartpole-swingup", "cartpole-balance")
BEHAVIOURS: list[tuple[Behaviour, int]] = [(Uniform(), 3), (Correlated(), 2)]


class ShortMpc(SamplingMpc):
    """Sampling MPC on a task cut short."""

    def collect(self, task: Task, episodes: int, seed: int) -> list[Trajectory]:
        return super().collect(dataclasses.replace(task, episode_steps=10), episodes, seed)


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("collect") / "straight"
    collect(plan(TASKS, BEHAVIOURS, 5), path, workers=1)
    return path


def test_jobs_cover_every_episode_once() -> None:
    jobs = plan(TASKS, BEHAVIOURS, 5)
    numbers = [(j.task, j.behaviour.name, j.first + i) for j in jobs for i in range(j.episodes)]
    assert len(numbers) == len(set(numbers)) == 10


def test_directory_holds_what_was_asked_for(straight: Path) -> None:
    data = Dataset(straight)
    data.validate()
    assert [(e.task, e.behaviour, e.seed) for e in data.episodes] == [
        (task, f"{behaviour.name}@5", number)
        for task in TASKS
        for behaviour, count in BEHAVIOURS
        for number in range(count)
    ]
    assert all(e.length == 500 for e in data.episodes)
    assert len({e.checksum for e in data.episodes}) == 10, "no episode is a copy"
    rows = behaviour_rows(data)
    assert [(r["behaviour"], r["episodes"]) for r in rows][:3] == [
        ("uniform@5", 3),
        ("correlated@5", 2),
        ("all", 5),
    ]
    assert "success rate" not in rows[0], "neither task says when it is solved"
    assert rows[2]["best return"] == max(e.total_reward for e in data.of_task(TASKS[0]))


def test_two_workers_write_the_same_bytes(straight: Path, tmp_path: Path) -> None:
    collect(plan(TASKS, BEHAVIOURS, 5), tmp_path, workers=2)
    assert content(tmp_path) == content(straight)


def test_another_seed_gives_other_data(straight: Path, tmp_path: Path) -> None:
    collect(plan(TASKS[:1], [(Uniform(), 1)], 6), tmp_path, workers=1)
    assert Dataset(tmp_path).episodes[0].checksum != Dataset(straight).episodes[0].checksum


def test_seeds_are_collected_into_one_directory_and_merged(tmp_path: Path) -> None:
    """Each under its own names, with the same episodes as elsewhere, and completed alone."""
    both, zero, one = tmp_path / "both", tmp_path / "zero", tmp_path / "one"
    for seed, count, path in [(0, 1, both), (1, 1, both), (1, 2, both), (0, 1, zero), (1, 2, one)]:
        collect(plan(TASKS[1:], [(Uniform(), count)], seed), path, workers=1)
    episodes = Dataset(both).episodes
    assert [(e.behaviour, e.seed) for e in episodes] == [
        ("uniform", 0),
        ("uniform@1", 0),
        ("uniform@1", 1),
    ]
    assert len({e.checksum for e in episodes}) == 3
    merge([Dataset(zero), Dataset(one)], tmp_path / "merged")
    merged = Dataset(tmp_path / "merged").episodes
    assert [(e.behaviour, e.seed, e.checksum) for e in merged] == [
        (e.behaviour, e.seed, e.checksum) for e in episodes
    ]


@pytest.mark.parametrize("written", [1, 2, 7])
def test_interrupted_collection_ends_in_the_same_bytes(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Interrupted between two episodes, also in the middle of a job, with half a row on disk."""
    append = DatasetWriter.append

    def interrupted(self: DatasetWriter, *arguments: Any) -> Episode:
        if len(self.episodes) == written:
            with open(self.path / "observation.f32", "ab") as file:
                file.write(b"half")
            raise KeyboardInterrupt
        return append(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect(plan(TASKS, BEHAVIOURS, 5), tmp_path, workers=1)
    assert len(Dataset(tmp_path).episodes) == written
    collect(plan(TASKS, BEHAVIOURS, 5), tmp_path, workers=1)
    assert content(tmp_path) == content(straight)


def test_complete_directory_is_left_as_it_is(straight: Path) -> None:
    before = content(straight)
    collect(plan(TASKS, BEHAVIOURS, 5), straight, workers=1)
    assert content(straight) == before


def test_open_loop_episodes_are_the_tasks_own(straight: Path) -> None:
    """Stored rewards and observations follow from the stored actions in a single world."""
    data = Dataset(straight)
    episode = data.of_task("cartpole-swingup")[0]
    observation, action = data.observation[episode.rows], data.action[episode.rows]
    environment = get_task("cartpole-swingup").make_single(0)
    x, cosine, sine, *velocity = observation[0].astype(float)
    environment.reset(seed=0)
    environment.data.qpos[:] = x, np.arctan2(sine, cosine)
    environment.data.qvel[:] = velocity
    for step in range(1, 6):
        seen, reward, *_ = environment.step(action[step])
        np.testing.assert_allclose(seen, observation[step], atol=1e-3)
        assert reward == pytest.approx(data.reward[episode.start + step], abs=1e-4)


def test_counts_do_not_change_an_episode(straight: Path, tmp_path: Path) -> None:
    """Extending data from an odd number of episodes comes to the same as collecting at once."""
    for count in (1, 2, 3):
        collect(plan(TASKS[:1], [(Uniform(), count)], 5), tmp_path, workers=1)
    extended, at_once = Dataset(tmp_path).episodes, Dataset(straight).of_task(TASKS[0])
    assert len(extended) == 3
    assert [e.checksum for e in extended] == [
        e.checksum for e in at_once if e.behaviour == "uniform@5"
    ]


def test_mpc_episodes_do_not_depend_on_their_number() -> None:
    """Episodes of a block share random numbers, so a block is always collected whole."""
    one, two = (plan(TASKS[:1], [(ShortMpc(), count)], 5)[0].run() for count in (1, 2))
    assert [len(one), len(two)] == [1, 2]
    np.testing.assert_array_equal(one[0].observation, two[0].observation)


def test_each_task_gets_the_behaviours_that_suit_it() -> None:
    tasks = ("cartpole-balance", "mw-reach", "gym-hopper")
    behaviours: list[tuple[Behaviour, int]] = [
        (Uniform(), 1),
        (SamplingMpc(), 1),
        (ScriptedExpert(0.3), 11),
        (Correlated(), 0),
    ]
    jobs = plan(tasks, behaviours, 0)
    assert [(j.task, j.behaviour.name, j.first, j.episodes) for j in jobs] == [
        ("cartpole-balance", "uniform", 0, 1),
        ("cartpole-balance", "mpc-0", 0, 1),
        ("mw-reach", "uniform", 0, 1),
        ("mw-reach", "expert-0.3", 0, 10),
        ("mw-reach", "expert-0.3", 10, 1),
        ("gym-hopper", "uniform", 0, 1),
        ("gym-hopper", "mpc-0", 0, 1),
    ]


def test_a_task_that_nothing_suits_is_named() -> None:
    with pytest.raises(BehaviourError, match=r"gym-hopper: no .* \(asked: expert-0\)"):
        plan(["gym-hopper"], [(ScriptedExpert(), 1), (Uniform(), 0)], 0)


def test_one_command_collects_suites_side_by_side(tmp_path: Path) -> None:
    out = tmp_path / "data"
    tasks = ("cartpole-balance", "mw-reach", "gym-hopper")
    command = Collect(
        tasks=tasks,
        out=out,
        uniform=1,
        correlated=0,
        mpc=0,
        expert=1,
        expert_noise=(0.0,),
        workers=1,
    )
    assert command.run() == 0
    episodes = Dataset(out).episodes
    assert [(e.task, e.behaviour, e.terminated, e.success) for e in episodes] == [
        ("cartpole-balance", "uniform", False, None),
        ("mw-reach", "uniform", False, False),
        ("mw-reach", "expert-0", False, True),
        ("gym-hopper", "uniform", True, None),
    ]
    rates = {(r["task"], r["behaviour"]): r["success rate"] for r in behaviour_rows(Dataset(out))}
    assert rates["mw-reach", "all"] == 0.5
    assert rates["gym-hopper", "all"] is None
    assert episodes[1].length == 100
    assert episodes[3].length < 1000


ROBOT = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="hinge"/>
<geom size="0.1"/></body></worldbody>
<actuator><motor joint="hinge" ctrlrange="-1 1"/></actuator></mujoco>"""


def test_a_robot_of_ones_own_is_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWM_TASKS", str(tmp_path / "tasks"))
    (tmp_path / "robot.xml").write_text(ROBOT)
    (tmp_path / "collect_rewards.py").write_text(
        "def still(model, data, action):\n    return float(-abs(data.qvel[0]))\n"
    )
    command = Collect(
        mjcf=tmp_path / "robot.xml",
        reward="collect_rewards:still",
        out=tmp_path / "data",
        uniform=2,
        correlated=0,
        mpc=0,
        workers=1,
    )
    assert command.run() == 0
    data = Dataset(tmp_path / "data")
    assert [(e.task, e.length) for e in data.episodes] == [("robot-still", 500)] * 2
    before = content(tmp_path / "data")
    assert command.run() == 0
    assert content(tmp_path / "data") == before

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "robot.xml").write_text(ROBOT)
    (elsewhere / "collect_rewards.py").write_text((tmp_path / "collect_rewards.py").read_text())
    with pytest.raises(MjcfTaskError, match="pwm tasks add --name"):
        dataclasses.replace(command, mjcf=elsewhere / "robot.xml").run()
    (tmp_path / "other_rewards.py").write_text("def still(model, data, action):\n    return 1.0\n")
    with pytest.raises(MjcfTaskError, match=r"of .*/collect_rewards.py:still, not of .*/other_rew"):
        dataclasses.replace(command, reward="other_rewards:still").run()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(MjcfTaskError, match=r"not of .*/elsewhere/collect_rewards.py:still: give"):
        command.run()
    assert content(tmp_path / "data") == before
    with pytest.raises(MjcfTaskError, match="--reward"):
        Collect(mjcf=tmp_path / "robot.xml", out=tmp_path / "other").run()


def test_a_shifted_robot_has_data_of_its_own(tmp_path: Path) -> None:
    """Under its own name, from other worlds, described as the task is; and nobody plans on it."""
    behaviours: list[tuple[Behaviour, int]] = [(Uniform(), 1), (SamplingMpc(), 1)]
    for shift in (NOMINAL, Shift(actuator_gain=0.6)):
        collect(plan(TASKS[:1], [(Uniform(), 1)], 5, shift), tmp_path, workers=1)
    data = Dataset(tmp_path)
    assert [e.behaviour for e in data.episodes] == ["uniform@5", "uniform+actuator_gain=0.6@5"]
    nominal, shifted = (data.trajectory(e) for e in data.episodes)
    np.testing.assert_array_equal(nominal.action, shifted.action)
    assert np.abs(nominal.observation - shifted.observation).max() > 0.01
    planned = plan(TASKS[:1], behaviours, 5, Shift(actuator_gain=0.6))
    assert [job.behaviour.name for job in planned] == ["uniform"]
