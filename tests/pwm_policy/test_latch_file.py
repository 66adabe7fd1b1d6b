# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from pwm_policy.latch_file import LatchFile


def of(directory: Path, domain: int = 7, node: str = "/robot1/policy_node") -> LatchFile:
    return LatchFile.of(str(directory), domain, node)


def test_a_stop_is_found_by_the_next_process_until_it_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "stops"
    assert (of(directory).prepare(), of(directory).found()) == ("", "")
    assert of(directory).write() == ""
    assert (of(directory).prepare(), of(directory).write()) == ("", ""), "a second time"
    assert str(directory / "7.robot1.policy_node.stop") in of(directory).found()
    assert of(directory).remove() == ""
    assert of(directory).found() == ""
    assert of(directory).remove() == ""
    assert list(directory.iterdir()) == []


def test_each_node_of_each_domain_has_its_own(tmp_path: Path) -> None:
    assert of(tmp_path).write() == ""
    assert not of(tmp_path, domain=8).found()
    assert not of(tmp_path, node="/robot2/policy_node").found()


def test_a_file_that_was_cut_short_is_a_stop(tmp_path: Path) -> None:
    (tmp_path / "7.robot1.policy_node.stop").touch()
    assert of(tmp_path).found()


def test_without_a_directory_nothing_is_kept() -> None:
    latch = LatchFile.of("", 0, "/policy_node")
    assert [latch.prepare(), latch.write(), latch.found(), latch.remove()] == [""] * 4


def test_home_and_variables_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STOPS", "stops")
    assert LatchFile.of("~/$STOPS", 0, "/policy_node").write() == ""
    assert (tmp_path / "stops" / "0.policy_node.stop").exists()


def test_a_directory_that_takes_nothing_is_told_and_holds_no_stop() -> None:
    latch = of(Path("/proc/nowhere"))
    assert latch.found() == ""
    for objection in (latch.prepare(), latch.write()):
        assert objection.startswith("/proc/nowhere/7.robot1.policy_node.stop cannot be ")
    assert latch.remove() == ""


def test_in_doubt_the_stop_holds(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    latch = of(tmp_path / "file")
    assert "cannot be looked for: Not a directory" in latch.found()
    assert "cannot be removed: Not a directory" in latch.remove()
