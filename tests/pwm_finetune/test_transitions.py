# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pwm_finetune import commands
from pwm_finetune.commands import Sent
from pwm_finetune.transitions import SETTLING, Observed, Outcome, Pairing, Stretch


class Heard:
    """A pairing and all that it said."""

    def __init__(self, reward=None) -> None:
        self.stretches: list[Stretch] = []
        self.outcomes: list[Outcome] = []
        self.pairing = Pairing(self.stretches.append, self.outcomes.append, reward)

    def hear(self, messages: Sequence[Observed | Sent]) -> Heard:
        for message in messages:
            if isinstance(message, Observed):
                self.pairing.observe(message)
            else:
                self.pairing.send(message)
        return self

    def all(self, messages: Sequence[Observed | Sent]) -> Heard:
        self.hear(messages).pairing.flush()
        return self

    @property
    def lengths(self) -> list[int]:
        return [len(stretch.reward) for stretch in self.stretches]


def observed(step: int, episode: int, episode_step: int, length: int) -> Observed:
    """Entry 0 is the number of the observation, the reward a tenth of it."""
    reward = 0.1 * step if episode_step else 0.0
    total = 0.1 * sum(range(step - episode_step + 1, step + 1))
    data, ends = np.array([step, 1.0], np.float32), episode_step == length
    return Observed(
        step, episode, episode_step, data, reward, truncated=ends, total=total, time=100 * step
    )


def sent(step: int, policy: str = "p", epoch: int = 1, safe: bool = False) -> Sent:
    """The action tells which observation it answers, soon after that was sent."""
    action = np.array([step / 1000], np.float32)
    return Sent(step, policy, epoch, action, safe, sequence=step, time=100 * step + 15)


def never_sent(messages: list[Observed | Sent], *steps: int) -> list[Observed | Sent]:
    """The messages without the answers to ``steps``, which leave no hole in the numbers."""
    kept, commands = [], 0
    for message in messages:
        if isinstance(message, Sent):
            if message.step in steps:
                continue
            commands += 1
            message = dataclasses.replace(message, sequence=commands)
        kept.append(message)
    return kept


def episodes(count: int, length: int, first: int = 1) -> list[Observed | Sent]:
    """All messages of whole episodes in their order."""
    messages: list[Observed | Sent] = []
    for episode in range(count):
        for place in range(length + 1):
            step = first + episode * (length + 1) + place
            messages.append(observed(step, episode, place, length))
            if place < length:
                messages.append(sent(step))
    return messages


def answers(messages: list[Observed | Sent], step: int) -> int:
    """Place of the command that answers an observation."""
    return next(i for i, m in enumerate(messages) if isinstance(m, Sent) and m.step == step)


def sees(messages: list[Observed | Sent], step: int) -> int:
    """Place of an observation."""
    return next(i for i, m in enumerate(messages) if isinstance(m, Observed) and m.step == step)


def test_whole_episodes_as_they_were() -> None:
    heard = Heard().all(episodes(3, 40))
    assert heard.lengths == [40, 40, 40]
    second = heard.stretches[1]
    assert second.observation[:, 0].tolist() == list(range(42, 83))
    np.testing.assert_allclose(second.action[:, 0], np.arange(42, 82) / 1000)
    np.testing.assert_allclose(second.reward, 0.1 * np.arange(43, 83))
    assert [o.policy for o in heard.outcomes] == ["p"] * 3
    assert heard.outcomes[1].total == pytest.approx(0.1 * sum(range(43, 83)))
    assert not heard.pairing.gaps


@pytest.mark.parametrize("seed", range(5))
def test_either_topic_may_overtake_the_other(seed: int) -> None:
    """Commands, in their order, are early or late by up to ten messages."""
    messages, late = episodes(3, 40), random.Random(seed)
    moved = iter(
        sorted(i + late.uniform(-10, 10) for i, m in enumerate(messages) if isinstance(m, Sent))
    )
    arrivals = [next(moved) if isinstance(m, Sent) else i for i, m in enumerate(messages)]
    order = sorted(range(len(messages)), key=arrivals.__getitem__)
    found = Heard().all([messages[i] for i in order])
    expected = Heard().all(messages)
    assert found.lengths == expected.lengths == [40, 40, 40]
    for a, b in zip(found.stretches, expected.stretches, strict=True):
        np.testing.assert_array_equal(a.observation, b.observation)
        np.testing.assert_array_equal(a.action, b.action)


