# SPDX-License-Identifier: Apache-2.0
"""Minari, with its own library on the other side."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from minari.data_collector import EpisodeBuffer

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset, DatasetWriter, TaskInfo
from pwm_core.data.formats.minari import MinariDataset, export_minari
from pwm_core.data.formats.source import FormatError, import_sources
from pwm_core.tasks import UnknownTaskError, get_task

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
WIDE = Box(-np.inf, np.inf, (3,), np.float64)
PEDALS = Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of Minari datasets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def buffer(steps: int, seed: int, action: Box = PEDALS, size: int = 3) -> EpisodeBuffer:
    rng = np.random.default_rng(seed)
    ended = np.arange(steps) == steps - 1
    return EpisodeBuffer(
        observations=rng.normal(size=(steps + 1, size)),
        actions=rng.uniform(action.low, action.high, (steps, *action.shape)),
        rewards=rng.normal(size=steps),
        terminations=ended & (seed % 2 == 1),
        truncations=ended & (seed % 2 == 0),
        infos={},
    )


def make(identity: str, buffers: list[EpisodeBuffer], **spaces: Any) -> minari.MinariDataset:
    given = {"observation_space": WIDE, "action_space": PEDALS} | spaces
    return minari.create_dataset_from_buffers(identity, buffers, **given)


def test_an_export_is_read_back_by_minari(tiny_data: Path, root: Path) -> None:
    data = Dataset(tiny_data)
    assert main(["data", "export", str(tiny_data), "--out", str(root)]) == 0
    for name in data.tasks:
        loaded = minari.load_dataset(f"{name}-v0")
        task = get_task(name)
        assert loaded.observation_space == Box(-np.inf, np.inf, (5,), np.float32)
        assert loaded.action_space == task.make_single(0).action_space
        assert (loaded.total_episodes, loaded.total_steps) == (4, 2000)
        for stored, episode in zip(data.of_task(name), loaded.iterate_episodes(), strict=True):
            np.testing.assert_array_equal(episode.observations, data.observation[stored.rows])
            np.testing.assert_array_equal(episode.actions, data.action[stored.rows][1:])
            np.testing.assert_array_equal(episode.rewards, data.reward[stored.rows][1:])
            assert not episode.terminations.any()
            assert episode.truncations.tolist() == [False] * 499 + [True]
            assert "truncations" in repr(episode)


def test_there_and_back_is_the_same(tiny_data: Path, root: Path, tmp_path: Path) -> None:
    data = Dataset(tiny_data)
    names = export_minari(data, list(data.tasks), root)
    import_sources([MinariDataset(Path(name)) for name in names], tmp_path / "back")
    back = Dataset(tmp_path / "back")
    back.validate()
    assert back.tasks == data.tasks
    for name in data.tasks:
        checksums = [e.checksum for e in data.of_task(name)]
        assert [e.checksum for e in back.of_task(name)] == checksums
        assert back.of_task(name).behaviours == [f"{name}-v0"]


def test_terminations_and_success_survive(root: Path, tmp_path: Path) -> None:
    task = dataclasses.replace(
        TaskInfo.of(get_task("cartpole-swingup")), name="own", episodic=True, reports_success=True
    )
    writer = DatasetWriter(tmp_path / "data", [task])
    arrays = np.zeros((4, 5)), np.zeros((3, 1)), np.ones(3)
    outcomes = [(True, True), (False, False), (False, None)]
    for seed, outcome in enumerate(outcomes):
        writer.append("own", "x", seed, *arrays, *outcome)
    export_minari(Dataset(tmp_path / "data"), ["own"], root)
    loaded = minari.load_dataset("own-v0")
    assert [bool(e.terminations[-1]) for e in loaded.iterate_episodes()] == [True, False, False]
    import_sources([MinariDataset(Path("own-v0"))], tmp_path / "back")
    back = Dataset(tmp_path / "back")
    assert [(e.terminated, e.success) for e in back.episodes] == outcomes
    assert back.tasks == {"own": task}


@pytest.mark.parametrize("last", [True, False])
def test_success_is_that_of_the_last_decision(last: bool, root: Path, tmp_path: Path) -> None:
    reported = np.array([False, False, True, not last, last])
    make("solved-v0", [dataclasses.replace(buffer(4, 0), infos={"success": reported})])
    import_sources([MinariDataset(Path("solved-v0"), control_step=0.1)], tmp_path / "data")
    assert [e.success for e in Dataset(tmp_path / "data").episodes] == [last]


def test_one_of_several_tasks(tiny_data: Path, root: Path) -> None:
    words = ["data", "export", str(tiny_data), "--out", str(root), "--tasks", "cartpole-balance"]
    assert main(words) == 0
    assert [path.name for path in root.iterdir()] == ["cartpole-balance-v0"]


def test_an_export_never_overwrites_and_cleans_up_after_an_interrupt(
    tiny_data: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset(tiny_data)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pwm_core.data.formats.minari._buffer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            export_minari(data, ["cartpole-balance"], root)
    assert not (root / "cartpole-balance-v0").exists()
    export_minari(data, ["cartpole-balance"], root)
    assert [path.name for path in root.iterdir()] == ["cartpole-balance-v0"]
    with pytest.raises(FormatError, match="cartpole-balance-v0 exists: delete it or choose"):
        export_minari(data, ["cartpole-balance"], root)


def test_an_environment_we_know_gets_our_layouts(root: Path, tmp_path: Path) -> None:
    """Gymnasium's HalfCheetah, twenty random steps."""
    environment = gymnasium.make("HalfCheetah-v5", max_episode_steps=20)
    observation, _ = environment.reset(seed=0)
    environment.action_space.seed(0)
    observations, actions, rewards = [observation], [], []
    for _ in range(20):
        actions.append(environment.action_space.sample())
        observation, reward, *_ = environment.step(actions[-1])
        observations.append(observation)
        rewards.append(float(reward))
    ended = np.arange(20) == 19
    episode = EpisodeBuffer(
        observations=np.array(observations),
        actions=np.array(actions),
        rewards=rewards,
        terminations=np.zeros(20, bool),
        truncations=ended,
        infos={},
    )
    minari.create_dataset_from_buffers("mujoco/halfcheetah/short-v0", [episode], env=environment)
    import_sources([MinariDataset(Path("mujoco/halfcheetah/short-v0"))], tmp_path / "data")
    data = Dataset(tmp_path / "data")
    assert list(data.tasks) == ["gym-halfcheetah"]
    assert data.tasks["gym-halfcheetah"] == TaskInfo.of(get_task("gym-halfcheetah"))
    (stored,) = data.episodes
    assert stored.behaviour == "mujoco/halfcheetah/short-v0"
    np.testing.assert_allclose(data.observation[stored.rows], np.array(observations), rtol=1e-6)
    np.testing.assert_allclose(data.action[stored.rows][1:], np.array(actions), atol=1e-6)
    np.testing.assert_allclose(data.reward[stored.rows][1:], rewards, rtol=1e-5)


