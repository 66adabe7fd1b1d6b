# SPDX-License-Identifier: Apache-2.0
"""Two hundred swaps and more at 100 Hz while bundles are loaded and policies listed all the time.

Whether no tick is missed depends on the machine: ``python -m benchmarks control_loop`` judges that.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

SWAPS = 200
"""At least; they go on until other calls were answered beside them."""
BESIDE = 5
"""Loads and lists that are answered before the last swap."""
POLICIES = ("left", "right", "still")
PERIOD = 0.01


@pytest.fixture
def calls(session) -> Callable[..., list]:
    """Call a service again as soon as it has answered, until ``stop`` says so of the answers."""

    def repeat(
        kind: type,
        name: str,
        requests: Any,
        stop: Callable[[list], bool],
        stopped: Callable[[], None] = lambda: None,
    ) -> list:
        client = session.create_client(kind, name)
        answers: list = []

        def call(_: Any = None) -> None:
            if stop(answers):
                stopped()
            else:
                future = client.call_async(next(requests))
                future.add_done_callback(lambda done: answers.append(done.result()))
                future.add_done_callback(call)

        session.be_known(client)
        call()
        return answers

    return repeat


def test_two_hundred_swaps_while_bundles_are_loaded_and_listed(
    make_bundle, start_policy, session, until, observe, actions, calls, ask
) -> None:
    from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy
    from std_srvs.srv import Trigger

    for name, gain in zip(POLICIES, (-20.0, 20.0, 0.0), strict=True):
        make_bundle(name, (gain, 0, 0, 0, 0), control_step=PERIOD)
    start_policy(policy="still", stale_timeout=60.0)  # a busy machine is no fault
    until(lambda: session.status.state == "active", "the node to be active")
    observe([1.0, 0.0, 0.0, 0.0, 0.0], period=PERIOD)
    until(lambda: actions and not actions[-1].safe, "actions")
    del actions[:]

    swapped = threading.Event()
    lists = calls(
        ListPolicies,
        "policy_node/list_policies",
        itertools.repeat(ListPolicies.Request()),
        lambda _: swapped.is_set(),
    )
    loads = calls(
        LoadPolicy,
        "policy_node/load_policy",
        (LoadPolicy.Request(name=name) for name in itertools.cycle(POLICIES)),
        lambda _: swapped.is_set(),
    )
    swaps = calls(
        SwapPolicy,
        "policy_node/swap_policy",
        (SwapPolicy.Request(name=name) for name in itertools.cycle(POLICIES)),
        lambda answers: len(answers) >= SWAPS and min(len(lists), len(loads)) >= BESIDE,
        swapped.set,
    )
    session.spin_until(swapped.is_set, f"{SWAPS} swaps", 120.0)
    assert all(answer.success for answer in swaps), "every swap"
    assert all(answer.success for answer in loads), "every load"
    assert {len(answer.policies) for answer in lists} == {len(POLICIES)}
    epochs = [answer.policy_epoch for answer in swaps]
    assert epochs == list(range(epochs[0], epochs[0] + len(swaps))), "one epoch per swap"

    last = epochs[-1]
    until(lambda: actions[-1].policy_epoch == last, "an action of the last policy")
    _require_order(actions, dict(zip(epochs, itertools.cycle(POLICIES), strict=False)))

    def counted() -> str:
        return session.diagnostics.get("policy_node", {}).get("swaps", "")

    until(lambda: counted() == str(len(swaps)), "the count")
    figures = session.diagnostics["policy_node"]
    print({name: figures[name] for name in ("ticks", "missed_ticks", "period_p99_ms")})

    back = actions[-1].policy_epoch
    assert ask(Trigger, "policy_node/rollback").success
    until(lambda: actions[-1].policy_epoch == back + 1, "the action of the policy before")
    assert actions[-1].policy == POLICIES[(len(swaps) - 2) % len(POLICIES)]


def _require_order(actions: list, policies: dict[int, str]) -> None:
    """No command comes twice or late: epochs and sequence numbers only grow."""
    wanted = {"left": -1.0, "right": 1.0, "still": 0.0}
    for before, after in itertools.pairwise(actions):
        assert after.sequence > before.sequence
        assert after.policy_epoch >= before.policy_epoch
        assert after.observation_step >= before.observation_step
    for action in actions:
        assert not action.safe
        assert action.policy == policies.get(action.policy_epoch, action.policy)
        assert action.values[0] == pytest.approx(wanted[action.policy], abs=1e-3)
