# SPDX-License-Identifier: Apache-2.0
"""A disk that takes no more ends the recording and nothing else."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from pwm_core.data.formats.mcap import McapBag


@pytest.mark.parametrize("kind", ["left free", "full"])
def test_a_full_disk_ends_the_recording_and_nothing_else(
    kind: str, make_bundle, start, start_bridge, start_policy, session, until, reaction, tmp_path
) -> None:
    """Full is what the kernel says, here for the size of the recorder's files."""
    make_bundle("upright")
    nodes = [start_bridge(mode="realtime"), start_policy()]
    free = {"min_free_space": 10**9} if kind == "left free" else {}
    recorder = start("pwm_bringup", "recorder", directory=str(tmp_path / "bags"), **free)
    session.connect()
    if kind == "full":
        until(lambda: recorded(session) > 100, "messages on disk")
        least = recorded(session)
        since = time.monotonic()
        limit = size(tmp_path) + 20_000
        resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (limit, limit))
        until(
            lambda: any("recording ended" in line for line in recorder.tail), "the recorder's end"
        )
        reaction("disk full (20 kB left) while recording", "recording ends, with its reason", since)
        assert any("File too large" in line for line in recorder.tail)
    else:
        least = 0
        until(
            lambda: any("recording ended" in line for line in recorder.tail), "the recorder's end"
        )
        assert any("bytes are free" in line for line in recorder.tail)
    session.diagnostics.clear()
    until(lambda: "recorder" in session.diagnostics, "the recorder's diagnostics")
    frames = len(session.frames)
    until(lambda: len(session.frames) > frames + 50, "a robot that goes on")
    assert [node.returncode for node in nodes] == [None, None]
    (folder,) = (tmp_path / "bags").iterdir()
    if kind == "full":
        bag = McapBag(folder)
        assert bag.unclosed
        assert bag.episodes
    else:
        (file,) = folder.glob("*.mcap")
        assert file.read_bytes().endswith(b"\x89MCAP0\r\n")
    recorder.interrupt()
    assert recorder.wait(timeout=60) == 0
    assert recorded(session) >= least


def recorded(session) -> int:
    return int(session.diagnostics.get("recorder", {}).get("messages", 0))


def size(tmp_path: Path) -> int:
    return sum(file.stat().st_size for file in (tmp_path / "bags").glob("*/*.mcap"))
