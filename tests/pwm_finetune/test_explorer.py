# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from pwm_finetune.explorer import Explorer
from pwm_finetune.node import FinetuneNode
from pwm_finetune.state import Mode, Phase, State


class PolicyNode:
    """Answers at once, or when told to."""

    def __init__(self) -> None:
        self.noise: list[float] = []
        self.seeds: list[int] = []
        self.seconds: list[float] = []
        self.successful, self.silent, self.gone = True, False, False

    def explore(self, noise: float, seed: int, seconds: float) -> Any:
        self.noise.append(noise)
        self.seeds.append(seed)
        self.seconds.append(seconds)
        answer = SimpleNamespace(results=[SimpleNamespace(successful=self.successful)])
        return SimpleNamespace(
            response=lambda: None if self.silent else answer,
            lost=lambda: self.gone,
            forget=lambda: None,
        )


@pytest.fixture
def node() -> PolicyNode:
    return PolicyNode()


def explorer(node: Any, *levels: float) -> Explorer:
    return Explorer(node, levels)


def test_without_levels_the_policy_node_is_left_alone(node: PolicyNode) -> None:
    found = explorer(node)
    found.want(True, 0)
    assert node.noise == []
    assert found.ended()
    assert found.calm


def test_levels_take_turns_by_the_episodes_number(node: PolicyNode) -> None:
    found = explorer(node, 0.1, 0.2)
    for episode in (0, 0, 1, 2):
        found.want(True, episode)
    found.want(False, 3)
    assert node.noise == [0.1, 0.2, 0.1, 0.0]
    assert node.seeds[:3] == [0, 1, 2]  # the same noise again would tell nothing new


def test_only_an_episode_without_any_noise_is_the_policys_own(node: PolicyNode) -> None:
    found = explorer(node, 0.1)
    found.want(False, 0)
    assert not found.ended()  # what acted before is not known
    found.want(False, 1)
    assert found.ended()
    found.want(True, 2)
    assert not found.ended()
    found.want(False, 3)  # in the middle of the next episode
    assert not found.ended()
    found.want(False, 4)
    assert found.ended()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [100.0]
    monkeypatch.setattr("pwm_finetune.lease.time.monotonic", lambda: found[0])
    return found


@pytest.mark.parametrize("fault", ["refused", "lost"])
def test_what_was_not_done_is_asked_for_again(
    node: PolicyNode, now: list[float], fault: str
) -> None:
    found = explorer(node, 0.1)
    node.successful, node.silent, node.gone = fault != "refused", fault == "lost", fault == "lost"
    found.want(False, 0)
    assert not found.calm
    node.successful, node.silent, node.gone = True, False, False
    for _ in range(3):
        now[0] += 0.6
        found.want(False, 0)
    assert node.noise == [0.0, 0.0]
    assert found.calm


def test_the_end_of_noise_does_not_wait_for_the_answer_to_its_beginning(node: PolicyNode) -> None:
    found = explorer(node, 0.1)
    node.silent = True
    found.want(True, 0)
    found.want(False, 0)
    assert node.noise == [0.1, 0.0]
    assert not found.calm


def test_noise_is_asked_for_again_before_it_ends_by_itself(
    node: PolicyNode, now: list[float]
) -> None:
    found = explorer(node, 0.1)
    asked: list[float] = []
    for _ in range(100):
        count = len(node.noise)
        found.want(True, 0)
        if len(node.noise) > count:
            asked.append(now[0])
        now[0] += 0.2
    assert set(node.noise) == {0.1}
    assert max(b - a for a, b in itertools.pairwise(asked)) < min(node.seconds) / 2
    found.want(False, 0)
    found.want(False, 0)
    now[0] += 100.0
    found.want(False, 0)
    assert node.noise[-2:] == [0.1, 0.0]


@pytest.mark.parametrize(
    ("change", "explores"),
    [
        ({}, True),
        ({"acting": "another"}, False),
        ({"acting": ""}, False),
        ({"stopped": True}, False),
        ({"checked": False}, False),
        ({"before": [1.0]}, False),
        ({"phase": Phase.WATCHING}, False),
    ],
)
def test_noise_is_for_the_running_policy_only(change: dict[str, Any], explores: bool) -> None:
    given: dict[str, Any] = {
        "acting": "p",
        "stopped": False,
        "checked": True,
        "before": [1.0, 1.0],
    } | change
    asked: list[bool] = []
    state = State(Mode.RUNNING, "p", "", "", "", before=given["before"])
    state.phase = given.get("phase", Phase.GATHERING)
    node: Any = SimpleNamespace(
        _rounds=SimpleNamespace(state=state),
        _policy_node=SimpleNamespace(acting=given["acting"], stopped=given["stopped"]),
        _settings=SimpleNamespace(rounds=SimpleNamespace(before=2)),
        _data=SimpleNamespace(episodes=0),
        _checked=given["checked"],
        _explorer=SimpleNamespace(want=lambda exploring, _: asked.append(exploring)),
    )
    FinetuneNode._explore(node)
    assert asked == [explores]
