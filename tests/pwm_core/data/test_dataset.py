# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from pwm_core.data.dataset import (
    ARRAYS,
    Dataset,
    DatasetError,
    DatasetWriter,
    TaskInfo,
    Trajectory,
)
from pwm_core.layout import ObservationLayout
from pwm_core.tasks import get_task

SWINGUP = TaskInfo.of(get_task("cartpole-swingup"))
NARROW = dataclasses.replace(
    SWINGUP, name="narrow", observation=ObservationLayout(SWINGUP.observation.channels[:3])
)


def episode(steps: int, seed: int, observations: int = 5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(steps + 1, observations)).astype(np.float32),
        rng.uniform(-1, 1, (steps, 1)).astype(np.float32),
        rng.uniform(0, 2, steps).astype(np.float32),
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two tasks of different widths, three episodes."""
    path = tmp_path / "data"
    writer = DatasetWriter(path, [SWINGUP, NARROW])
    writer.append("cartpole-swingup", "noise", 0, *episode(4, 0))
    writer.append("narrow", "noise", 0, *episode(3, 1, 3))
    writer.append("cartpole-swingup", "mpc", 0, *episode(5, 2))
    return path


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_reads_back_what_was_written(directory: Path) -> None:
    data = Dataset(directory)
    data.validate()
    assert data.tasks == {"cartpole-swingup": SWINGUP, "narrow": NARROW}
    assert data.widths == (5, 1)
    assert [e.length for e in data.episodes] == [4, 3, 5]
    assert [e.start for e in data.episodes] == [0, 5, 9]
    assert len(data.observation) == 15
    observation, action, reward = episode(5, 2)
    last = data.of_task("cartpole-swingup")[1]
    assert (last.behaviour, last.total_reward) == ("mpc", pytest.approx(float(reward.sum())))
    np.testing.assert_array_equal(data.observation[last.rows], observation)
    np.testing.assert_array_equal(data.action[last.rows][1:], action)
    np.testing.assert_array_equal(data.reward[last.rows][1:], reward)


def test_first_row_has_no_action_and_narrow_tasks_are_padded_with_zeros(directory: Path) -> None:
    data = Dataset(directory)
    for e in data.episodes:
        assert np.isnan(data.action[e.start]).all()
        assert np.isnan(data.reward[e.start])
        assert np.isfinite(data.action[e.start + 1 : e.rows.stop]).all()
    narrow = data.of_task("narrow")[0]
    np.testing.assert_array_equal(data.observation[narrow.rows][:, 3:], 0)
    np.testing.assert_array_equal(data.observation[narrow.rows][:, :3], episode(3, 1, 3)[0])


def test_reopened_and_appended_equals_written_at_once(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for task, behaviour, arrays in (
        ("cartpole-swingup", "noise", episode(4, 0)),
        ("narrow", "noise", episode(3, 1, 3)),
        ("cartpole-swingup", "mpc", episode(5, 2)),
    ):
        DatasetWriter(other, [SWINGUP, NARROW]).append(task, behaviour, 0, *arrays)
    assert content(other) == content(directory)
    assert Dataset(other).fingerprint() == Dataset(directory).fingerprint()


def test_crash_while_the_table_was_written(directory: Path) -> None:
    """The arrays are whole, the line is not: the episode does not exist, and leaves no trace."""
    before = content(directory)
    DatasetWriter(directory, [SWINGUP, NARROW]).append("narrow", "x", 0, *episode(6, 3, 3))
    table = directory / "episodes.jsonl"
    table.write_bytes(table.read_bytes()[:-20])
    data = Dataset(directory)
    data.validate()
    assert len(data.episodes) == 3
    DatasetWriter(directory, [SWINGUP, NARROW])
    assert content(directory) == before


@pytest.mark.parametrize("name", ARRAYS)
def test_crash_while_an_array_was_written(directory: Path, name: str) -> None:
    before = content(directory)
    with open(directory / f"{name}.f32", "ab") as file:
        file.write(b"\x01\x02\x03\x04\x05")
    Dataset(directory).validate()
    writer = DatasetWriter(directory, [SWINGUP, NARROW])
    assert content(directory) == before
    writer.append("narrow", "x", 0, *episode(6, 3, 3))
    Dataset(directory).validate()


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("open_it", [Dataset, lambda p: DatasetWriter(p, [SWINGUP, NARROW])])
def test_truncated_array_is_refused_and_left_alone(directory: Path, name: str, open_it) -> None:
    file = directory / f"{name}.f32"
    file.write_bytes(file.read_bytes()[:-4])
    before = content(directory)
    with pytest.raises(DatasetError, match=rf"{name}\.f32 has \d+ bytes, .* truncated"):
        open_it(directory)
    assert content(directory) == before


@pytest.mark.parametrize("name", ARRAYS)
def test_missing_array_is_refused(directory: Path, name: str) -> None:
    (directory / f"{name}.f32").unlink()
    with pytest.raises(DatasetError, match=rf"{name}\.f32 has 0 bytes"):
        Dataset(directory)


@pytest.mark.parametrize(("name", "width"), [("observation", 5), ("action", 1), ("reward", 1)])
def test_tampered_byte_names_its_episode(directory: Path, name: str, width: int) -> None:
    file = directory / f"{name}.f32"
    changed = bytearray(file.read_bytes())
    changed[4 * width * 7] ^= 1  # row 7 belongs to the second episode
    file.write_bytes(changed)
    with pytest.raises(DatasetError, match=r"episode 1 \(narrow, noise 0\): checksum"):
        Dataset(directory).validate()


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("observation", (2, 1), np.nan, r"observation\[2, 1\] is not finite"),
        ("action", (3, 0), np.inf, r"action\[3, 0\] is not finite"),
        ("reward", (1,), np.nan, r"reward\[1\] is not finite"),
        ("reward", (1,), 1e39, r"reward\[1\] is not finite \(inf as float32\)"),
        ("action", (0, 0), -1.01, r"actions reach 1\.01, expected \[-1, 1\]"),
    ],
)
def test_bad_numbers_are_refused_and_nothing_is_written(
    directory: Path, name: str, place: tuple[int, ...], value: float, message: str
) -> None:
    arrays = {n: a.astype(float) for n, a in zip(ARRAYS, episode(4, 9), strict=True)}
    arrays[name][place] = value
    writer = DatasetWriter(directory, [SWINGUP, NARROW])
    before = content(directory)
    with pytest.raises(DatasetError, match=message):
        writer.append("cartpole-swingup", "x", 0, *arrays.values())
    assert content(directory) == before
    assert len(writer.episodes) == 3


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"observation": np.s_[:-1]}, r"observation is \(4, 5\), expected \(5, 5\)"),
        ({"observation": np.s_[:, :4]}, r"observation is \(5, 4\), expected \(5, 5\)"),
        ({"action": np.s_[:-1]}, r"action is \(3, 1\), expected \(4, 1\)"),
        ({"action": np.s_[:, 0]}, r"action is \(4,\), expected \(4, 1\)"),
        ({"reward": np.s_[:-1]}, r"observation is \(5, 5\), expected \(4, 5\)"),
        ({"observation": np.s_[:1], "action": np.s_[:0], "reward": np.s_[:0]}, "without a deci"),
    ],
)
def test_wrong_shapes_are_refused_and_nothing_is_written(
    directory: Path, cut: dict[str, object], message: str
) -> None:
    arrays = dict(zip(ARRAYS, episode(4, 9), strict=True))
    writer = DatasetWriter(directory, [SWINGUP, NARROW])
    before = content(directory)
    with pytest.raises(DatasetError, match=message):
        writer.append(
            "cartpole-swingup", "x", 0, *(a[cut.get(n, np.s_[:])] for n, a in arrays.items())
        )
    assert content(directory) == before


def test_a_directory_takes_any_of_its_tasks_and_new_ones_that_fit(directory: Path) -> None:
    third = dataclasses.replace(SWINGUP, name="third")
    DatasetWriter(directory, [NARROW]).append("narrow", "x", 0, *episode(6, 3, 3))
    DatasetWriter(directory, [third, SWINGUP]).append("third", "x", 0, *episode(2, 4))
    DatasetWriter(directory).append("cartpole-swingup", "x", 0, *episode(2, 4))
    data = Dataset(directory)
    data.validate()
    assert list(data.tasks) == ["cartpole-swingup", "narrow", "third"]
    assert data.episodes.tasks == ["cartpole-swingup", "narrow", "third"]
    assert [len(data.of_task(task)) for task in data.tasks] == [3, 2, 1]


def test_a_task_described_otherwise_is_refused_with_the_difference(directory: Path) -> None:
    before = content(directory)
    slower = dataclasses.replace(SWINGUP, control_step=0.5)
    with pytest.raises(DatasetError, match=r"swingup otherwise: control_step is 0\.5, expected 0"):
        DatasetWriter(directory, [NARROW, slower])
    first, *others = SWINGUP.observation.channels
    moved = ObservationLayout((dataclasses.replace(first, unit="mm"), *others))
    with pytest.raises(DatasetError, match=r"observation .*: unit is 'mm', expected 'm'"):
        DatasetWriter(directory, [dataclasses.replace(SWINGUP, observation=moved)])
    assert content(directory) == before


def test_a_task_too_wide_for_the_arrays_is_refused(tmp_path: Path) -> None:
    DatasetWriter(tmp_path, [NARROW])
    before = content(tmp_path)
    message = "cartpole-swingup has 5 observations, the arrays of .* hold 3: .* pwm data merge"
    with pytest.raises(DatasetError, match=message):
        DatasetWriter(tmp_path, [SWINGUP])
    assert content(tmp_path) == before


def test_a_new_directory_needs_a_task(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no task is given to start one"):
        DatasetWriter(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_several_at_once_equal_one_after_the_other(directory: Path, tmp_path: Path) -> None:
    together = tmp_path / "together"
    rows = [("cartpole-swingup", 0, episode(4, 0)), ("narrow", 1, episode(3, 1, 3))]
    writer = DatasetWriter(together, [SWINGUP, NARROW])
    writer.extend([Trajectory(task, "b", seed, *arrays) for task, seed, arrays in rows])
    alone = tmp_path / "alone"
    for task, seed, arrays in rows:
        DatasetWriter(alone, [SWINGUP, NARROW]).append(task, "b", seed, *arrays)
    assert content(together) == content(alone)


def test_one_bad_episode_of_several_and_none_is_written(directory: Path) -> None:
    before = content(directory)
    good, bad = episode(4, 0), episode(4, 1)
    bad[2][1] = np.nan
    writer = DatasetWriter(directory)
    pair = [Trajectory("cartpole-swingup", "new", i, *a) for i, a in enumerate((good, bad))]
    with pytest.raises(DatasetError, match=r"new episode 1: reward\[1\] is not finite \(nan"):
        writer.extend(pair)
    assert content(directory) == before
    with pytest.raises(DatasetError, match="has no task 'walker'; it has cartpole-swingup, narrow"):
        writer.append("walker", "new", 0, *good)


class FullDisk:
    """Makes ``os.fsync`` report a full disk at its ``number``-th call, after the bytes are out."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._fsync = os.fsync

    def __call__(self, handle: int) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._fsync(handle)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_full_disk_loses_only_what_is_being_written(
    directory: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whichever of the four files the disk refuses."""
    before = content(directory)
    writer = DatasetWriter(directory)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk(number))
        with pytest.raises(DatasetError, match=r"No space left .* MB are free .* 3 episodes befor"):
            writer.append("narrow", "x", 0, *episode(6, 3, 3))
    assert content(directory) == before
    writer.append("narrow", "x", 0, *episode(6, 3, 3))  # the same writer goes on
    Dataset(directory).validate()
    assert len(Dataset(directory).episodes) == 4


def test_a_real_limit_of_the_file_size_is_a_full_disk(directory: Path) -> None:
    """The system itself refuses bytes in the middle of an array."""
    before = content(directory)
    code = (
        "import resource, sys, numpy as np\n"
        "from pwm_core.data.dataset import DatasetWriter\n"
        "writer = DatasetWriter(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "writer.append('narrow', 'x', 0, np.ones((500, 3)), np.ones((499, 1)), np.ones(499))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, text=True)
    assert "DatasetError" in done.stderr
    assert "File too large" in done.stderr
    assert content(directory) == before


def test_an_interrupt_in_the_middle_leaves_no_trace(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    before = content(directory)
    writer = DatasetWriter(directory)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.append("narrow", "x", 0, *episode(6, 3, 3))
    assert content(directory) == before


@pytest.mark.parametrize("cuts", [0, 1, 2, 3])
def test_killed_while_a_failed_append_is_undone(
    directory: Path, monkeypatch: pytest.MonkeyPatch, cuts: int
) -> None:
    """The disk refuses the table's last line once it is out; ``cuts`` files are cut by then."""
    before, left = content(directory), [4 + cuts]
    appending = DatasetWriter(directory)

    def mortal(path: Path, mode: str) -> IO[Any]:
        if left[0] == 0:
            raise SystemExit("killed")
        left[0] -= 1
        return open(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk(4))
        patch.setattr("pwm_core.data.writer.open", mortal, raising=False)
        with pytest.raises(SystemExit, match="killed"):
            appending.append("narrow", "x", 0, *episode(6, 3, 3))
    data = Dataset(directory)
    data.validate()
    assert len(data.episodes) == (3 if cuts else 4)
    DatasetWriter(directory)
    if cuts:
        assert content(directory) == before


def test_two_writers_are_told_apart_before_they_mix_rows(directory: Path) -> None:
    first, second = DatasetWriter(directory), DatasetWriter(directory)
    first.append("narrow", "x", 0, *episode(6, 3, 3))
    after = content(directory)
    with pytest.raises(DatasetError, match="another process writes to it"):
        second.append("narrow", "x", 1, *episode(6, 4, 3))
    assert content(directory) == after


def test_reading_while_another_appends(directory: Path) -> None:
    """A reader sees whole episodes only, and its fingerprint does not move."""
    reader = Dataset(directory)
    fingerprint = reader.fingerprint()
    DatasetWriter(directory).append("narrow", "x", 0, *episode(6, 3, 3))
    assert len(reader.episodes) == 3
    assert reader.fingerprint() == fingerprint
    reader.validate()
    assert len(Dataset(directory).episodes) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        ("[]", "schema_version is None"),
        ('{"schema_version": 2}', "schema_version is 2, this version reads 1"),
        ('{"schema_version": 1}', "tasks cannot be read"),
        ('{"schema_version": 1, "tasks": [{"name": "x"}]}', "tasks cannot be read"),
    ],
)
def test_damaged_header(directory: Path, text: str | bytes, message: str) -> None:
    raw = text if isinstance(text, bytes) else text.encode()
    (directory / "dataset.json").write_bytes(raw)
    with pytest.raises(DatasetError, match=message) as caught:
        Dataset(directory)
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"task": "x"}\n', b"[1, 2]\n", b"\xff\n"])
def test_damaged_line_in_the_table(directory: Path, line: bytes) -> None:
    with open(directory / "episodes.jsonl", "ab") as file:
        file.write(line)
    with pytest.raises(DatasetError, match=r"episodes\.jsonl, line 4: not an episode"):
        Dataset(directory)


def test_no_dataset_and_no_episode(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere is no dataset: dataset\.json is missing"):
        Dataset(tmp_path / "nowhere")
    DatasetWriter(tmp_path / "empty", [SWINGUP])
    with pytest.raises(DatasetError, match="holds no complete episode yet"):
        Dataset(tmp_path / "empty")


def test_unknown_task_names_those_present(directory: Path) -> None:
    with pytest.raises(DatasetError, match="no task 'walker'; it has cartpole-swingup, narrow"):
        Dataset(directory).of_task("walker")


def test_fingerprint_changes_with_the_data(directory: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    first = Dataset(directory).fingerprint()
    assert Dataset(copy).fingerprint() == first
    DatasetWriter(copy, [SWINGUP, NARROW]).append("narrow", "x", 0, *episode(2, 1, 3))
    assert Dataset(copy).fingerprint() != first


def test_table_is_json_lines(directory: Path) -> None:
    lines = (directory / "episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["behaviour"] for line in lines] == ["noise", "noise", "mpc"]
