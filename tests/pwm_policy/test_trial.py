# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pwm_policy.acting_file import OnTrial
from pwm_policy.registry import PolicyError
from pwm_policy.trial import RETRY_SECONDS, Trial


class Node:
    """Parameters, a clock and what was logged."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {
            "trial_policy": "candidate",
            "trial_fallback": "before",
            "trial_timeout": 3.0,
        }
        self.errors: list[str] = []
        self.acting, self.loaded = "candidate", {"before", "candidate"}
        self.said: list[str] = []
        self.kept: list[OnTrial | None] = []
        self.renew: Callable[[], None] = lambda: None

    def keep_trial(self, trial: OnTrial | None) -> None:
        self.kept.append(trial)

    def set_parameters_atomically(self, parameters: list[Any]) -> None:
        self.values |= {parameter.name: parameter.value for parameter in parameters}
        self.renew()

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self.values[name])

    def create_timer(self, *_: Any, **__: Any) -> None: ...

    def get_logger(self) -> Any:
        return SimpleNamespace(error=self.errors.append)

    @property
    def active(self) -> Any:
        return SimpleNamespace(name=self.acting) if self.acting else None

    def take_back(self, fallback: str, reason: str) -> None:
        if fallback not in self.loaded:
            raise PolicyError(f"unknown policy {fallback!r}")
        self.acting = fallback
        self.said.append(reason)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [100.0]
    monkeypatch.setattr("pwm_policy.trial.time.monotonic", lambda: found[0])
    return found


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def trial(node: Any, now: list[float]) -> Trial:
    found = Trial(node, node, node)
    found.renew()
    return found


def test_a_candidate_that_nobody_watches_is_taken_back(
    trial: Trial, node: Node, now: list[float]
) -> None:
    now[0] += 2.9
    trial.look()
    assert node.acting == "candidate"
    now[0] += 0.2
    trial.look()
    assert node.acting == "before"
    assert node.said == ["candidate is on trial and nobody watches it"]


def test_one_that_is_watched_acts_on(trial: Trial, node: Node, now: list[float]) -> None:
    for _ in range(10):
        now[0] += 2.0
        trial.renew()
        trial.look()
    assert node.acting == "candidate"


@pytest.mark.parametrize(
    "ended", [{"trial_timeout": 0.0}, {"trial_policy": "", "trial_timeout": 1}]
)
def test_one_whose_trial_has_ended_stays(
    trial: Trial, node: Node, now: list[float], ended: dict[str, Any]
) -> None:
    node.values |= ended
    trial.renew()
    now[0] += 1000.0
    trial.look()
    assert node.acting == "candidate"


@pytest.mark.parametrize("acting", ["another", ""])
def test_a_policy_that_is_not_on_trial_is_left_alone(
    trial: Trial, node: Node, now: list[float], acting: str
) -> None:
    node.acting = acting
    now[0] += 1000.0
    trial.look()
    node.acting = "candidate"  # by hand, later
    trial.look()
    assert node.acting == "candidate"


def test_what_cannot_be_taken_back_is_said_and_tried_again(
    trial: Trial, node: Node, now: list[float]
) -> None:
    node.loaded.remove("before")
    now[0] += 4.0
    trial.look()
    trial.look()
    assert len(node.errors) == 1
    assert "before cannot act again: unknown policy 'before'" in node.errors[0]
    node.loaded.add("before")
    now[0] += RETRY_SECONDS
    trial.look()
    assert node.acting == "before"


def successor(node: Any, kept: OnTrial | None) -> Trial:
    """A trial in the node that replaces one that has left ``kept``."""
    assert kept is not None
    trial = Trial(node, node, node)
    node.renew = trial.renew  # as the node does when its parameters were set
    trial.resume(kept)
    return trial


def test_a_trial_goes_on_in_the_node_that_replaces_one_that_died(
    node: Any, now: list[float]
) -> None:
    node.values |= {"trial_policy": "", "trial_fallback": "", "trial_timeout": 0.0}
    trial = successor(node, OnTrial("candidate", "before", 3.0))
    now[0] += 2.9
    trial.look()
    assert node.acting == "candidate"
    now[0] += 0.2
    trial.look()
    assert node.acting == "before"


def test_nodes_that_die_one_after_another_get_no_more_time(node: Any, now: list[float]) -> None:
    kept: OnTrial | None = OnTrial("candidate", "before", 3.0)
    for _ in range(3):
        trial = successor(node, kept)
        trial.look()
        assert node.acting == "candidate"
        kept = node.kept[-1]
        now[0] += 1.1
    successor(node, kept).look()
    assert node.acting == "before"


def test_a_node_that_is_told_of_its_trial_again_gets_all_of_its_time(
    node: Any, now: list[float]
) -> None:
    trial = successor(node, OnTrial("candidate", "before", 3.0, now[0] + 1.0))
    trial.renew()
    assert node.kept[-1] == OnTrial("candidate", "before", 3.0)
    now[0] += 2.9
    trial.look()
    assert node.acting == "candidate"


def test_the_next_node_is_told_of_a_trial_and_of_its_end(node: Any, now: list[float]) -> None:
    trial = Trial(node, node, node)
    trial.renew()
    node.values |= {"trial_timeout": 0.0}
    trial.renew()
    node.values |= {"trial_timeout": 3.0, "trial_policy": ""}
    trial.renew()
    assert node.kept == [OnTrial("candidate", "before", 3.0), None, None]
