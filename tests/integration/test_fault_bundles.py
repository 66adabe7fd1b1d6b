# SPDX-License-Identifier: Apache-2.0
"""Bundles that were damaged, swapped or made up: refused by name and reason; the policy goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def garbage(bundle: Path) -> None:
    bundle.write_bytes(np.random.default_rng(0).bytes(4000))


def truncated(bundle: Path) -> None:
    bundle.write_bytes(bundle.read_bytes()[: bundle.stat().st_size // 2])


def empty(bundle: Path) -> None:
    bundle.write_bytes(b"")


def external_data(bundle: Path) -> None:
    """Move the weights to a file outside the policy directory."""
    import onnx

    model = onnx.load(bundle)
    for tensor in model.graph.initializer:
        (bundle.parents[1] / "weights").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../weights")
    bundle.write_bytes(model.SerializeToString())


REPLACED: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (garbage, "not a complete ONNX model"),
    "truncated": (truncated, "not a complete ONNX model"),
    "empty": (empty, "the file is empty"),
    "weights outside the policy directory": (external_data, "weights are in another file"),
}
NAMES = ("../elsewhere", "/etc/passwd", "policies/upright", "upright.onnx", "")


@pytest.fixture
def robot(make_bundle, start_bridge, start_policy, session):
    """A robot at work with ``upright``; ``spare`` may be damaged."""
    make_bundle("upright")
    make_bundle("spare")
    start_bridge(mode="realtime")
    start_policy(policy="upright", stale_timeout=60.0)  # a busy machine is no fault
    session.connect()


def test_a_bundle_that_cannot_be_trusted_is_refused_while_the_policy_acts(
    robot, make_bundle, session, ask, until, listen, reaction, tmp_path: Path
) -> None:
    from pwm_interfaces.msg import Action
    from pwm_interfaces.srv import LoadPolicy

    actions = listen(Action, "action")
    until(lambda: len(actions) > 10 and not actions[-1].safe, "the policy's actions")
    before = len(actions)
    spare = tmp_path / "policies" / "spare.onnx"

    def refused(name: str, fault: str, reason: str) -> None:
        since = time.monotonic()
        answer = ask(LoadPolicy, "policy_node/load_policy", name=name)
        reaction(fault, "load_policy refuses with the reason", since)
        assert not answer.success
        assert reason in answer.message

    for fault, (damage, reason) in REPLACED.items():
        make_bundle("spare")
        damage(spare)
        refused("spare", f"bundle file: {fault}", reason)
    make_bundle("spare", [0.1] * 3, task="pendulum-swingup")
    refused("spare", "bundle file of another robot", "observation layout")
    shutil.copy(tmp_path / "policies" / "upright.onnx", tmp_path / "elsewhere.onnx")
    for name in NAMES:
        refused(name, "name with a path in it", "no bundle")
    # What was loaded before its file was damaged still acts; nothing was missed meanwhile.
    assert session.require_swap("spare")["success"]
    assert {action.policy for action in actions[before:]} <= {"upright", "spare"}
    assert not [action for action in actions[before:] if action.safe]
    policy, _ = session.next_diagnostics()
    assert int(policy["invalid_outputs"]) == 0


def test_a_node_starts_with_the_good_bundles_of_its_directory(
    make_bundle, start_policy, session, ask, until, tmp_path: Path
) -> None:
    from pwm_interfaces.srv import ListPolicies

    make_bundle("upright")
    for number, (damage, _) in enumerate(REPLACED.values()):
        damage(make_bundle(f"bad{number}"))
    start_policy()
    until(lambda: session.status.state == "active", "the policy node")
    answer = ask(ListPolicies, "policy_node/list_policies")
    assert [policy.name for policy in answer.policies] == ["upright"]
    for number, (_, reason) in enumerate(REPLACED.values()):
        assert answer.refused[number].startswith(f"bad{number}: ")
        assert reason in answer.refused[number]
