# SPDX-License-Identifier: Apache-2.0
"""How a process is told to end: by Ctrl-C, by who started it, by a terminal that closes."""

from __future__ import annotations

import signal
import threading

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop_requested() -> threading.Event:
    """Return an event that is set once this process is told to end; from the main thread only.

    SIGHUP stays ignored in what ``nohup`` started.
    """
    stopping = threading.Event()
    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: stopping.set())
    return stopping
