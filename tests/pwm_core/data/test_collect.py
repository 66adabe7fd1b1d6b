# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.behaviours import Correlated, SamplingMpc, Uniform, correlated_noise
from pwm_core.data.collect import collect, plan
from pwm_core.data.dataset import Dataset, DatasetWriter
from pwm_core.data.summary import behaviour_rows
from pwm_core.tasks import get_task

TASKS = ("cartpole-swingup", "cartpole-balance")
BEHAVIOURS = [(Uniform(), 3), (Correlated(), 2)]


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
        (task, behaviour.name, number)
        for task in TASKS
        for behaviour, count in BEHAVIOURS
        for number in range(count)
    ]
    assert all(e.length == 500 for e in data.episodes)
    assert len({e.checksum for e in data.episodes}) == 10, "no episode is a copy"
    rows = behaviour_rows(data)
    assert [(r["behaviour"], r["episodes"]) for r in rows][:3] == [
        ("uniform", 3),
        ("correlated", 2),
        ("all", 5),
    ]
    assert rows[2]["best return"] == max(e.total_reward for e in data.of_task(TASKS[0]))


def test_two_workers_write_the_same_bytes(straight: Path, tmp_path: Path) -> None:
    collect(plan(TASKS, BEHAVIOURS, 5), tmp_path, workers=2)
    assert content(tmp_path) == content(straight)


def test_another_seed_gives_other_data(straight: Path, tmp_path: Path) -> None:
    collect(plan(TASKS[:1], [(Uniform(), 1)], 6), tmp_path, workers=1)
    assert Dataset(tmp_path).episodes[0].checksum != Dataset(straight).episodes[0].checksum


@pytest.mark.parametrize("written", [1, 2, 7])
def test_interrupted_collection_ends_in_the_same_bytes(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Interrupted between two episodes, also in the middle of a job, with half a row on disk."""
    append = DatasetWriter.append

    def interrupted(self: DatasetWriter, *arguments: object):
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


def test_correlated_noise_is_stationary_with_the_correlation_asked_for() -> None:
    noise = correlated_noise(np.random.default_rng(0), (400, 60, 2), 0.9)
    np.testing.assert_allclose(noise.std((0, 2)), 1, atol=0.15)
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(0.9, abs=0.02)
    assert abs((noise[..., 0] * noise[..., 1]).mean()) < 0.1


def test_sampling_mpc_is_deterministic_and_keeps_the_pole_up() -> None:
    task = dataclasses.replace(get_task("cartpole-balance"), episode_steps=40)
    first = SamplingMpc(noise=0.2, horizon=20).collect(task, 1, 3)
    again = SamplingMpc(noise=0.2, horizon=20).collect(task, 1, 3)
    np.testing.assert_array_equal(first.observation, again.observation)
    np.testing.assert_array_equal(first.action, again.action)
    assert first.observation.shape == (1, 41, 5)
    assert first.reward.shape == (1, 40)
    assert np.abs(first.action).max() <= 1
    assert first.reward.mean() > 1.6
    assert SamplingMpc(noise=0.2).name == "mpc-0.2"
