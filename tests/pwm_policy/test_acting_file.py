# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pwm_policy.acting_file import ActingFile
from pwm_policy.registry import Acting, PolicyError

UPRIGHT = Acting("upright", "0" * 64)


def of(directory: Path | str) -> ActingFile:
    return ActingFile.of(str(directory), 7, "/robot1/policy_node")


def test_what_acts_is_found_by_the_next_process_until_it_is_removed(tmp_path: Path) -> None:
    assert of(tmp_path).found() is None
    for acting in (Acting("swing", "1" * 64), UPRIGHT):
        assert of(tmp_path).write(acting) == ""
        assert of(tmp_path).found() == acting
    assert [path.name for path in tmp_path.iterdir()] == ["7.robot1.policy_node.acting"]
    assert of(tmp_path).remove() == ""
    assert of(tmp_path).found() is None


def test_without_a_directory_nothing_is_kept() -> None:
    nowhere = of("")
    assert [nowhere.write(UPRIGHT), nowhere.remove()] == ["", ""]
    assert nowhere.found() is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"policy": "upright"}', b"\xff"])
def test_a_file_that_does_not_say_is_no_guess(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "7.robot1.policy_node.acting"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PolicyError, match="acting does not say which policy acted"):
        of(tmp_path).found()


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = of(tmp_path / "file")
    assert "cannot be written: Not a directory" in kept.write(UPRIGHT)
    with pytest.raises(PolicyError, match="cannot be read: Not a directory"):
        kept.found()