@pytest.mark.parametrize("lost", ["observation", "command"])
def test_nothing_spans_what_was_lost(lost: str) -> None:
    messages = episodes(1, 40)
    del messages[(sees if lost == "observation" else answers)(messages, 11)]
    heard = Heard().all(messages)
    # Observation 11 is part of two transitions, the command of one.
    assert heard.lengths == ([9, 29] if lost == "observation" else [10, 29])
    assert sum(heard.pairing.gaps.values()) == 1
    assert {s.episode for s in heard.stretches} == {0}
    for stretch in heard.stretches:
        assert (np.diff(stretch.observation[:, 0]) == 1).all()
        np.testing.assert_allclose(stretch.action[:, 0], stretch.observation[:-1, 0] / 1000)


def test_an_episode_with_a_gap_still_has_the_return_that_its_messages_tell() -> None:
    messages = episodes(1, 40)
    del messages[answers(messages, 11)]
    (outcome,) = Heard().all(messages).outcomes
    assert outcome.total == pytest.approx(0.1 * sum(range(2, 42)))


def test_an_episode_known_in_part_has_none() -> None:
    messages = episodes(1, 40)[30:]
    heard = Heard().all(messages)
    assert heard.lengths == [25]
    assert heard.outcomes == []


def test_two_different_commands_for_an_observation_are_a_gap() -> None:
    messages = episodes(1, 40)
    place = answers(messages, 20)
    again = messages[place]
    assert isinstance(again, Sent)
    repeated = Heard().all([*messages[:place], again, *messages[place:]])
    assert repeated.lengths == [40]
    other = dataclasses.replace(again, action=again.action + 0.5)
    contradicted = Heard().all([*messages[:place], other, *messages[place:]])
    assert contradicted.lengths == [19, 20]


def test_where_nothing_was_sent_the_command_before_acted_on() -> None:
    """Two clocks that drift: one observation comes between two ticks of the policy node."""
    heard = Heard().all(never_sent(episodes(2, 40), 11, 40))
    assert heard.lengths == [40, 40]
    answered = [*range(1, 11), 10, *range(12, 40), 39]
    np.testing.assert_allclose(heard.stretches[0].action[:, 0], np.array(answered) / 1000)
    assert not heard.pairing.gaps
    assert len(heard.outcomes) == 2


def test_a_command_is_held_no_longer_and_never_into_the_next_episode() -> None:
    heard = Heard().all(never_sent(episodes(2, 40), 11, 12, 42))
    assert heard.lengths == [11, 28, 39]
    assert heard.pairing.gaps == {"no command for an observation": 2}
    assert len(heard.outcomes) == 2


@pytest.mark.parametrize("joins", ["a running robot", "a simulator that started anew"])
def test_a_command_from_before_the_first_observation_does_not_end_holding(joins: str) -> None:
    """The node hears the last commands before it, and not what they answer."""
    heard = Heard()
    if joins != "a running robot":
        heard.all(episodes(1, 40, first=5000))
        heard.pairing.cut("started anew")
    heard.hear([sent(5), sent(6)])
    heard.all(never_sent(episodes(3, 40, first=7), *range(10, 130, 5)))
    assert heard.lengths[-3:] == [40, 40, 40]
    assert len(heard.outcomes) == (3 if joins == "a running robot" else 4)
    assert "no command for an observation" not in heard.pairing.gaps


@pytest.mark.parametrize("first", [250, 1])
def test_commands_whose_observations_do_not_come_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """The topic of observations may be wrong, for hours; when they come all is as ever."""
    monkeypatch.setattr(commands, "MOST", 50)
    heard = Heard().hear([sent(step) for step in range(100, 250)])
    assert len(heard.pairing._commands._answers) == 50
    heard.all(episodes(1, 40, first))
    assert heard.lengths == [40]
    assert not heard.pairing.gaps


def test_observations_may_count_from_zero() -> None:
    heard = Heard().all(never_sent(episodes(3, 40, first=0), *range(5, 120, 5)))
    assert heard.lengths == [40, 40, 40]
    assert len(heard.outcomes) == 3
    assert not heard.pairing.gaps


def test_the_safe_action_is_held_too() -> None:
    messages = episodes(1, 40)
    messages[answers(messages, 10)] = sent(10, safe=True)
    heard = Heard().all(never_sent(messages, 11))
    assert heard.lengths == [9, 29]
    assert heard.pairing.gaps == {"the safe action": 2}


