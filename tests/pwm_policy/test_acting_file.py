# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pwm_policy import acting_file
from pwm_policy.acting_file import ActingFile, Asked, OnTrial
from pwm_policy.registry import Acting, PolicyError

UPRIGHT = Acting("upright", "0" * 64)
ASKED = Asked(policy="swing", task="", policy_dir="/bundles", dry_run=False)


def of(directory: Path | str) -> ActingFile:
    return ActingFile.of(str(directory), 7, "/robot1/policy_node")


def test_what_acts_is_found_by_the_next_process_until_it_is_removed(tmp_path: Path) -> None:
    assert of(tmp_path).found() is None
    for acting in (Acting("swing", "1" * 64), UPRIGHT):
        assert of(tmp_path).write(acting, ASKED) == ""
        kept = of(tmp_path).found()
        assert kept is not None
        assert (kept.acting, kept.asked) == (acting, ASKED)
        assert kept.objection(ASKED) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["7.robot1.policy_node.acting"]
    assert of(tmp_path).remove() == ""
    assert of(tmp_path).found() is None


def test_a_trial_is_found_by_the_next_process_and_a_file_that_tells_of_none_is_read(
    tmp_path: Path,
) -> None:
    trial = OnTrial("upright", "swing", 30.0)
    assert of(tmp_path).write(UPRIGHT, ASKED, trial) == ""
    kept = of(tmp_path).found()
    assert kept is not None
    assert (kept.acting, kept.trial) == (UPRIGHT, trial)
    assert of(tmp_path).write(UPRIGHT, ASKED) == ""
    (path,) = tmp_path.iterdir()
    said = json.loads(path.read_text())
    assert said.pop("trial") is None
    for content in (said | {"trial": None}, said):  # an older node's file
        path.write_text(json.dumps(content))
        kept = of(tmp_path).found()
        assert kept is not None
        assert (kept.acting, kept.asked, kept.trial) == (UPRIGHT, ASKED, None)


@pytest.mark.parametrize(
    ("name", "value", "difference"),
    [
        ("policy", "upright", "policy was 'swing' and is 'upright'"),
        ("task", "cartpole-balance", "task was '' and is 'cartpole-balance'"),
        ("policy_dir", "/others", "policy_dir was '/bundles' and is '/others'"),
        ("dry_run", True, "dry_run was False and is True"),
    ],
)
def test_a_node_that_is_told_otherwise_does_not_go_on(
    tmp_path: Path, name: str, value: Any, difference: str
) -> None:
    assert of(tmp_path).write(UPRIGHT, ASKED) == ""
    kept = of(tmp_path).found()
    assert kept is not None
    assert kept.objection(replace(ASKED, **{name: value})) == difference


def test_nothing_goes_on_after_the_machine_was_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(acting_file, "BOOT", boot)
    boot.write_text("the first time\n")
    assert of(tmp_path).write(UPRIGHT, ASKED) == ""
    boot.write_text("the second time\n")
    kept = of(tmp_path).found()
    assert kept is not None
    assert kept.objection(ASKED) == "the machine was started again since"


def test_a_boot_that_nothing_tells_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(acting_file.boot()) == 36, "Linux says a UUID"
    monkeypatch.setattr(acting_file, "BOOT", tmp_path / "nowhere")
    assert of(tmp_path).write(UPRIGHT, ASKED) == ""
    kept = of(tmp_path).found()
    assert kept is not None
    assert kept.objection(ASKED) == ""


def test_without_a_directory_nothing_is_kept() -> None:
    nowhere = of("")
    assert [nowhere.write(UPRIGHT, ASKED), nowhere.remove()] == ["", ""]
    assert nowhere.found() is None


@pytest.mark.parametrize(
    "content",
    [
        *("", "{}", "[1]", b"\xff", '{"policy": "upright", "sha256": "0"}'),
        '{"acting": {"policy": "upright", "sha256": "0"}, "asked": {"dry_run": true}, "boot": ""}',
        '{"acting": {"policy": "upright", "sha256": "0"}, "trial": {"policy": "upright"}}',
    ],
)
def test_a_file_that_does_not_say_is_no_guess(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "7.robot1.policy_node.acting"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PolicyError, match="acting does not say which policy acted"):
        of(tmp_path).found()


def test_a_file_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = of(tmp_path / "file")
    assert "cannot be written: Not a directory" in kept.write(UPRIGHT, ASKED)
    with pytest.raises(PolicyError, match="cannot be read: Not a directory"):
        kept.found()


def test_what_cannot_be_written_leaves_nothing_older(tmp_path: Path) -> None:
    assert of(tmp_path).write(Acting("swing", "1" * 64), ASKED) == ""
    (tmp_path / ".7.robot1.policy_node.acting.new").mkdir()  # in the way of the new file
    objection = of(tmp_path).write(UPRIGHT, ASKED)
    assert objection.endswith("acting cannot be written: Is a directory")
    assert of(tmp_path).found() is None
