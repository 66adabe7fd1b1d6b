# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, TaskInfo
from pwm_core.data.merge import merge
from pwm_core.layout import ObservationLayout
from pwm_core.tasks import get_task

WIDE = TaskInfo.of(get_task("cartpole-swingup"))
NARROW = dataclasses.replace(
    WIDE, name="narrow", observation=ObservationLayout(WIDE.observation.channels[:3])
)


def filled(path: Path, task: TaskInfo, behaviour: str, lengths: list[int]) -> Dataset:
    writer = DatasetWriter(path, [task])
    rng = np.random.default_rng(len(behaviour))
    for number, steps in enumerate(lengths):
        observation = rng.normal(size=(steps + 1, task.observation.size)).astype(np.float32)
        action, reward = rng.uniform(-1, 1, (steps, 1)), rng.normal(size=steps)
        writer.append(task.name, behaviour, number, observation, action, reward, number % 2 == 0)
    return Dataset(path)


def assert_same(mine: Dataset, theirs: Dataset) -> None:
    """Every episode of ``theirs`` is in ``mine``, number by number."""
    there = {(e.task, e.behaviour, e.seed): e for e in mine.episodes}
    for episode in theirs.episodes:
        found = there[episode.task, episode.behaviour, episode.seed]
        assert (found.terminated, found.length) == (episode.terminated, episode.length)
        copy, original = mine.trajectory(found), theirs.trajectory(episode)
        for field in ("observation", "action", "reward"):
            np.testing.assert_array_equal(vars(copy)[field], vars(original)[field])


def test_different_tasks_are_united_and_padded_anew(tmp_path: Path) -> None:
    narrow = filled(tmp_path / "narrow", NARROW, "noise", [4, 6])
    wide = filled(tmp_path / "wide", WIDE, "noise", [5])
    out = tmp_path / "both"
    words = ["data", "merge", str(narrow.path), str(wide.path), "--out", str(out)]
    assert main(words) == 0
    both = Dataset(out)
    both.validate()
    assert both.widths == (5, 1)
    assert narrow.widths == (3, 1)
    assert list(both.tasks) == ["narrow", "cartpole-swingup"]
    assert len(both.episodes) == 3
    assert_same(both, narrow)
    assert_same(both, wide)


def test_the_same_task_from_two_sources(tmp_path: Path) -> None:
    first = filled(tmp_path / "a", WIDE, "noise", [4, 6])
    second = filled(tmp_path / "b", WIDE, "planner", [5])
    merge([first, second], tmp_path / "out")
    both = Dataset(tmp_path / "out")
    assert [(e.behaviour, e.seed) for e in both.episodes] == [
        ("noise", 0),
        ("noise", 1),
        ("planner", 0),
    ]
    assert_same(both, first)
    assert_same(both, second)


def test_tasks_described_differently_are_refused_with_every_difference(tmp_path: Path) -> None:
    first = filled(tmp_path / "a", WIDE, "noise", [4])
    channels = list(WIDE.observation.channels)
    channels[1] = dataclasses.replace(channels[1], scale=2.0)
    other = dataclasses.replace(
        WIDE, observation=ObservationLayout(tuple(channels)), control_step=0.5
    )
    second = filled(tmp_path / "b", other, "noise", [4])
    message = r"b describes cartpole-swingup otherwise .*: scale is 2\.0, expected 1\.0; control_s"
    with pytest.raises(DatasetError, match=message):
        merge([first, second], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merge_goes_on_and_knows_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwm_core.data.writer.BLOCK_BYTES", 1)
    sources = [
        filled(tmp_path / "a", WIDE, "noise", [4, 6, 5]),
        filled(tmp_path / "b", NARROW, "planner", [5, 3]),
    ]
    extend = DatasetWriter.extend

    def interrupted(writer: DatasetWriter, block: list) -> list:
        if len(writer.episodes) == 4:
            raise KeyboardInterrupt
        return extend(writer, block)

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "extend", interrupted)
        with pytest.raises(KeyboardInterrupt):
            merge(sources, tmp_path / "out")
    assert len(Dataset(tmp_path / "out").episodes) == 4
    merge(sources, tmp_path / "out")
    merge(sources, tmp_path / "straight")
    assert Dataset(tmp_path / "out").fingerprint() == Dataset(tmp_path / "straight").fingerprint()


def test_other_content_under_the_same_name_is_refused(tmp_path: Path) -> None:
    first = filled(tmp_path / "a", WIDE, "noise", [4])
    second = filled(tmp_path / "b", WIDE, "noise", [5])
    with pytest.raises(
        DatasetError, match=r"b: cartpole-swingup, noise episode 0 is in .*out with"
    ):
        merge([first, second], tmp_path / "out")
    merge([first, first], tmp_path / "twice")
    assert len(Dataset(tmp_path / "twice").episodes) == 1


def test_nothing_to_merge_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "merge", "--out", str(tmp_path / "out")]) == 2
    assert "nothing to merge into" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_short_episodes_can_be_left_out(tmp_path: Path) -> None:
    data = filled(tmp_path / "a", WIDE, "noise", [4, 16, 15, 17])
    out = tmp_path / "out"
    assert main(["data", "merge", str(data.path), "--out", str(out), "--shortest", "16"]) == 0
    assert [e.length for e in Dataset(out).episodes] == [16, 17]