@pytest.mark.parametrize("following", ["answered", "never answered"])
def test_a_command_that_came_too_late_for_its_observation_did_not_act_there(following: str) -> None:
    """Where nothing else came it acted for some of the next decision, nobody knows how much."""
    messages = episodes(1, 40)
    messages[answers(messages, 10)] = dataclasses.replace(sent(10), time=1105)
    if following == "never answered":
        messages = never_sent(messages, 11)
    heard = Heard().all(messages)
    assert heard.lengths == {"answered": [9, 30], "never answered": [9, 29]}[following]
    assert set(heard.pairing.gaps) == {"a command was sent after the next observation"}
    assert len(heard.outcomes) == 1


def again(messages: list[Observed | Sent], step: int, **change: Any) -> list[Observed | Sent]:
    """The messages with a second, different answer to an observation."""
    place = answers(messages, step)
    other = dataclasses.replace(sent(step), action=np.array([0.9], np.float32), **change)
    return [*messages[: place + 1], other, *messages[place + 1 :]]


def test_whose_return_it_is_does_not_depend_on_what_the_commands_were() -> None:
    messages = episodes(1, 40)
    for step in range(1, 41, 2):
        messages = again(messages, step)
    heard = Heard().all(messages)
    assert heard.lengths == [1] * 20
    assert heard.pairing.gaps == {"different commands for an observation": 20}
    (outcome,) = heard.outcomes
    assert outcome.total == pytest.approx(0.1 * sum(range(2, 42)))


@pytest.mark.parametrize("change", [{"safe": True}, {"policy": "q", "epoch": 2}])
def test_who_else_acted_is_not_hidden_by_a_second_answer(change: dict[str, Any]) -> None:
    """The node says the safe action for the last observation that it heard, answered or not."""
    heard = Heard().all(again(episodes(1, 40), 20, **change))
    assert heard.lengths == [19, 20]
    totals = [outcome.total for outcome in heard.outcomes]
    assert all(math.isnan(total) for total in totals)
    assert len(totals) == (1 if "safe" in change else 0)


def test_the_safe_action_counts_even_for_an_observation_long_ago() -> None:
    """The policy node hears no observations any more; whoever records does."""
    messages = episodes(1, 4 * SETTLING)
    place = sees(messages, 3 * SETTLING)
    messages.insert(place, dataclasses.replace(sent(10, safe=True), time=100 * 3 * SETTLING))
    (outcome,) = Heard().all(messages).outcomes
    assert math.isnan(outcome.total)


def test_an_episode_of_which_an_observation_was_lost_has_no_return() -> None:
    messages = episodes(1, 40)
    del messages[sees(messages, 20)]
    assert Heard().all(messages).outcomes == []


def without_totals(messages: list[Observed | Sent]) -> list[Observed | Sent]:
    """As where rewards come on a topic of their own."""
    return [
        dataclasses.replace(m, total=math.nan) if isinstance(m, Observed) else m for m in messages
    ]


def test_rewards_that_were_all_heard_are_a_return() -> None:
    heard = Heard().all(without_totals(again(episodes(1, 40), 20)))
    assert heard.lengths == [19, 20]
    (outcome,) = heard.outcomes
    assert outcome.total == pytest.approx(0.1 * sum(range(2, 42)))


def test_a_reward_that_was_not_heard_leaves_no_return() -> None:
    messages = without_totals(episodes(1, 40))
    place = sees(messages, 20)
    spoilt: Any = messages[place]
    messages[place] = dataclasses.replace(spoilt, reward=math.nan)
    assert Heard().all(messages).outcomes == []


def test_a_reward_of_a_function_needs_every_command() -> None:
    heard = Heard(lambda o, a, following: 1.0).all(again(episodes(1, 40), 20))
    assert heard.lengths == [19, 20]
    assert heard.outcomes == []


@pytest.mark.parametrize("when", [[20], [40], list(range(1, 41))])
def test_the_safe_action_is_a_gap_and_its_episode_has_no_return(when: list[int]) -> None:
    messages = episodes(1, 40)
    for step in when:
        messages[answers(messages, step)] = sent(step, safe=True)
    heard = Heard().all(messages)
    assert heard.lengths == {20: [19, 20], 40: [39]}.get(when[0], [])
    (outcome,) = heard.outcomes
    assert (outcome.policy, outcome.epoch) == ("p", 1)
    assert math.isnan(outcome.total)
    assert heard.pairing.gaps == {"the safe action": len(when)}


