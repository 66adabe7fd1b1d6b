# SPDX-License-Identifier: Apache-2.0
"""Refuse what makes a host wait for its device, or sends it something, on any machine.

On a CPU nothing waits, but the same operators are asked for: a number read from a tensor, a tensor
made of Python numbers, results whose shape depends on values, random numbers of a host's seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
WAITS = (
    aten._local_scalar_dense,  # item(), float(), if tensor
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.repeat_interleave,
)
SENDS = (aten.lift_fresh, aten.lift_fresh_copy)  # torch.tensor(…), new_tensor(…)
DRAWS = (
    aten.randn,
    aten.randn_like,
    aten.rand,
    aten.rand_like,
    aten.randperm,
    aten.normal_,
    aten.uniform_,
    aten.bernoulli_,
)
BOOLEAN = (torch.bool, torch.uint8)


class NoTransfer(TorchDispatchMode):
    """Raises ``AssertionError`` with the operator's name, and counts those it has let pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        packet = function.overloadpacket
        for kind, packets in (("waits", WAITS), ("sends", SENDS), ("draws", DRAWS)):
            if packet in packets:
                raise AssertionError(f"{function} {kind}")
        if packet is aten.index and any(
            index is not None and index.dtype in BOOLEAN for index in args[1]
        ):
            raise AssertionError(f"{function} by a mask waits")
        device = (kwargs or {}).get("device")
        if packet is aten._to_copy and device not in (None, args[0].device):
            raise AssertionError(f"{function} to another device")
        self.seen += 1
        return function(*args, **(kwargs or {}))
