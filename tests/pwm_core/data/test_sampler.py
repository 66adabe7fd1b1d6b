# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, Episode, TaskInfo
from pwm_core.data.sampler import WindowSampler
from pwm_core.data.split import split
from pwm_core.tasks import get_task

NAMES = ("cartpole-swingup", "cartpole-balance")
LENGTHS = (6, 9, 4, 12, 5, 7, 30)


@pytest.fixture
def numbered(tmp_path: Path) -> Dataset:
    """Episodes whose numbers tell where they are from: episode in the first column, step second."""
    writer = DatasetWriter(tmp_path, [TaskInfo.of(get_task(name)) for name in NAMES])
    for number, steps in enumerate(LENGTHS):
        observation = np.zeros((steps + 1, 5), np.float32)
        observation[:, 0], observation[:, 1] = number, np.arange(steps + 1)
        step = np.arange(steps, dtype=np.float32)
        writer.append(NAMES[number % 2], "x", number, observation, step[:, None] / 100, step)
    return Dataset(tmp_path)


def sampler(data: Dataset, horizon: int = 4, batch: int = 3, seed: int = 0) -> WindowSampler:
    return WindowSampler(data, data.episodes, NAMES, horizon, batch, seed)


def test_windows_never_cross_an_episodes_edge(numbered: Dataset) -> None:
    draws = sampler(numbered)
    for k in range(60):
        windows = draws.batch(k)
        assert windows.observation.shape == (5, 3, 5)
        assert windows.action.shape == (4, 3, 1)
        assert windows.reward.shape == (4, 3)
        episode, step = windows.observation[..., 0], windows.observation[..., 1]
        assert (episode == episode[0]).all()
        assert torch.equal(step - step[0], torch.arange(5.0)[:, None].expand(5, 3))
        assert torch.equal(windows.reward, step[:-1]), "the reward leads to the next row"
        assert torch.allclose(windows.action[..., 0], step[:-1] / 100)
        assert torch.equal(windows.task, episode[0].long() % 2)


