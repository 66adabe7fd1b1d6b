# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter, TaskInfo
from pwm_core.data.episodes import Episode, to_line
from pwm_core.data.validation import problems
from pwm_core.tasks import get_task

BALANCE = TaskInfo.of(get_task("cartpole-balance"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Four episodes of three decisions: rows 0 to 15."""
    writer = DatasetWriter(tmp_path / "data", [BALANCE])
    for number in range(4):
        writer.append(BALANCE.name, "x", number, np.ones((4, 5)), np.zeros((3, 1)), np.ones(3))
    return tmp_path / "data"


def change(directory: Path, array: str, row: int, value: float, mend: bool = True) -> None:
    """Set the first number of a row, and with ``mend`` the checksums to what they are then."""
    width = {"observation": 5, "action": 1, "reward": 1}[array]
    stored = np.memmap(directory / f"{array}.f32", "<f4", "r+").reshape(-1, width)
    stored[row, 0] = value
    stored.flush()
    if mend:
        data = Dataset(directory)
        lines = [vars(e) | {"checksum": data.checksum(e)} for e in data.episodes]
        (directory / "episodes.jsonl").write_text("".join(to_line(Episode(**e)) for e in lines))


def test_a_whole_dataset_has_no_problem(directory: Path, capsys: pytest.CaptureFixture) -> None:
    read: list[int] = []
    assert list(problems(Dataset(directory), read.append)) == []
    assert read == [1, 2, 3, 4]
    assert main(["data", "validate", str(directory)]) == 0
    assert "4 episodes, checksums match, nothing wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("array", "row", "value", "message"),
    [
        ("observation", 5, np.nan, r"observation\[1, 0\] is nan, expected a finite number"),
        ("action", 5, np.inf, r"action\[0, 0\] is inf"),
        ("action", 6, 1.5, r"actions reach 1\.5, expected \[-1, 1\]"),
        ("action", 4, 0.5, r"action of row 0 is \[0\.5\], expected NaN"),
        ("reward", 4, 0.5, r"reward of row 0 is 0\.5, expected NaN"),
        ("reward", 6, 9.0, "total_reward is 3, its rewards add up to 11"),
    ],
)
def test_a_wrong_number_is_named_whatever_the_checksum(
    directory: Path, array: str, row: int, value: float, message: str
) -> None:
    change(directory, array, row, value)
    with pytest.raises(DatasetError, match=rf"episode 1 \(cartpole-balance, x 1\): {message}"):
        Dataset(directory).validate()


def test_every_damaged_episode_is_listed_and_the_status_is_3(
    directory: Path, capsys: pytest.CaptureFixture
) -> None:
    change(directory, "observation", 2, 7.0, mend=False)
    change(directory, "observation", 9, 7.0, mend=False)
    assert main(["data", "validate", str(directory)]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if "data was changed" in line]
    assert [line.split("episode ")[1][0] for line in lines] == ["0", "2"]
    assert main(["data", "validate", str(directory), "--most", "1"]) == 3
    assert capsys.readouterr().err.count("data was changed") == 1


def test_values_in_the_padding_are_found(tmp_path: Path) -> None:
    """A header that says the rows are wider than the task."""
    writer = DatasetWriter(tmp_path, [BALANCE])
    header = json.loads((tmp_path / "dataset.json").read_text())
    header["observation_width"] = 6
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    writer = DatasetWriter(tmp_path, [BALANCE])
    writer.append(BALANCE.name, "x", 0, np.ones((4, 5)), np.zeros((3, 1)), np.ones(3))
    Dataset(tmp_path).validate()
    stored = np.memmap(tmp_path / "observation.f32", "<f4", "r+", shape=(4, 6))
    stored[2, 5] = 1
    stored.flush()
    assert any("values beyond its 5 entries" in text for text in problems(Dataset(tmp_path)))


def test_rows_that_overlap_or_belong_to_nobody(directory: Path) -> None:
    table = directory / "episodes.jsonl"
    lines = [json.loads(line) for line in table.read_text().splitlines()]
    lines[2]["start"] = 7
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = list(problems(Dataset(directory)))
    assert "episode 2 starts at row 7, expected 8" in found[0]
    assert "episode 3 starts at row 12, expected 11" in found[1]
    assert "episode 2 (cartpole-balance, x 2): checksum" in found[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_width": 3}, "observation_width is 3, its tasks need 5 or more"),
        ({"action_width": None}, "action_width is None, its tasks need 1 or more"),
        ({"tasks": []}, "tasks is empty, expected at least one"),
        ({"tasks": 5}, "tasks cannot be read"),
    ],
)
def test_a_header_that_does_not_fit(directory: Path, change: dict, message: str) -> None:
    file = directory / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DatasetError, match=rf"dataset\.json: {message}"):
        Dataset(directory)


def test_an_episode_of_a_task_that_the_header_lacks(directory: Path) -> None:
    with open(directory / "episodes.jsonl", "a") as table:
        table.write(to_line(Episode("walker", "x", 0, 16, 3, 0.0, 0)))
    with pytest.raises(
        DatasetError, match=r"episodes\.jsonl: dataset\.json describes no task 'wal"
    ):
        Dataset(directory)
