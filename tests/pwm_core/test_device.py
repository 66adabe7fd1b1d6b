# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import pytest
import torch

from pwm_core.device import choose_threads, resolve_device, seconds_of, thread_choices
from pwm_core.errors import PwmError


class Clock:
    """A clock that a step moves on by what it costs with the threads of the moment."""

    def __init__(self, cost: dict[int, float]) -> None:
        self.cost, self.now = cost, 0.0

    def step(self) -> float:
        self.now += self.cost[torch.get_num_threads()]
        return self.cost[torch.get_num_threads()]

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("cost", "best"),
    [
        ({1: 1.0, 2: 3.0}, 1),
        ({1: 3.0, 2: 1.0}, 2),
        ({1: 1.05, 2: 1.0}, 1),
        ({1: 3.0, 2: 2.0, 4: 1.0, 6: 0.95}, 4),
    ],
)
def test_fewest_threads_of_the_fast_are_kept(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cost: dict[int, float],
    best: int,
) -> None:
    clock = Clock(cost)
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    assert choose_threads("work", clock.step, list(cost)) == best
    assert torch.get_num_threads() == best
    assert f"work: {best} CPU thread(s), of {cost[1] * 1e3:.3g} with 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cost", "spent"),
    [({1: 1.0, 2: 0.5}, 0.5 + 1.5), ({1: 0.25, 2: 0.25}, 0.25 + 1.0)],
    ids=["one turn of long steps", "turns for a second"],
)
def test_to_choose_takes_no_longer_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, cost: dict[int, float], spent: float
) -> None:
    clock = Clock(cost)
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    choose_threads("work", clock.step, list(cost))
    assert clock.now == spent


def test_what_a_first_step_takes_longer_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock({1: 1.0, 2: 2.0})
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    beginning = iter([60.0])

    def step() -> float:
        return clock.step() + next(beginning, 0.0)

    assert choose_threads("work", step, [1, 2]) == 1
    clock.cost = {1: 2.0, 2: 1.0}
    beginning = iter([60.0])
    assert choose_threads("work", step, [1, 2]) == 2


def test_seconds_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock({1: 0.5})
    monkeypatch.setattr(time, "perf_counter", clock.perf_counter)
    assert seconds_of(clock.step) == 0.5


def test_numbers_of_threads_worth_measuring() -> None:
    assert [thread_choices(most) for most in (1, 2, 6, 8)] == [
        (1,),
        (1, 2),
        (1, 2, 4, 6),
        (1, 2, 4, 8),
    ]


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(PwmError, match="unknown device 'abacus': use auto, cpu or cuda"):
        resolve_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there() -> None:
    with pytest.raises(PwmError, match="has no CUDA; use cpu"):
        resolve_device("cuda")
