# SPDX-License-Identifier: Apache-2.0
"""The whole chain with the real learner: record, `pwm finetune`, its gate, `pwm export`, swap."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pwm_core.data.dataset import Dataset
from pwm_export.bundle import Bundle

TASK = "cartpole-swingup"
SMALL = "--updates 20 --transitions 64 --horizon 8 --iterations 2 --critic-iterations 2"


@pytest.fixture
def exported(tiny_policy: Path, tiny_data: Path, tmp_path: Path) -> Path:
    """The policy directory with the bundle of the tiny policy."""
    from pwm_export.verb import Export

    out = tmp_path / "policies"
    assert Export(policies=(tiny_policy,), data=tiny_data, out=out).run() == 0
    return out


def test_what_the_gate_says_is_what_happens(
    start: Any,
    start_bridge: Any,
    start_policy: Any,
    session: Any,
    until: Any,
    listen: Any,
    exported: Path,
    tiny_policy: Path,
    tiny_world_model: Path,
    tiny_data: Path,
    tmp_path: Path,
) -> None:
    from rclpy.qos import QoSDurabilityPolicy, QoSProfile
    from std_msgs.msg import String

    latched = QoSProfile(depth=20, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    verdicts = listen(String, "finetune_node/verdict", latched)
    start_bridge(task=TASK, mode="lockstep")
    start_policy(trigger="observation", policy=TASK)
    start(
        "pwm_finetune",
        "finetune_node",
        task=TASK,
        policy=str(tiny_policy),
        world_model=str(tiny_world_model),
        offline=str(tiny_data),
        directory=str(tmp_path / "online"),
        policy_dir=str(exported),
        learner=f"{sys.executable} -m pwm_core.cli",
        finetune_options=SMALL,
        shortest_stretch=8,
        episodes_per_round=2,
        held_out_every=2,
        exploration_noise=[0.1],
        baseline_episodes=2,
    )
    until(lambda: (tmp_path / "online" / "round_0001" / "data").is_dir(), "the first round")
    recorded = Dataset(tmp_path / "online" / "data" / "training")
    recorded.validate()
    session.configure("mujoco_bridge", mode="paused")  # the processors are the learner's
    until(lambda: verdicts, "a verdict")
    session.configure("mujoco_bridge", mode="lockstep")
    verdict = json.loads(verdicts[0].data)
    gate = json.loads((tmp_path / "online" / "round_0001" / "run" / "gate.json").read_text())
    assert verdict["checks"][: len(gate["verdicts"])] == gate["verdicts"]
    assert verdict["verdict"] == ("passed the gate" if gate["accepted"] else "refused")
    if gate["accepted"]:
        until(lambda: session.status.policy == f"{TASK}_round_0001", "the candidate to act")
        provenance = Bundle.load(exported / f"{TASK}_round_0001.onnx").metadata["provenance"]
        assert gate["lineage"].items() <= provenance.items()
    else:
        failed = [check["check"] for check in gate["verdicts"] if not check["passed"]]
        assert all(check in verdict["reason"] for check in failed)
        assert session.status.policy == TASK
        assert [path.name for path in exported.glob("*.onnx")] == [f"{TASK}.onnx"]
