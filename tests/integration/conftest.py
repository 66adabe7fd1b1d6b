# SPDX-License-Identifier: Apache-2.0
"""Real nodes in processes over real DDS, each test on a ROS domain of its own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pwm_core.tasks import get_task

# Before the middleware is loaded: nothing leaves this machine, nothing comes in.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# Under `nohup` SIGHUP is ignored, in every process started from here too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

PATIENCE = 60.0
"""Seconds a predicate may take to hold. It bounds a failure only: a node's imports alone are
seconds of processor time, half a minute where a dozen others compute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def workspace() -> Path:
    """The built ROS workspace; a failure, never a skip, when it is missing or not sourced."""
    from pwm_bringup.processes import RosWorkspaceError, install_prefix

    try:
        prefix = install_prefix()
    except RosWorkspaceError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        import pwm_interfaces.msg  # noqa: F401
        import rclpy  # noqa: F401
    except ImportError as error:
        pytest.fail(f"{error}: run `make test`, or `source scripts/env.sh` first", pytrace=False)
    return prefix


@pytest.fixture
def domain(workspace: Path) -> Iterator[int]:
    """A ROS domain nobody else on this machine uses, with rclpy initialised on it."""
    import rclpy

    from pwm_bringup.processes import leased_domain

    with leased_domain() as number:
        rclpy.init(domain_id=number)
        yield number
        rclpy.try_shutdown()


@pytest.fixture
def start(domain: int) -> Iterator[Callable[..., Any]]:
    """Start an executable of the workspace with parameters; all are killed at the end."""
    from pwm_bringup.nodes import NodeProcess
    from pwm_bringup.processes import RosProcess, stop_all

    processes: list[RosProcess] = []

    def make(package: str, executable: str, namespace: str = "", **parameters: Any) -> RosProcess:
        node = NodeProcess(package, executable, parameters)
        processes.append(RosProcess.of_node(node, namespace, domain=domain))
        return processes[-1]

    yield make
    for process in processes:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGCONT)
    stop_all(processes)


@pytest.fixture
def start_bridge(start) -> Callable[..., Any]:
    """Start ``mujoco_bridge``."""

    def make(**parameters: Any) -> Any:
        return start("pwm_mujoco", "mujoco_bridge", **({"task": "cartpole-balance"} | parameters))

    return make


@pytest.fixture
def start_policy(start, tmp_path: Path) -> Callable[..., Any]:
    """Start ``policy_node`` on the test's bundles."""

    def make(**parameters: Any) -> Any:
        directory = {"policy_dir": str(tmp_path / "policies")}
        return start("pwm_policy", "policy_node", **(directory | parameters))

    return make


@pytest.fixture
def session(domain: int) -> Iterator[Any]:
    """A client of both nodes that records what they publish."""
    from pwm_bringup.session import Session

    client = Session(patience=PATIENCE)
    yield client
    client.close()


@pytest.fixture
def until(session) -> Callable[..., None]:
    """Handle messages until a predicate holds."""

    def wait(condition: Callable[[], Any], what: str) -> None:
        session.spin_until(condition, what, PATIENCE)

    return wait


@pytest.fixture
def ask(session) -> Callable[..., Any]:
    """Call a service by name."""

    def call(kind: type, name: str, /, **fields: Any) -> Any:
        client = session.create_client(kind, name)
        try:
            return session.call(client, kind.Request(**fields))
        finally:
            session.destroy_client(client)

    return call


@pytest.fixture
def listen(session) -> Callable[..., list[Any]]:
    """Collect the messages of a topic, which have to be waited for with ``until``."""

    def subscribe(kind: type, topic: str, qos: Any = 100) -> list[Any]:
        received: list[Any] = []
        session.create_subscription(kind, topic, received.append, qos)
        return received

    return subscribe


@pytest.fixture
def relay(session) -> Callable[[Callable[[Any], None]], str]:
    """Publish the simulator's observations again, changed, on the topic that is returned."""
    from pwm_interfaces.msg import Observation

    from pwm_bringup.session import EVERY_MESSAGE

    def make(change: Callable[[Any], None]) -> str:
        publisher = session.create_publisher(Observation, "changed_observation", EVERY_MESSAGE)

        def forward(message: Any) -> None:
            change(message)
            publisher.publish(message)

        session.create_subscription(Observation, "observation", forward, EVERY_MESSAGE)
        return "changed_observation"

    return make


@pytest.fixture
def observe(session, until) -> Iterator[Callable[..., None]]:
    """Publish observations of cartpole-balance, 50 a second; call the result to change them."""
    from pwm_interfaces.msg import Observation

    own_hash = get_task("cartpole-balance").observation.hash()
    publisher = session.create_publisher(Observation, "observation", 10)
    message = Observation(task="cartpole-balance", layout_hash=own_hash)
    stopped = threading.Event()

    def publish(period: float) -> None:
        while not stopped.wait(period):
            message.step += 1
            publisher.publish(message)

    threads: list[threading.Thread] = []

    def change(data: list[float], layout_hash: str = own_hash, period: float = 0.02) -> None:
        message.data, message.layout_hash = data, layout_hash
        if not threads:
            until(lambda: publisher.get_subscription_count(), "the node's subscription")
            threads.append(threading.Thread(target=publish, args=(period,), daemon=True))
            threads[0].start()

    yield change
    stopped.set()
    for thread in threads:
        thread.join(timeout=5)


@pytest.fixture
def offline() -> Callable[[Path, int], Any]:
    """Run a whole episode of a bundle's task from a seed, without ROS."""
    from benchmarks.command_interfaces import offline_episode
    from pwm_export.bundle import Bundle

    return lambda path, seed: offline_episode(Bundle.load(path), seed)


@pytest.fixture
def actions(listen) -> list:
    from pwm_interfaces.msg import Action

    return listen(Action, "action")


@pytest.fixture
def reaction() -> Callable[..., None]:
    """Note how many seconds after ``since`` a fault was answered: docs/reliability.md's table.

    Further ``figures`` go into its second column.
    """

    def note(fault: str, answer: str, since: float, **figures: float) -> None:
        seconds = time.monotonic() - since
        if out := os.environ.get("PWM_RELIABILITY_OUT"):
            with open(out, "a") as file:
                record = {"fault": fault, "reaction": answer, "seconds": seconds}
                record["figures"] = figures
                file.write(json.dumps(record) + "\n")

    return note
