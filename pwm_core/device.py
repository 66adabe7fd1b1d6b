# SPDX-License-Identifier: Apache-2.0
"""Where tensors live, and how many threads work on them."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable

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


def choose_threads(step: Callable[[], object], calls: int = 4) -> int:
    """Time ``step`` on one thread and on all cores, keep the faster setting and return it.

    Small networks lose more by waking threads than they gain.
    """
    seconds = {}
    for threads in {1, os.cpu_count() or 1}:
        torch.set_num_threads(threads)
        step()
        begin = time.perf_counter()
        for _ in range(calls):
            step()
        seconds[threads] = time.perf_counter() - begin
    best = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(best)
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
