# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pwm_policy.acting_file import ActingFile, Asked, OnTrial
from pwm_policy.acting_keeper import ActingKeeper
from pwm_policy.registry import Acting

ASKED = Asked(policy="swing", task="", policy_dir="/bundles", dry_run=False)


def policy(number: int) -> Acting:
    return Acting(f"policy_{number}", f"{number:064x}")


class SlowFile(ActingFile):
    """A file on a disk that waits to be let go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = threading.Event()
        self.written: list[OnTrial | None] = []

    def write(self, acting: Acting, asked: Asked, trial: OnTrial | None = None) -> str:
        assert self.go_on.wait(60)
        self.written.append(trial)
        return super().write(acting, asked, trial)

    def remove(self) -> str:
        assert self.go_on.wait(60)
        return super().remove()


class Rig:
    """A keeper of a file on a slow disk."""

    def __init__(self, directory: Path) -> None:
        self.file = SlowFile(directory / "node.acting")
        self.warnings: list[str] = []
        self.keeper = ActingKeeper(self.file, self.warnings.append)

    def kept(self) -> Acting | None:
        """Let the disk go on; return what is on it when all is."""
        self.file.go_on.set()
        self.keeper.close()
        kept = self.file.found()
        return kept.acting if kept else None


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.kept()


def test_nobody_waits_for_the_disk_and_the_last_swap_wins(rig: Rig) -> None:
    rig.keeper.begin(policy(0), ASKED)
    for number in range(1, 50):
        rig.keeper.replace(policy(number))
    assert rig.file.found() is None, "the disk waits still"
    assert rig.kept() == policy(49)
    assert not rig.warnings


def test_the_end_wins_over_what_is_still_to_be_written(rig: Rig) -> None:
    rig.keeper.begin(policy(0), ASKED)
    rig.keeper.replace(policy(1))
    rig.keeper.end()
    rig.keeper.replace(policy(2))  # while the robot lands
    assert rig.kept() is None


def test_a_new_beginning_is_kept_after_the_end_before(rig: Rig) -> None:
    rig.keeper.begin(policy(0), ASKED)
    rig.keeper.end()
    rig.keeper.begin(policy(1), ASKED)
    assert rig.kept() == policy(1)


def test_a_trial_is_written_when_it_changes_and_goes_on_over_swaps(rig: Rig) -> None:
    """It is renewed every second: nobody wears a disk out for that."""
    trial = OnTrial("policy_1", "policy_0", 30.0)
    rig.keeper.try_out(trial)  # before the beginning nothing is kept
    rig.keeper.begin(policy(0), ASKED)
    for _ in range(50):
        rig.keeper.try_out(trial)
    rig.keeper.replace(policy(1))
    rig.keeper.try_out(None)
    assert rig.kept() == policy(1)
    assert rig.file.written == [trial, trial, None]


def test_before_the_beginning_nothing_is_kept(rig: Rig) -> None:
    rig.keeper.replace(policy(0))
    assert rig.kept() is None


def test_a_disk_that_takes_nothing_is_told(rig: Rig) -> None:
    rig.file.path = Path("/proc/nowhere/node.acting")
    rig.keeper.begin(policy(3), ASKED)
    assert rig.kept() is None
    assert [warning.partition(": ")[0] for warning in rig.warnings] == [
        "a new policy node would not go on with policy_3"
    ]
