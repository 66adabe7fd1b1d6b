# SPDX-License-Identifier: Apache-2.0
"""Where jobs run side by side: processes that end with their command, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor

from pwm_core.cluster import RayPool


def job_pool(workers: int, ray: str | None, prepare: Callable[[], None] | None = None) -> Executor:
    """Return a pool on the Ray cluster at ``ray``, else one of processes of this machine."""
    return RayPool(ray, workers, prepare) if ray else worker_pool(workers, prepare)


def worker_pool(workers: int, prepare: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of fresh processes; each calls ``prepare`` once.

    Processes are spawned, since the threads of EnvPool, MuJoCo and torch do not survive a fork.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(prepare,))


def _begin(prepare: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: one message, that of the command
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare:
        prepare()


def _end_with_parent() -> None:
    """A killed command must not leave workers behind that write into its run directories."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
