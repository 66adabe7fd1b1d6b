# SPDX-License-Identifier: Apache-2.0
"""A latched emergency stop on disk, where it outlives the process. No ROS.

The file's presence is all that counts: one that was cut short is a latched stop too.
"""

from __future__ import annotations

from datetime import datetime, timezone

from pwm_core.files import write_atomically
from pwm_policy.kept_file import KeptFile, in_words, sync


class LatchFile(KeptFile):
    """The stop of one node. In doubt it holds: a file that cannot be looked for counts as there."""

    SUFFIX = ".stop"

    def found(self) -> str:
        """Return why the stop is latched from the start."""
        if self.path is None:
            return ""
        try:
            self.path.stat()
        except FileNotFoundError:
            return ""
        except OSError as error:
            return in_words(self.path, "looked for", error)
        return f"it was before this start, says {self.path}"

    def write(self) -> str:
        """Put the stop on disk, whatever becomes of the machine."""
        if self.path is None:
            return ""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            write_atomically(self.path, f"emergency stop latched at {now}\n")
            sync(self.path.parent)
        except OSError as error:
            return in_words(self.path, "written", error)
        return ""
