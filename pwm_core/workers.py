# SPDX-License-Identifier: Apache-2.0
"""Where jobs run side by side: processes that end with their command, or a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from pwm_core.cluster import RayPool
from pwm_core.stop_signals import interrupt_held


def job_pool(workers: int, ray: str | None, prepare: Callable[[], None] | None = None) -> Executor:
    """Return a pool on the Ray cluster at ``ray``, else one of processes of this machine."""
    return RayPool(ray, workers, prepare) if ray else worker_pool(workers, prepare)


class WorkerPool(ProcessPoolExecutor):
    """A pool of fresh processes that Ctrl-C ends without a word of theirs, as early as it comes.

    Processes are spawned, since the threads of EnvPool, MuJoCo and torch do not survive a fork.
    """

    def __init__(self, workers: int, prepare: Callable[[], None] | None = None) -> None:
        """Each process calls ``prepare`` once."""
        context = multiprocessing.get_context("spawn")
        super().__init__(workers, context, initializer=_begin, initargs=(prepare,))

    def submit(self, function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """Run ``function`` in a process, perhaps a new one."""
        with interrupt_held():  # a new one would answer with a traceback until it has begun
            return super().submit(function, *args, **keywords)


def worker_pool(workers: int, prepare: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of fresh processes of this machine; each calls ``prepare`` once."""
    return WorkerPool(workers, prepare)


def _begin(prepare: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: one message, that of the command
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare:
        prepare()


def _end_with_parent() -> None:
    """A killed command must not leave workers behind that write into its run directories."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
