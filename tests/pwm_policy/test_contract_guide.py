# SPDX-License-Identifier: Apache-2.0
"""The example of docs/contract.md is run, and its numbers are those of the policy node."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pwm_core.data.dataset import Dataset
from pwm_core.sources import SOURCES
from pwm_policy.assembly import Assembler

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "contract.md").read_text()


def test_the_example_sees_what_the_policy_node_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert example is not None
    monkeypatch.chdir(tmp_path)
    known: dict = {}
    exec(example.group(1), known)
    data = Dataset(tmp_path / "my_data")
    (episode,) = data.of_task("arm-reach")
    stored = data.trajectory(episode)
    robot = Assembler(known["observation"], known["action"], 0.5)
    for time, position in enumerate(known["positions"]):
        said = zip((("shoulder", "position"), ("elbow", "position")), position, strict=True)
        robot.hear("joint_states", dict(said), time)
        found = robot.assemble(time)
        assert found is not None
        np.testing.assert_allclose(found.data, stored.observation[time], atol=1e-6)
        if time < len(known["commands"]):
            robot.acted(known["commands"][time])


def test_every_topic_is_in_the_guide() -> None:
    for topic in SOURCES:
        assert f"| `{topic}` |" in GUIDE
