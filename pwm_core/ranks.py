# SPDX-License-Identifier: Apache-2.0
"""The processes of one training run that ``torchrun`` started, on one machine or on several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from pwm_core.errors import PwmError


class RanksError(PwmError):
    """The processes do not fit together, or one of them has ended."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run; the only one by default."""

    number: int = 0
    """This process's; the first is 0 and alone writes files."""
    count: int = 1
    on_machine: int = 0
    """Number among the processes of its machine, which is also that of its GPU."""

    @property
    def first(self) -> bool:
        return self.number == 0

    def device(self, device: torch.device) -> torch.device:
        """Return the process's own GPU where ``device`` leaves open which."""
        if self.count == 1 or device.type != "cuda" or device.index is not None:
            return device
        return torch.device("cuda", self.on_machine)

    def share(self, total: int) -> slice:
        """Return which of ``total`` windows are this process's; each is one process's."""
        if total < self.count:
            raise RanksError(f"{total} windows per update cannot be shared by {self.count} ranks")
        return slice(self.number * total // self.count, (self.number + 1) * total // self.count)

    def mean(self, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the means of scalars over the processes."""
        if self.count == 1:
            return dict(figures)
        joined = torch.stack([figure.detach().float() for figure in figures.values()])
        distributed.all_reduce(joined)
        return dict(zip(figures, (joined / self.count).unbind(), strict=True))

    def require_same(self, found: Mapping[str, Any]) -> None:
        """Raise ``RanksError`` naming what a process found otherwise than the first did.

        What one alone has found counts too.
        """
        if self.count == 1:
            return
        everywhere: list[Any] = [None] * self.count
        distributed.all_gather_object(everywhere, dict(found))
        first = everywhere[0]
        for number, there in enumerate(everywhere):
            for name in dict.fromkeys([*first, *there]):
                if there.get(name) != first.get(name):
                    raise RanksError(
                        f"rank {number} has {name} {there.get(name)!r}, rank 0 has "
                        f"{first.get(name)!r}: all processes need the same command, data and run "
                        "directory"
                    )


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started; the only one where it did not start this one.

    Tensors go between CPUs by gloo, between GPUs by NCCL. ``RanksError`` in the others when one of
    them has ended.
    """
    if not distributed.is_torchelastic_launched():
        yield Ranks()
        return
    on_machine = int(os.environ["LOCAL_RANK"])
    distributed.init_process_group()
    ranks = Ranks(distributed.get_rank(), distributed.get_world_size(), on_machine)
    try:
        yield ranks
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise RanksError(
            f"rank {ranks.number} has lost another one, which torchrun names: {error}. The last "
            "checkpoint is whole, and the same command goes on from there"
        ) from error
    distributed.destroy_process_group()


def _lost(error: RuntimeError) -> bool:
    """Return whether the way to other processes failed; gloo has no class for it."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)
