# SPDX-License-Identifier: Apache-2.0
"""Where tensors live, and how many threads work on them."""

from __future__ import annotations

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