def test_every_episode_once_per_epoch_across_batch_edges(numbered: Dataset) -> None:
    draws = sampler(numbered, batch=3)  # seven episodes: batches span two epochs
    seen = torch.cat([draws.batch(k).observation[0, :, 0] for k in range(14)]).int().tolist()
    orders = [seen[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1, "epochs differ in order"


def test_batch_larger_than_the_dataset_visits_episodes_equally(numbered: Dataset) -> None:
    episodes = sampler(numbered, batch=70).batch(0).observation[0, :, 0].int().tolist()
    assert set(Counter(episodes).values()) == {10}


def test_all_offsets_are_drawn_the_last_one_too(numbered: Dataset) -> None:
    draws = sampler(numbered, batch=7)
    offsets = {number: set() for number in range(7)}
    for k in range(120):
        first = draws.batch(k).observation[0]
        for number, offset in zip(
            first[:, 0].int().tolist(), first[:, 1].int().tolist(), strict=True
        ):
            offsets[number].add(offset)
    for number, steps in enumerate(LENGTHS[:6]):
        assert offsets[number] == set(range(steps - 4 + 1))


def test_batch_k_depends_on_k_and_seed_only(numbered: Dataset) -> None:
    fresh, used = sampler(numbered), sampler(numbered)
    for k in (9, 0, 5, 2):
        used.batch(k)
    for k in (2, 9):
        for mine, theirs in zip(
            vars(fresh.batch(k)).values(), vars(used.batch(k)).values(), strict=True
        ):
            assert torch.equal(mine, theirs)
    other = sampler(numbered, seed=1)
    assert any(
        not torch.equal(other.batch(k).observation, fresh.batch(k).observation) for k in range(3)
    )


def test_episode_of_exactly_the_horizon_is_usable(numbered: Dataset) -> None:
    shortest = [e for e in numbered.episodes if e.length == 4]
    windows = WindowSampler(numbered, shortest, NAMES, 4, 2, 0).batch(3)
    assert (windows.observation[0, :, 1] == 0).all()


def test_the_end_of_an_episode_is_terminal_only_where_it_is(tmp_path: Path) -> None:
    """Episodes of many lengths, half of them terminated: marked at their last row, never else."""
    writer = DatasetWriter(tmp_path, [TaskInfo.of(get_task(NAMES[0]))])
    rng = np.random.default_rng(1)
    lengths = rng.integers(4, 40, 30)
    for number, steps in enumerate(lengths.tolist()):
        observation = np.zeros((steps + 1, 5), np.float32)
        observation[:, 0], observation[:, 1] = number, np.arange(steps + 1)
        arrays = observation, np.zeros((steps, 1)), np.zeros(steps)
        writer.append(NAMES[0], "x", number, *arrays, terminated=number % 2 == 0)
    data = Dataset(tmp_path)
    draws = sampler(data, batch=15)
    ends = 0
    for k in range(200):
        windows = draws.batch(k)
        episode, step = windows.observation[1:, :, 0].long(), windows.observation[1:, :, 1]
        expected = (episode % 2 == 0) & (step == torch.from_numpy(lengths)[episode])
        assert torch.equal(windows.terminal, expected.float())
        assert (episode == episode[0]).all()
        ends += int(expected[0].sum())
    assert ends > 100, "the ends were seen"


@pytest.fixture
def fallen(tmp_path: Path) -> Dataset:
    """Six episodes that terminated, shorter and longer than a window of 4; columns as above."""
    writer = DatasetWriter(tmp_path, [TaskInfo.of(get_task(NAMES[0]))])
    for number, steps in enumerate((1, 2, 3, 5, 9, 4)):
        observation = np.zeros((steps + 1, 5), np.float32)
        observation[:, 0], observation[:, 1] = number, np.arange(steps + 1)
        step = np.arange(1, steps + 1, dtype=np.float32)
        writer.append(NAMES[0], "x", number, observation, step[:, None] / 100, step, True)
    return Dataset(tmp_path)


def test_a_window_stays_in_a_terminal_state(fallen: Dataset) -> None:
    draws, length = sampler(fallen, batch=5), fallen.episodes.length.copy()
    for k in range(100):
        windows = draws.batch(k)
        episode, step = windows.observation[..., 0].long(), windows.observation[..., 1]
        last = torch.from_numpy(length)[episode[0]]
        expected = (step[0] + torch.arange(5.0)[:, None]).minimum(last)
        assert (episode == episode[0]).all()
        assert torch.equal(step, expected.to(step))
        behind = step[:-1] == last
        assert torch.equal(windows.decided == 0, behind)
        assert torch.equal(windows.terminal == 1, step[1:] == last)
        assert torch.equal(windows.reward, torch.where(behind, 0, step[1:]))


def test_the_last_decision_is_drawn_as_often_and_as_early_as_others(fallen: Dataset) -> None:
    """Nine decisions: each is first in a ninth of the windows, and second in all but the first."""
    draws = WindowSampler(fallen, [e for e in fallen.episodes if e.length == 9], NAMES, 4, 900, 0)
    step, decided = (lambda w: (w.observation[1:, :, 1], w.decided == 1))(draws.batch(0))
    for place in range(4):
        found = Counter(step[place][decided[place]].int().tolist())
        assert set(found) == set(range(1 + place, 10))
        assert all(60 < count < 150 for count in found.values()), "100 expected, deviation 9.4"


def test_every_row_can_be_drawn_in_some_window(numbered: Dataset) -> None:
    draws, seen = sampler(numbered, batch=7), set()
    for k in range(300):
        windows = draws.batch(k)
        for number, step in windows.observation[..., :2].reshape(-1, 2).int().tolist():
            seen.add((number, step))
    rows = [(e.seed, step) for e in numbered.episodes for step in range(e.length + 1)]
    assert seen == set(rows)


def test_shares_of_a_batch_are_its_windows(numbered: Dataset) -> None:
    draws = sampler(numbered, batch=5)
    for k in range(4):
        whole, shares = draws.batch(k), [draws.batch(k, slice(0, 2)), draws.batch(k, slice(2, 5))]
        for name, tensor in vars(whole).items():
            parts = [getattr(share, name) for share in shares]
            assert torch.equal(torch.cat(parts, min(1, tensor.ndim - 1)), tensor), name


def test_a_task_the_model_does_not_know_is_named(numbered: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"\['cartpole-balance'\] are none of the tasks"):
        WindowSampler(numbered, numbered.episodes, NAMES[:1], 4, 2, 0)


def test_a_file_cut_under_a_running_sampler_is_named(numbered: Dataset) -> None:
    draws = sampler(numbered, batch=7)
    file = numbered.path / "action.f32"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"action\.f32 was truncated while it was read"):
        draws.batch(0)


def test_short_episodes_and_none_are_refused(numbered: Dataset) -> None:
    with pytest.raises(DatasetError, match="has 4 decisions, fewer than the horizon 5"):
        sampler(numbered, horizon=5)
    with pytest.raises(DatasetError, match="no episodes to sample from"):
        WindowSampler(numbered, [], NAMES, 4, 2, 0)


def test_split_holds_out_of_every_behaviour_of_every_task(tiny_data: Path) -> None:
    episodes = Dataset(tiny_data).episodes
    training, held_out = split(episodes, 0.25)
    assert Counter(e.task for e in training) == dict.fromkeys(NAMES, 3)
    assert Counter(e.task for e in held_out) == dict.fromkeys(NAMES, 1)
    assert sorted([*training, *held_out], key=lambda e: e.start) == list(episodes)
    assert all(e.seed == 3 for e in held_out), "the last ones, whatever was collected before"


def test_split_of_few() -> None:
    one = [_episode(0)]
    assert [list(part) for part in split(one, 0.5)] == [one, []]
    two = [_episode(0), _episode(1)]
    assert [list(part) for part in split(two, 0.01)] == [two[:1], two[1:]]


def _episode(number: int) -> Episode:
    return Episode("t", "b", number, 10 * number, 9, 0.0, 0)
