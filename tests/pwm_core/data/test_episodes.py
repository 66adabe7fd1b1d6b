# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data import episodes as module
from pwm_core.data.episodes import Episode, EpisodeTable, read_table, to_line
from pwm_core.data.schema import DatasetError


def some(count: int) -> list[Episode]:
    outcome = [None, True, False]
    return [
        Episode(
            f"task-{i % 3}",
            f"behaviour-{i % 2}",
            i,
            11 * i,
            10,
            i / 7,
            2**32 - 1 - i,
            i % 5 == 0,
            outcome[i % 3],
        )
        for i in range(count)
    ]


def test_a_table_is_the_list_of_its_episodes() -> None:
    listed = some(20)
    table = EpisodeTable.of(listed)
    assert len(table) == 20
    assert list(table) == listed
    assert [table[i] for i in range(20)] == listed
    assert table[-1] == listed[-1]
    assert list(table[3:7]) == listed[3:7]
    assert list(table[np.array([5, 2, 2])]) == [listed[5], listed[2], listed[2]]
    assert list(table.of_task("task-1")) == [e for e in listed if e.task == "task-1"]
    assert list(table.of_behaviour("behaviour-1")) == listed[1::2]
    assert list(table.of_task("nobody")) == []
    assert table.tasks == ["task-0", "task-1", "task-2"]
    assert table.behaviours == ["behaviour-0", "behaviour-1"]
    assert table.stop.tolist() == [e.rows.stop for e in listed]
    assert table.task_index(["task-2", "task-0"]).tolist()[:4] == [1, -1, 0, 1]
    with pytest.raises(IndexError):
        table[20]


def test_values_are_those_of_python_not_of_arrays() -> None:
    """So that a line written of them is JSON."""
    for episode in EpisodeTable.of(some(4)):
        assert to_line(episode) == to_line(some(4)[episode.seed])


def test_groups_come_in_the_order_of_their_first_episode() -> None:
    table = EpisodeTable.of(some(12)[::-1])
    groups = [table[places] for places in table.groups()]
    assert [(g[0].task, g[0].behaviour) for g in groups] == [
        (e.task, e.behaviour) for e in some(12)[::-1][:6]
    ]
    assert sorted(e.seed for group in groups for e in group) == list(range(12))


def test_it_grows_one_by_one() -> None:
    table = EpisodeTable.of()
    for episode in some(100):
        table.append(episode)
    assert list(table) == some(100)


@pytest.mark.parametrize("lines_at_once", [1, 7, 10**6])
def test_reading_is_the_same_in_chunks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines_at_once: int
) -> None:
    monkeypatch.setattr(module, "LINES_AT_ONCE", lines_at_once)
    file = tmp_path / "episodes.jsonl"
    content = "".join(map(to_line, some(50)))
    file.write_text(content + to_line(some(1)[0])[:-5])
    table, size = read_table(file)
    assert list(table) == some(50)
    assert size == len(content), "the line that is being written is not counted"


def test_lines_of_older_versions_have_fewer_fields(tmp_path: Path) -> None:
    old = {"task": "t", "behaviour": "b", "seed": 0, "start": 0, "length": 3}
    old |= {"total_reward": 1.5, "checksum": 7}
    file = tmp_path / "episodes.jsonl"
    file.write_text(json.dumps(old) + "\n")
    assert list(read_table(file)[0]) == [Episode("t", "b", 0, 0, 3, 1.5, 7, False, None)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": -1}, "start is -1 and length 10, expected >= 0 and >= 1"),
        ({"length": 0}, "start is 0 and length 0"),
        ({"start": 1.5}, r"start is 1\.5, expected a whole number"),
        ({"length": "9"}, "length is '9', expected a whole number"),
        ({"task": 3}, "task is 3, which it cannot be"),
        ({"total_reward": "3"}, "total_reward is '3'"),
        ({"terminated": "yes"}, "terminated is 'yes'"),
        ({"success": 2}, "success is 2"),
        ({"colour": "red"}, "fields are .*'colour'.*, expected"),
        ({"checksum": 2**33}, ""),
    ],
)
def test_a_tampered_line_is_named(tmp_path: Path, change: dict, message: str) -> None:
    lines = list(map(to_line, some(5)))
    lines[3] = json.dumps(json.loads(to_line(some(1)[0])) | change) + "\n"
    file = tmp_path / "episodes.jsonl"
    file.write_text("".join(lines))
    with pytest.raises(DatasetError, match=rf"episodes\.jsonl, line 4: not an episode .*{message}"):
        read_table(file)
