# SPDX-License-Identifier: Apache-2.0
"""Jobs over the machines of a Ray cluster: a pool like one of processes, that outlives its workers.

Every machine needs the same installation, and what jobs read and write at the same path.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from pwm_core.errors import PwmError

LOCAL = "local"
"""Address for a cluster of this machine alone that begins and ends with the pool."""
RETRIES = 3
"""How often a call is run again whose worker or machine has died."""
TIMEOUT = 10.0
"""Seconds to wait for an answer of the cluster."""


class ClusterError(PwmError):
    """The cluster cannot be reached, or a machine of it lacks something."""


class RayPool(Executor):
    """Run calls on a Ray cluster; a call whose worker died is run again, elsewhere if need be."""

    def __init__(
        self, address: str, workers: int, prepare: Callable[[], None] | None, gpus: int = 0
    ) -> None:
        """Connect to ``address``, or start ``workers`` processes here where that is ``local``.

        ``prepare`` goes before each call, which has ``gpus`` GPUs to itself. ``ClusterError``
        without Ray, when nothing answers, or when the cluster has nothing that calls can run on.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ClusterError(
                "--ray needs Ray: run make setup, or pip install '.[ray]' in a clone"
            ) from error
        own: dict[str, Any] = (
            {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
        )
        try:
            _require_answer(address)
            ray.init(address=address, **own)
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"no Ray cluster at {address!r} ({error}): start one with `ray start --head`, or "
                f"give --ray {LOCAL}; one that asks for a token needs RAY_AUTH_MODE=token here"
            ) from error
        there = ray.cluster_resources()
        for name, needed in {"CPU": 1, "GPU": gpus}.items():
            if there.get(name, 0) < needed:
                ray.shutdown()
                raise ClusterError(
                    f"the Ray cluster at {address!r} has {there.get(name, 0):g} {name}s, each call "
                    f"needs {needed} and would wait for ever: join a machine that has some by "
                    "`ray start`, or choose another --device"
                )
        self._ray, self._prepare, self._gpus = ray, prepare, gpus
        self._call = ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=gpus)(_call)

    @property
    def slots(self) -> int:
        """Number of calls that the cluster runs at a time."""
        there = self._ray.cluster_resources()
        count = there.get("GPU", 0) // self._gpus if self._gpus else there.get("CPU", 0)
        return max(1, int(count))

    def submit(self, function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """Run ``function`` somewhere; an exception of its own is the future's."""
        call = self._call.options(name=getattr(function, "__qualname__", "call"))
        answer = call.remote(Path.cwd(), self._prepare, function, args, keywords).future()
        result: Future[Any] = Future()
        answer.add_done_callback(lambda done: _pass_on(done, result))
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which drops the calls that still run."""
        self._ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise ``OSError`` unless something listens at ``host:port``; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), TIMEOUT).close()


def _call(
    directory: Path,
    prepare: Callable[[], None] | None,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    """Call ``function`` in the ``directory`` that the paths of its arguments start from."""
    if not directory.is_dir():
        raise ClusterError(
            f"{os.uname().nodename} has no {directory}: the machines of the cluster need a "
            "filesystem that all of them share, at the same path"
        )
    os.chdir(directory)
    if prepare:
        prepare()
    return function(*args, **keywords)


def _pass_on(done: Future[Any], result: Future[Any]) -> None:
    """Settle ``result`` by ``done``, with what was raised instead of Ray's wrapping of it."""
    error = done.exception()
    if error is None:
        result.set_result(done.result())
    else:
        lost = ClusterError(f"lost, with {RETRIES} more attempts: {error}")
        result.set_exception(getattr(error, "cause", lost))
