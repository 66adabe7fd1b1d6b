# SPDX-License-Identifier: Apache-2.0
"""What a node knows on disk, where it outlives the process. No ROS."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self


class KeptFile:
    """A file of one node; every method answers with what is wrong, or nothing."""

    SUFFIX: ClassVar[str]
    """What the file is called beside the node's domain and name."""

    def __init__(self, path: Path | None) -> None:
        """``path`` None: nothing is kept."""
        self.path = path

    @classmethod
    def of(cls, directory: str, domain: int, node: str) -> Self:
        """Return the file of ``node``, a full name, in ``directory``; empty: none."""
        name = f"{domain}{node.replace('/', '.')}{cls.SUFFIX}"
        return cls(Path(os.path.expandvars(directory)).expanduser() / name if directory else None)

    def prepare(self) -> str:
        """Make the directory; return why nothing could be kept there."""
        if self.path is None:
            return ""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return in_words(self.path, "made", error)
        writable = os.access(self.path.parent, os.W_OK | os.X_OK)
        return "" if writable else f"{self.path.parent} cannot be written to"

    def remove(self) -> str:
        """Forget."""
        if self.path is None:
            return ""
        try:
            self.path.unlink()
            sync(self.path.parent)
        except FileNotFoundError:
            return ""  # nothing was kept
        except OSError as error:
            return in_words(self.path, "removed", error)
        return ""


def sync(directory: Path) -> None:
    """Put the names in a directory on disk, whatever becomes of the machine."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_words(path: Path, done: str, error: OSError) -> str:
    """Return what could not be ``done`` with a file, and why."""
    return f"{path} cannot be {done}: {error.strerror}"
