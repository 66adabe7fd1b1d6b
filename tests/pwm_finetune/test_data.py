# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.dataset import Dataset, TaskInfo
from pwm_core.data.split import split
from pwm_core.tasks import get_task
from pwm_finetune.data import HELD_OUT, TRAINING, Bounds, OnlineData
from pwm_finetune.transitions import Stretch

TASK = TaskInfo.of(get_task("cartpole-swingup"))
UNBOUNDED = Bounds(1e9, True, 5)
LENGTH = 20


def stretch(episode: int, length: int = LENGTH) -> Stretch:
    """The first entry of the observations is the number of the episode."""
    observation = np.full((length + 1, 5), episode, np.float32)
    action = np.zeros((length, 1), np.float32)
    return Stretch(episode, "policy", observation, action, np.ones(length), False)


def seeds(path: Path) -> list[int]:
    return [episode.seed for episode in Dataset(path).episodes]


def test_every_fifth_episode_is_held_out_for_good(tmp_path: Path) -> None:
    data = OnlineData(tmp_path, TASK, UNBOUNDED)
    for episode in range(12):
        data.add(stretch(episode))
    assert seeds(tmp_path / HELD_OUT) == [4, 9]
    again = OnlineData(tmp_path, TASK, UNBOUNDED)
    for episode in range(4):  # the robot counts from 0 again
        again.add(stretch(episode))
    assert seeds(tmp_path / HELD_OUT) == [4, 9, 14]
    assert seeds(tmp_path / TRAINING)[-3:] == [12, 13, 15]
    assert again.episodes == 16
    for name in (TRAINING, HELD_OUT):
        Dataset(tmp_path / name).validate()


def test_stretches_of_an_episode_stay_together(tmp_path: Path) -> None:
    data = OnlineData(tmp_path, TASK, Bounds(1e9, True, 2))
    for episode in (0, 0, 1, 1, 1, 2):
        data.add(stretch(episode))
    assert seeds(tmp_path / HELD_OUT) == [1, 1, 1]
    assert seeds(tmp_path / TRAINING) == [0, 0, 2]


def test_the_oldest_episodes_make_room(tmp_path: Path) -> None:
    size = 4 * (LENGTH + 1) * (5 + 1 + 1)
    data = OnlineData(tmp_path, TASK, Bounds(10.5 * size, True, 5))
    for episode in range(40):
        data.add(stretch(episode))
        data.make_room()
        assert data.bytes <= 10.5 * size
    assert seeds(tmp_path / TRAINING)[-1] == 38
    assert seeds(tmp_path / HELD_OUT)[-1] == 39
    assert seeds(tmp_path / TRAINING)[0] > 20
    trajectory = Dataset(tmp_path / TRAINING).episodes[0]
    kept = Dataset(tmp_path / TRAINING).trajectory(trajectory)
    assert kept.observation[0, 0] == trajectory.seed
    Dataset(tmp_path / TRAINING).validate()
    assert data.episodes == 40
    assert {path.name for path in tmp_path.iterdir()} == {TRAINING, HELD_OUT}


def test_room_is_made_when_there_is_time(tmp_path: Path) -> None:
    size = 4 * (LENGTH + 1) * (5 + 1 + 1)
    data = OnlineData(tmp_path, TASK, Bounds(10.5 * size, True, 5))
    for episode in range(14):
        data.add(stretch(episode))
    assert seeds(tmp_path / TRAINING)[0] == 0, "adding an episode writes no others anew"
    data.make_room()
    assert seeds(tmp_path / TRAINING)[0] > 0
    assert data.bytes <= 10.5 * size


def test_room_that_could_not_be_made_is_tried_for_after_the_next_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is not written to again and again."""
    size = 4 * (LENGTH + 1) * (5 + 1 + 1)
    data = OnlineData(tmp_path, TASK, Bounds(3.5 * size, True, 5))
    for episode in range(5):
        data.add(stretch(episode))
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "trajectory", full_disk)
        with pytest.raises(OSError, match="no space"):
            data.make_room()
        data.make_room()
    assert seeds(tmp_path / TRAINING) == [0, 1, 2, 3]
    data.add(stretch(5))
    data.make_room()
    assert data.bytes <= 3.5 * size


def full_disk(*_: object) -> None:
    raise OSError("no space left on device")


def test_or_recording_stops(tmp_path: Path) -> None:
    size = 4 * (LENGTH + 1) * (5 + 1 + 1)
    data = OnlineData(tmp_path, TASK, Bounds(3.5 * size, False, 5))
    for episode in range(10):
        data.add(stretch(episode))
    data.make_room()
    assert data.full
    assert seeds(tmp_path / TRAINING) == [0, 1, 2, 3]


@pytest.mark.parametrize("old_is_left", [True, False])
def test_a_crash_while_room_is_made_loses_nothing_newer(tmp_path: Path, old_is_left: bool) -> None:
    """The new dataset is complete, the old one not yet gone or half gone."""
    data = OnlineData(tmp_path, TASK, UNBOUNDED)
    for episode in range(8):
        data.add(stretch(episode))
    shutil.copytree(tmp_path / TRAINING, tmp_path / "training.kept")
    if not old_is_left:
        (tmp_path / TRAINING / "observation.f32").unlink()
    again = OnlineData(tmp_path, TASK, UNBOUNDED)
    assert again.transitions(TRAINING) == 7 * LENGTH
    assert seeds(tmp_path / TRAINING) == [0, 1, 2, 3, 5, 6, 7]


def test_a_snapshot_holds_out_what_was_held_out_and_does_not_grow(tmp_path: Path) -> None:
    data = OnlineData(tmp_path / "data", TASK, Bounds(1e9, True, 3))
    for episode in range(7):
        data.add(stretch(episode))
    share = data.snapshot(tmp_path / "round")
    for episode in range(7, 12):
        data.add(stretch(episode))
    training, judging = split(Dataset(tmp_path / "round").episodes, share)
    assert [e.seed for e in training] == [0, 1, 3, 4, 6]
    assert [e.seed for e in judging] == [2, 5]
    share = data.snapshot(tmp_path / "round")
    assert [e.seed for e in split(Dataset(tmp_path / "round").episodes, share)[1]] == [2, 5, 8, 11]


def test_short_stretches_are_left_out_but_count_as_episodes(tmp_path: Path) -> None:
    data = OnlineData(tmp_path, TASK, Bounds(1e9, True, 3, shortest=10))
    for episode, length in enumerate((9, 10, 20)):
        data.add(stretch(episode, length))
    assert seeds(tmp_path / TRAINING) == [1]
    assert seeds(tmp_path / HELD_OUT) == [2]