def test_the_safe_action_in_an_episode_of_two_policies_is_nobodys() -> None:
    messages = episodes(1, 40)
    messages[answers(messages, 20)] = sent(20, "q", 2, safe=True)
    assert Heard().all(messages).outcomes == []


def test_an_episode_whose_last_command_was_lost_has_a_return() -> None:
    messages = episodes(1, 40)
    del messages[answers(messages, 40)]
    (outcome,) = Heard().all(messages).outcomes
    assert outcome.total == pytest.approx(0.1 * sum(range(2, 42)))


def test_a_swap_in_an_episode_divides_it_and_its_return_is_nobodys() -> None:
    messages = [
        sent(m.step, "q", 2) if isinstance(m, Sent) and m.step > 20 else m for m in episodes(2, 40)
    ]
    heard = Heard().all(messages)
    assert heard.lengths == [20, 20, 40]
    assert [s.policy for s in heard.stretches] == ["p", "q", "q"]
    assert [(o.policy, o.epoch) for o in heard.outcomes] == [("q", 2)]


@pytest.mark.parametrize("where", ["observation", "reward", "action"])
def test_what_is_not_finite_is_left_out(where: str) -> None:
    messages = episodes(1, 40)
    if where == "action":
        place = answers(messages, 20)
        messages[place] = dataclasses.replace(sent(20), action=np.array([math.nan], np.float32))
    else:
        place = sees(messages, 20)
        seen: Any = messages[place]
        change: dict[str, Any] = {}
        change |= {"data": np.array([20, math.nan])} if where == "observation" else {}
        change |= {"reward": math.nan} if where == "reward" else {}
        messages[place] = dataclasses.replace(seen, **change)
    heard = Heard().all(messages)
    assert heard.lengths == {"observation": [18, 20], "reward": [18, 21], "action": [19, 20]}[where]
    for stretch in heard.stretches:
        for array in (stretch.observation, stretch.action, stretch.reward):
            assert np.isfinite(array).all()


def test_a_reset_in_the_middle_ends_the_stretch_without_a_loss() -> None:
    messages = [m for m in episodes(2, 40) if m.step <= 10 or m.step > 41]
    for place, message in enumerate(messages):
        if message.step > 41:
            messages[place] = dataclasses.replace(message, step=message.step - 31)
    heard = Heard().all(messages)
    assert heard.lengths == [9, 40]
    assert not heard.pairing.gaps
    assert len(heard.outcomes) == 1


def test_a_simulator_that_starts_anew_is_another_episode() -> None:
    heard = Heard().all(episodes(2, 40))
    heard.all(episodes(1, 40))
    assert heard.lengths == [40, 40, 40]
    assert [s.episode for s in heard.stretches] == [0, 1, 2]


def test_two_publishers_that_count_apart_are_never_one() -> None:
    """Two robots on one topic; nobody waits for what one has never seen of the other."""
    one, other = episodes(1, 40), episodes(1, 40, first=500_000)
    seen = [m for pair in zip(one, other, strict=True) for m in pair if isinstance(m, Observed)]
    heard = Heard().all(seen)
    assert heard.stretches == []
    assert heard.pairing.gaps["the observations started anew"] == len(seen) - 1


def test_a_reward_function_replaces_the_messages_rewards() -> None:
    heard = Heard(lambda o, a, following: float(following[0] + a[0])).all(episodes(1, 40))
    assert heard.stretches[0].reward[0] == pytest.approx(2 + 0.001)
    assert heard.outcomes[0].total == pytest.approx(heard.stretches[0].reward.sum())


def test_a_terminal_state_is_marked() -> None:
    messages = episodes(2, 40)
    place = sees(messages, 41)
    last: Any = messages[place]
    messages[place] = dataclasses.replace(last, terminated=True, truncated=False)
    assert [s.terminated for s in Heard().all(messages).stretches] == [True, False]


def test_a_transition_is_decided_on_once_later_ones_have_come() -> None:
    messages = episodes(1, 4 * SETTLING)
    heard = Heard().hear(messages[: 2 * SETTLING])
    assert heard.lengths == []
    heard.pairing.flush()
    heard.pairing.cut("done")
    assert heard.lengths == [SETTLING - 1]