def test_an_unknown_environment_is_described_by_its_spaces(root: Path, tmp_path: Path) -> None:
    buffers = [buffer(7, 0), buffer(4, 1)]
    make("car-v0", buffers)
    with pytest.raises(FormatError, match=r"environment None is none of our tasks: .*--control-st"):
        MinariDataset(Path("car-v0"))
    out = tmp_path / "data"
    words = ["data", "import", "car-v0", "--format", "minari", "--out", str(out)]
    assert main([*words, "--control-step", "0.05"]) == 0
    data = Dataset(out)
    data.validate()
    task = data.tasks["car-v0"]
    assert (task.control_step, task.episode_steps, task.episodic) == (0.05, 7, True)
    assert task.observation.names == ("observation/0", "observation/1", "observation/2")
    np.testing.assert_array_equal(task.action.low, [-2, 0])
    np.testing.assert_array_equal(task.action.high, [2, 10])
    assert [e.terminated for e in data.episodes] == [False, True]
    for episode, original in zip(data.episodes, buffers, strict=True):
        units = task.action.to_units(data.action[episode.rows][1:])
        np.testing.assert_allclose(units, original.actions, atol=1e-5)


def test_observations_of_several_vectors_are_joined(root: Path, tmp_path: Path) -> None:
    space = Dict({"arm": Box(-1, 1, (2,), np.float64), "goal": Box(-1, 1, (1,), np.float64)})
    arm, goal = np.linspace(0, 1, 10).reshape(5, 2), np.full((5, 1), 0.5)
    episode = dataclasses.replace(buffer(4, 0), observations={"arm": arm, "goal": goal})
    make("reach-v0", [episode], observation_space=space)
    import_sources([MinariDataset(Path("reach-v0"), control_step=0.1)], tmp_path / "data")
    data = Dataset(tmp_path / "data")
    assert data.tasks["reach-v0"].observation.names == ("arm/0", "arm/1", "goal/0")
    np.testing.assert_allclose(data.observation, np.concatenate([arm, goal], 1), rtol=1e-6)


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"action_space": Discrete(3)}, r"actions are Discrete\(3\), expected a bounded box"),
        ({"action_space": Box(-np.inf, np.inf, (2,))}, "expected a bounded box with one axis"),
        ({"observation_space": Box(0, 1, (2, 2))}, "observation is Box.*, expected a box with one"),
    ],
)
def test_spaces_that_no_policy_has(spaces: dict, message: str, root: Path) -> None:
    make("odd-v0", [], **spaces)
    with pytest.raises(FormatError, match=message):
        MinariDataset(Path("odd-v0"), control_step=0.1)


def test_bad_datasets(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere-v0 is no Minari dataset: no metadata\.json"):
        MinariDataset(Path("nowhere-v0"))
    make("car-v0", [buffer(4, 0)])
    with pytest.raises(FormatError, match="has 3 observations, task cartpole-swingup has 5"):
        MinariDataset(Path("car-v0"), "cartpole-swingup")
    with pytest.raises(UnknownTaskError, match="unknown task 'cartpole-swingop': did you mean"):
        MinariDataset(Path("car-v0"), "cartpole-swingop")
    outside = buffer(4, 0)
    outside.actions[2, 1] = 11
    make("outside-v0", [outside])
    with pytest.raises(FormatError, match=r"outside-v0 episode 0: actions reach 1\.2, .*\[2, 1\]"):
        import_sources([MinariDataset(Path("outside-v0"), control_step=0.1)], tmp_path / "data")
    early = buffer(4, 0)
    early.terminations[1] = True
    make("early-v0", [early])
    with pytest.raises(FormatError, match=r"episode 0: terminations\[1\] is true before the last"):
        import_sources([MinariDataset(Path("early-v0"), control_step=0.1)], tmp_path / "early")
    file = root / "car-v0" / "data" / "metadata.json"
    file.write_text("{")
    with pytest.raises(FormatError, match="is no Minari dataset, or is damaged"):
        MinariDataset(Path("car-v0"))
