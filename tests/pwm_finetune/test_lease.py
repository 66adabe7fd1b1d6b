# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pwm_finetune import policy_client
from pwm_finetune.lease import LEAST_SECONDS, Lease
from pwm_finetune.policy_client import ANSWER_SECONDS, Call

STEP = 0.2


class Client:
    """A service whose answers come after ``delay`` seconds, but for those that are lost."""

    srv_name = "/policy_node/set_parameters"

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.delay, self.ready = 0.0, True
        self.lose: Callable[[int], bool] = lambda number: False
        self.asked: list[tuple[float, str]] = []
        self.pending: list[Any] = []

    def service_is_ready(self) -> bool:
        return self.ready

    def call_async(self, value: str) -> Any:
        number, answered = len(self.asked), self._clock() + self.delay
        self.asked.append((self._clock(), value))
        lost = self.lose(number)
        yes = SimpleNamespace(results=[SimpleNamespace(successful=True)])
        future = SimpleNamespace(
            done=lambda: not lost and self._clock() >= answered, result=lambda: yes
        )
        self.pending.append(future)
        return future

    def remove_pending_request(self, future: Any) -> None:
        self.pending.remove(future)

    @property
    def longest_pause(self) -> float:
        """Longest time without a request, seconds."""
        return max(b - a for (a, _), (b, _) in itertools.pairwise(self.asked))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [100.0]
    clock = SimpleNamespace(monotonic=lambda: found[0])
    monkeypatch.setattr("pwm_finetune.lease.time", clock)
    monkeypatch.setattr(policy_client, "time", clock)
    return found


@pytest.fixture
def client(now: list[float]) -> Client:
    return Client(lambda: now[0])


@pytest.fixture
def lease(client: Client) -> Lease[str]:
    return Lease(lambda value: Call(client, value), "")


def want(lease: Lease[str], value: str, now: list[float], seconds: float) -> None:
    for _ in range(round(seconds / STEP)):
        lease.want(value)
        now[0] += STEP


@pytest.mark.parametrize("lost", [{5}, {5, 6}, set(range(3, 60, 2)), set(range(1000))])
def test_answers_that_are_lost_let_no_lease_run_out(
    lease: Lease[str], client: Client, now: list[float], lost: set[int]
) -> None:
    """The request renews it; whether an answer comes is another question."""
    client.lose = lost.__contains__
    want(lease, "candidate", now, 60.0)
    assert {value for _, value in client.asked} == {"candidate"}
    assert client.longest_pause < LEAST_SECONDS / 2


@pytest.mark.parametrize("delay", [0.0, 2.5])
def test_slow_answers_count(
    lease: Lease[str], client: Client, now: list[float], delay: float
) -> None:
    client.delay = delay
    want(lease, "candidate", now, 10.0)
    want(lease, "", now, delay + STEP)
    assert lease.over
    count = len(client.asked)
    want(lease, "", now, 60.0)
    assert len(client.asked) == count, "nothing needs no renewal"


def test_an_answer_to_what_was_asked_before_says_nothing(
    lease: Lease[str], client: Client, now: list[float]
) -> None:
    client.delay = 0.5
    want(lease, "candidate", now, STEP)
    client.lose = lambda number: True
    want(lease, "", now, 5.0)
    assert not lease.over
    client.lose = lambda number: False
    want(lease, "", now, 2.0)
    assert lease.over


def test_a_call_that_is_lost_leaves_nothing_behind(
    lease: Lease[str], client: Client, now: list[float]
) -> None:
    client.lose = lambda number: True
    want(lease, "candidate", now, 4 * ANSWER_SECONDS)
    assert len(client.pending) <= ANSWER_SECONDS + 1
    want(lease, "", now, STEP)
    assert len(client.pending) == 1


def test_a_policy_node_that_is_away_is_asked_when_it_is_back(
    lease: Lease[str], client: Client, now: list[float]
) -> None:
    client.ready = False
    want(lease, "candidate", now, 5.0)
    assert client.asked == []
    client.ready = True
    want(lease, "candidate", now, 1.4)
    assert client.asked
