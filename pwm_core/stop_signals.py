# SPDX-License-Identifier: Apache-2.0
"""How a process is told to end: by Ctrl-C, by who started it, by a terminal that closes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_requested() -> threading.Event:
    """Return an event that is set once this process is told to end; from the main thread only.

    SIGHUP stays ignored in what ``nohup`` started. What was blocked since the process started, so
    that it would not end in the middle of its imports, is heard now. Whatever comes later changes
    nothing any more, not even while the interpreter ends.
    """
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return stopping


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C call ``act`` instead of what it did before.

    Without effect where it is ignored, as a shell has it for what runs in the background, and in
    threads that cannot say.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Let Ctrl-C wait, also for the processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
