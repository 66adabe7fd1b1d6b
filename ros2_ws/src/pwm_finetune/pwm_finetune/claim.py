# SPDX-License-Identifier: Apache-2.0
"""One fine-tuning node per run directory. No ROS."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path
from typing import IO

from pwm_core.errors import PwmError

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)


class DirectoryTakenError(PwmError):
    """Another node works in the run directory."""


def claim(directory: Path) -> IO[bytes]:
    """Keep ``directory`` from others for as long as the file that is returned is open.

    Two nodes would write into the same episodes and each swap in candidates of its own. The end of
    a process, whatever it is, ends its claim. Where the file system knows no locks nobody is kept.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = open(directory / "lock", "ab")  # noqa: SIM115 (open as long as the claim)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise DirectoryTakenError(
            f"another fine-tuning node works in {directory}: end that one, or give this one a "
            "directory of its own"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            file.close()
            raise
    return file
