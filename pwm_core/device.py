# SPDX-License-Identifier: Apache-2.0
"""Where tensors live, and how many threads work on them."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Sequence

import torch

from pwm_core.errors import PwmError


def resolve_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PwmError(f"unknown device {name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PwmError(f"device {name!r}: this machine or this build of torch has no CUDA; use cpu")
    return device


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return ``tensor`` on ``device``; the host does not wait until it has got there.

    PyTorch keeps the page-locked copy until the device has read it.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def asking_waits(tensor: torch.Tensor) -> bool:
    """Return whether to read a number of ``tensor`` is to wait for its device."""
    return not tensor.is_cpu


def thread_choices(most: int) -> tuple[int, ...]:
    """Return the numbers of threads worth measuring up to ``most``: powers of two, and itself."""
    return *(2**power for power in range((most - 1).bit_length())), most


def seconds_of(step: Callable[[], object]) -> float:
    """Return how many seconds ``step`` takes."""
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def choose_threads(
    label: str, measured: Callable[[], float], choices: Sequence[int], seconds: float = 1.0
) -> int:
    """Have a step ``measured`` with each number of threads, print, set and return the best.

    ``measured`` returns the step's seconds. After once to warm up the ``choices`` take turns for
    ``seconds``, one turn at least: of steps so long that there is no second turn what disturbs for
    a moment is a small part. The best is the smallest of those within a tenth of the fastest: small
    networks lose more by waking threads than they gain.
    """
    fastest = dict.fromkeys(sorted(choices), math.inf)
    torch.set_num_threads(max(choices))
    measured()
    begin = time.perf_counter()
    while math.inf in fastest.values() or time.perf_counter() - begin < seconds:
        for threads, least in fastest.items():
            torch.set_num_threads(threads)
            fastest[threads] = min(least, measured())
    limit = 1.1 * min(fastest.values())
    best = next(threads for threads, least in fastest.items() if least <= limit)
    torch.set_num_threads(best)
    found = ", ".join(f"{least * 1e3:.3g} with {threads}" for threads, least in fastest.items())
    print(f"{label}: {best} CPU thread(s), of {found} (milliseconds a step)", file=sys.stderr)
    return best


def keep_freed_memory() -> None:
    """Keep freed memory in this process instead of giving it back to the system.

    Tensors of a few megabytes come and go thousands of times per second in training on a CPU; each
    time the system would hand out zeroed pages anew. Without effect where libc is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25)
