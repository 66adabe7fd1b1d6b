# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policies: nobody may do more than is meant, and our nodes can do what they do.

The wheels' Fast DDS is built without its security plugins, so what the nodes really publish, hear
and serve is read from the live graph and held against the policies.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

POLICIES = Path(__file__).resolve().parents[2] / "launch" / "security" / "policies.xml"
ENCLAVES = (
    "policy_node",
    "mujoco_bridge",
    "robot",
    "recorder",
    "finetune_node",
    "dashboard",
    "operator",
    "observer",
)

GRAPH = {
    "publish": "get_publisher_names_and_types_by_node",
    "subscribe": "get_subscriber_names_and_types_by_node",
    "reply": "get_service_names_and_types_by_node",
    "request": "get_client_names_and_types_by_node",
}
"""Deed, and what lists those of a node in the graph."""


class Enclave:
    """What one enclave is allowed, as SROS2 expands the names of its profile."""

    def __init__(self, profile: Any) -> None:
        self._namespace, self._node = profile.get("ns"), profile.get("node")
        self._allowed: dict[str, list[str]] = {}
        for group in profile.iterchildren("topics", "services"):
            for deed, rule in group.attrib.items():
                if deed not in GRAPH:
                    continue  # where an included file lies
                assert rule == "ALLOW", "everything else is denied already"
                names = [self._full(entry.text) for entry in group.iterchildren("topic", "service")]
                self._allowed.setdefault(deed, []).extend(names)

    def may(self, deed: str, name: str) -> bool:
        """Whether a deed of :data:`GRAPH` on a topic or service, by full name, is allowed."""
        return any(fnmatchcase(name, pattern) for pattern in self._allowed.get(deed, ()))

    def _full(self, name: str) -> str:
        prefix = self._namespace.rstrip("/") + "/"
        if name.startswith("~"):
            return prefix + self._node + name[1:]
        return name if name.startswith("/") else prefix + name


@pytest.fixture(scope="module")
def enclaves() -> dict[str, Enclave]:
    policies = etree.parse(str(POLICIES))
    policies.xinclude()
    found = {}
    for enclave in policies.getroot().iterfind("enclaves/enclave"):
        (profile,) = enclave.iterfind("profiles/profile")
        found[enclave.get("path").removeprefix("/pwm/")] = Enclave(profile)
    return found


def who_may(enclaves: dict[str, Enclave], deed: str, name: str) -> set[str]:
    return {enclave for enclave, allowed in enclaves.items() if allowed.may(deed, name)}


def test_there_is_an_enclave_for_every_role(enclaves: dict[str, Enclave]) -> None:
    assert tuple(enclaves) == ENCLAVES


@pytest.mark.parametrize(
    "topic",
    [
        "/action",
        "/commands",
        "/forward_position_controller/commands",
        "/joint_trajectory",
        "/arm_controller/joint_trajectory",
        "/joint_commands",
        "/shadow/action",
        "/policy_node/status",
    ],
)
def test_only_the_policy_node_commands(enclaves: dict[str, Enclave], topic: str) -> None:
    assert who_may(enclaves, "publish", topic) == {"policy_node"}


@pytest.mark.parametrize(
    ("service", "others"),
    [
        ("swap_policy", {"finetune_node"}),
        ("load_policy", {"finetune_node"}),
        ("rollback", set()),
        ("emergency_stop", set()),
        ("change_state", set()),
        ("set_parameters", {"finetune_node"}),
        ("set_parameters_atomically", set()),
    ],
)
def test_only_dashboard_operator_and_fine_tuning_change_what_runs(
    enclaves: dict[str, Enclave], service: str, others: set[str]
) -> None:
    asking = {"dashboard", "operator"} | others
    assert who_may(enclaves, "request", f"/policy_node/{service}") == asking
    assert who_may(enclaves, "reply", f"/policy_node/{service}") == {"policy_node"}


def test_only_dashboard_and_operator_decide_on_candidates(enclaves: dict[str, Enclave]) -> None:
    assert who_may(enclaves, "request", "/finetune_node/approve") == {"dashboard", "operator"}
    assert who_may(enclaves, "reply", "/finetune_node/approve") == {"finetune_node"}


@pytest.mark.parametrize("topic", ["/joint_states", "/imu/data", "/odom"])
def test_only_the_robot_and_who_plays_it_measure(enclaves: dict[str, Enclave], topic: str) -> None:
    assert who_may(enclaves, "publish", topic) == {"mujoco_bridge", "robot"}


def test_everybody_may_look(enclaves: dict[str, Enclave]) -> None:
    watching = {"dashboard", "operator", "observer"}
    listing = watching | {"finetune_node"}
    assert who_may(enclaves, "request", "/policy_node/list_policies") == listing
    assert who_may(enclaves, "subscribe", "/anything/at/all") == watching | {"recorder"}


def refused(enclave: Enclave, session: Any, node: str) -> list[str]:
    """What a running node does that its enclave forbids."""
    return [
        f"{deed} {name}"
        for deed, ask in GRAPH.items()
        for name, _ in getattr(session, ask)(node, "/")
        if not enclave.may(deed, name)
    ]


def known(session: Any, node: str) -> bool:
    """Whether the graph knows a node and something that it publishes."""
    there = (node, "/") in session.get_node_names_and_namespaces()
    return there and bool(session.get_publisher_names_and_types_by_node(node, "/"))


@pytest.mark.parametrize("interface", ["pwm", "ros2_control"])
def test_nothing_that_our_nodes_do_is_refused(
    enclaves: dict[str, Enclave],
    make_bundle,
    start,
    start_bridge,
    start_policy,
    session,
    until,
    tmp_path: Path,
    interface: str,
) -> None:
    make_bundle("upright")
    as_on_a_robot = {
        "observation_source": "sensors",
        "command_interface": "forward_command",
        "controller": "mujoco_bridge",
    }
    start_bridge(interface=interface)
    start("pwm_bringup", "recorder", directory=str(tmp_path / "bags"))
    until(lambda: ("mujoco_bridge", "/") in session.get_node_names_and_namespaces(), "the bridge")
    start_policy(**(as_on_a_robot if interface == "ros2_control" else {}))
    until(lambda: session.status.state == "active", "the policy node")
    until(lambda: session.count_subscribers("/policy_node/status") > 1, "the recorder")
    for node in ("mujoco_bridge", "policy_node", "recorder"):
        # Endpoints are discovered before it is known whose they are.
        until(lambda node=node: known(session, node), f"what {node} does")
        assert refused(enclaves[node], session, node) == [], node
