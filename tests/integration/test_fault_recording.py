# SPDX-License-Identifier: Apache-2.0
"""A disk that takes no more ends the recording and nothing else."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pwm_core.data.formats.mcap import McapBag

LEFT = 20_000
"""Bytes that still go on a disk that is about to be full."""


@pytest.fixture
def robot(make_bundle, start_bridge, start_policy) -> list:
    """A robot that moves."""
    make_bundle("upright")
    return [start_bridge(mode="realtime"), start_policy()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_is_nearly_full_ends_the_recording_with_a_closed_file(
    robot, start, session, until, tmp_path: Path
) -> None:
    directory = tmp_path / "bags"
    recorder = start("pwm_bringup", "recorder", directory=str(directory), min_free_space=10**9)
    session.connect()
    wait_for_the_end(recorder, "bytes are free", session, until)
    require_a_robot_that_goes_on(robot, session, until)
    (file,) = directory.glob("*/*.mcap")
    assert file.read_bytes().endswith(b"\x89MCAP0\r\n")
    recorder.interrupt()
    assert recorder.wait(timeout=60) == 0


def test_a_limit_on_files_leaves_what_was_recorded(
    robot, start, session, until, reaction, tmp_path: Path
) -> None:
    """The kernel refuses to write, here for the size of the recorder's files."""
    directory = tmp_path / "bags"
    recorder = start("pwm_bringup", "recorder", directory=str(directory))

    def fill() -> None:
        size = sum(file.stat().st_size for file in directory.glob("*/*.mcap"))
        resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (size + LEFT, size + LEFT))

    record_until_full(recorder, fill, "File too large", session, until, reaction)
    require_a_robot_that_goes_on(robot, session, until)
    require_a_bag_without_end(directory)


def test_a_disk_without_space_leaves_what_was_recorded(
    robot, start, session, until, reaction, small_disk: Path
) -> None:
    directory = small_disk / "bags"
    recorder = start("pwm_bringup", "recorder", directory=str(directory), min_free_space=0)

    def fill() -> None:
        ballast = shutil.disk_usage(small_disk).free - LEFT
        with contextlib.suppress(OSError):  # the recorder may have taken what was left
            (small_disk / "ballast").write_bytes(bytes(ballast))

    record_until_full(recorder, fill, "No space left on device", session, until, reaction)
    require_a_robot_that_goes_on(robot, session, until)
    require_a_bag_without_end(directory)


def record_until_full(
    recorder, fill: Callable[[], None], refusal: str, session, until, reaction
) -> None:
    """Record a while, ``fill`` the disk and wait for the end of the recording."""
    session.connect()
    until(lambda: recorded(session) > 100, "messages on disk")
    least = recorded(session)
    since = time.monotonic()
    fill()
    wait_for_the_end(recorder, refusal, session, until)
    reaction(f"disk full ({refusal}; 20 kB left)", "recording ends, with its reason", since)
    assert recorded(session) >= least
    recorder.interrupt()
    assert recorder.wait(timeout=60) == 0


def wait_for_the_end(recorder, reason: str, session, until) -> None:
    """Wait for the end of the recording, which its node outlives."""
    until(lambda: any("recording ended" in line for line in recorder.tail), "the recorder's end")
    assert any(reason in line for line in recorder.tail)
    session.diagnostics.clear()
    until(lambda: "recorder" in session.diagnostics, "the recorder's diagnostics")


def require_a_robot_that_goes_on(robot: list, session, until) -> None:
    frames = len(session.frames)
    until(lambda: len(session.frames) > frames + 50, "a robot that goes on")
    assert [node.returncode for node in robot] == [None, None]


def require_a_bag_without_end(directory: Path) -> None:
    (folder,) = directory.iterdir()
    bag = McapBag(folder)
    assert bag.unclosed
    assert bag.episodes


def recorded(session) -> int:
    return int(session.diagnostics.get("recorder", {}).get("messages", 0))
