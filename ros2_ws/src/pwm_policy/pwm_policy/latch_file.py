# SPDX-License-Identifier: Apache-2.0
"""A latched emergency stop on disk, where it outlives the process. No ROS.

The file's presence is all that counts: one that was cut short is a latched stop too.
"""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from pwm_core.files import write_atomically


class LatchFile:
    """The file of one node; every method answers with what is wrong, or nothing.

    In doubt the stop holds: a file that cannot be looked for counts as there.
    """

    def __init__(self, path: Path | None) -> None:
        """``path`` None: a stop is kept nowhere."""
        self._path = path

    @classmethod
    def of(cls, directory: str, domain: int, node: str) -> LatchFile:
        """Return the file of ``node``, a full name, in ``directory``; empty: none."""
        name = f"{domain}{node.replace('/', '.')}"
        return cls(Path(os.path.expandvars(directory)).expanduser() / name if directory else None)

    def prepare(self) -> str:
        """Make the directory; return why a stop could not be kept there."""
        if self._path is None:
            return ""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return _words(self._path, "made", error)
        writable = os.access(self._path.parent, os.W_OK | os.X_OK)
        return "" if writable else f"{self._path.parent} cannot be written to"

    def found(self) -> str:
        """Return why the stop is latched from the start."""
        if self._path is None:
            return ""
        try:
            self._path.stat()
        except FileNotFoundError:
            return ""
        except OSError as error:
            return _words(self._path, "looked for", error)
        return f"it was before this start, says {self._path}"

    def write(self) -> str:
        """Put the stop on disk, whatever becomes of the machine."""
        if self._path is None:
            return ""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            write_atomically(self._path, f"emergency stop latched at {now}\n")
            _sync(self._path.parent)
        except OSError as error:
            return _words(self._path, "written", error)
        return ""

    def remove(self) -> str:
        """Forget the stop."""
        if self._path is None:
            return ""
        try:
            self._path.unlink()
            _sync(self._path.parent)
        except FileNotFoundError:
            return ""  # the stop was latched without it
        except OSError as error:
            return _words(self._path, "removed", error)
        return ""


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _words(path: Path, done: str, error: OSError) -> str:
    return f"{path} cannot be {done}: {error.strerror}"
