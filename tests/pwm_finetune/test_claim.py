# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pwm_finetune.claim import DirectoryTakenError, claim


def test_a_directory_is_one_nodes_until_that_ends(tmp_path: Path) -> None:
    """However it ends: here it is killed."""
    directory = tmp_path / "online"
    taken = (
        "import sys, pathlib, pwm_finetune.claim as c; held = c.claim(pathlib.Path(sys.argv[1]))"
    )
    script = f"{taken}; print('taken', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"taken\n"
    with pytest.raises(DirectoryTakenError, match="another fine-tuning node works in"):
        claim(directory)
    process.kill()
    process.communicate()
    claim(directory).close()


def test_where_there_are_no_locks_nobody_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    claim(tmp_path).close()


def test_a_lock_that_fails_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: Any, _: int) -> None:
        files.append(file)
        raise OSError(errno.EIO, "Input/output error")

    files: list[Any] = []
    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output error"):
        claim(tmp_path)
    assert files[0].closed
