# SPDX-License-Identifier: Apache-2.0
"""A hundred service calls at once: every one is answered, and the loop misses nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

CALLS = 100
CLIENTS = 4


def test_a_hundred_calls_at_once_are_all_answered(
    make_bundle, start_bridge, start_policy, session, until, listen, reaction
) -> None:
    from pwm_interfaces.msg import Action
    from pwm_interfaces.srv import ListPolicies, LoadPolicy, SwapPolicy
    from rclpy.qos import QoSProfile

    make_bundle("upright")
    make_bundle("spare")
    start_bridge(mode="realtime")
    start_policy(policy="upright", stale_timeout=60.0)  # a busy machine is no fault
    session.connect()
    actions = listen(Action, "action", 1000)
    until(lambda: actions and not actions[-1].safe, "the policy's actions")
    kinds: list[tuple[Any, str, dict[str, Any]]] = [
        (SwapPolicy, "swap_policy", {"name": "spare"}),
        (SwapPolicy, "swap_policy", {"name": "upright", "blend_seconds": 0.1}),
        (SwapPolicy, "swap_policy", {"name": "no-such-policy"}),
        (LoadPolicy, "load_policy", {"name": "spare"}),
        (ListPolicies, "list_policies", {}),
    ]
    clients = [
        [
            session.create_client(kind, f"policy_node/{name}", qos_profile=QoSProfile(depth=CALLS))
            for kind, name, _ in kinds
        ]
        for _ in range(CLIENTS)
    ]
    for client in (client for some in clients for client in some):
        session.be_known(client)
    before = len(actions)
    since = time.monotonic()
    asked = []
    for number in range(CALLS):
        kind, name, fields = kinds[number % len(kinds)]
        client = clients[number % CLIENTS][number % len(kinds)]
        asked.append((name, fields.get("name", ""), client.call_async(kind.Request(**fields))))
    until(lambda: all(future.done() for _, _, future in asked), "every answer")
    reaction(f"{CALLS} service calls at once", "all are answered", since)

    said = Counter(
        (name, policy, getattr(future.result(), "success", None)) for name, policy, future in asked
    )
    share = CALLS // len(kinds)
    assert said == {
        ("swap_policy", "spare", True): share,
        ("swap_policy", "upright", True): share,
        ("swap_policy", "no-such-policy", False): share,
        ("load_policy", "spare", True): share,
        ("list_policies", "", None): share,
    }
    seen = len(actions)
    until(lambda: len(actions) > seen + 50, "more actions")
    assert not [action for action in actions[before:] if action.safe]
    epochs = [action.policy_epoch for action in actions]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 1 + 2 * share


def test_a_load_that_ends_after_a_cleanup_says_so(
    make_bundle, start_policy, session, until, ask, tmp_path: Path
) -> None:
    """The bundle comes through a pipe, so that the node waits for it as long as the test likes."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState
    from pwm_interfaces.srv import ListPolicies, LoadPolicy

    content = make_bundle("upright").read_bytes()
    start_policy()
    until(lambda: session.status.state == "active", "the policy node")
    pipe, late = tmp_path / "pipe", tmp_path / "policies" / "late.onnx"
    os.mkfifo(pipe)
    os.link(pipe, late)
    client = session.create_client(LoadPolicy, "policy_node/load_policy")
    session.be_known(client)
    answer = client.call_async(LoadPolicy.Request(name="late"))
    writers: list[int] = []

    def read() -> bool:
        """Whether the node reads; a pipe that nobody reads cannot be opened."""
        with contextlib.suppress(OSError):
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    until(read, "the reading of the bundle")
    late.unlink()
    for step in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
    ):
        assert ask(ChangeState, "policy_node/change_state", transition=Transition(id=step)).success
    with open(writers[0], "wb") as writer:
        writer.write(content)
    until(answer.done, "the answer")
    assert not answer.result().success
    assert "cleaned up before the policy was loaded" in answer.result().message
    listed = ask(ListPolicies, "policy_node/list_policies")
    assert [policy.name for policy in listed.policies] == ["upright"]
    assert ask(LoadPolicy, "policy_node/load_policy", name="upright").success
