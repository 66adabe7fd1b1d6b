# SPDX-License-Identifier: Apache-2.0
"""Who keeps the file of the acting policy, so that nobody who swaps waits for a disk. No ROS."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pwm_policy.acting_file import ActingFile, Asked, OnTrial
from pwm_policy.registry import Acting


class ActingKeeper:
    """Writes and removes on a thread of its own, in the order in which it is told.

    It is told by one thread at a time.
    """

    def __init__(self, file: ActingFile, warn: Callable[[str], object]) -> None:
        """``warn`` hears, on that thread, what the next node would not know."""
        self._file, self._warn = file, warn
        self._asked: Asked | None = None
        self._acting: Acting | None = None
        self._trial: OnTrial | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="acting_file")

    def begin(self, acting: Acting, asked: Asked) -> None:
        """Keep ``acting`` of a node that is told ``asked``, and what replaces it, from now on."""
        self._asked = asked
        self.replace(acting)

    def replace(self, acting: Acting) -> None:
        """Keep ``acting`` in place of what acted before; nothing before :meth:`begin`."""
        self._acting = acting
        self._keep()

    def try_out(self, trial: OnTrial | None) -> None:
        """Keep which policy is on trial, or that none is; said again it costs nothing."""
        if trial != self._trial:
            self._trial = trial
            self._keep()

    def end(self) -> None:
        """Keep nothing any more."""
        self._asked = None
        self._writer.submit(self._remove)

    def close(self) -> None:
        """Return when all is on disk."""
        self._writer.shutdown()

    def _keep(self) -> None:
        if self._asked is not None and self._acting is not None:
            self._writer.submit(self._write, self._acting, self._asked, self._trial)

    def _write(self, acting: Acting, asked: Asked, trial: OnTrial | None) -> None:
        if objection := self._file.write(acting, asked, trial):
            self._warn(f"a new policy node would not go on with {acting.policy}: {objection}")

    def _remove(self) -> None:
        if objection := self._file.remove():
            self._warn(f"a new policy node would act: {objection}")
