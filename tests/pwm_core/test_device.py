# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from pwm_core import device
from pwm_core.device import choose_threads, resolve_device
from pwm_core.errors import PwmError


class Clock:
    """A clock that a step moves on by what it costs with the threads of the moment."""

    def __init__(self, cost: dict[int, float]) -> None:
        self.cost, self.now = cost, 0.0

    def step(self) -> None:
        self.now += self.cost[torch.get_num_threads()]

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cost", "best"), [({1: 1.0, 2: 3.0}, 1), ({1: 3.0, 2: 1.0}, 2)])
def test_faster_number_of_threads_is_kept(
    monkeypatch: pytest.MonkeyPatch, cost: dict[int, float], best: int
) -> None:
    clock = Clock(cost)
    monkeypatch.setattr(device.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    assert choose_threads(clock.step) == best
    assert torch.get_num_threads() == best


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(PwmError, match="unknown device 'abacus': use auto, cpu or cuda"):
        resolve_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there() -> None:
    with pytest.raises(PwmError, match="has no CUDA; use cpu"):
        resolve_device("cuda")
