# SPDX-License-Identifier: Apache-2.0
"""Where tensors live, and how many threads work on them."""

from __future__ import annotations

import ctypes
import itertools
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


def choose_threads(
    label: str, step: Callable[[], object], choices: Sequence[int], seconds: float = 1.0
) -> int:
    """Time ``step`` with each number of threads in ``choices``, print, set and return the best.

    They take turns for ``seconds``, twice at least. The best is the smallest of those within a
    tenth of the fastest: small networks lose more by waking threads than they gain.
    """
    begin, fastest = time.perf_counter(), dict.fromkeys(sorted(choices), math.inf)
    for turn in itertools.count():
        for threads in fastest:
            torch.set_num_threads(threads)
            start = time.perf_counter()
            step()
            if turn:  # the first is to warm up
                fastest[threads] = min(fastest[threads], time.perf_counter() - start)
        if turn and time.perf_counter() - begin > seconds:
            break
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
