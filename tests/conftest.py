# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by several folders of tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.tasks import Task, get_task

BALANCE_GAIN = (0.3, 0.0, 3.0, 0.4, 0.8)
"""Feedback that keeps the cart-pole up, on slider, cos, sin, slider velocity, hinge velocity."""


def bundle_metadata(name: str, task: Task) -> dict[str, Any]:
    """Metadata as the contract of the bundle has it."""
    return {
        "schema_version": 1,
        "name": name,
        "task": task.name,
        "suite": task.suite,
        "control_step": task.control_step,
        "observation": task.observation.to_json(),
        "observation_hash": task.observation.hash(),
        "action": task.action.to_json(),
        "action_hash": task.action.hash(),
        "provenance": {"made_by": "tests"},
        "evaluation": {"mean_return": 0.0, "episodes": 0},
        "created": "2026-01-01T00:00:00+00:00",
    }


def feedback_graph(gain: np.ndarray, square_root: bool = False) -> Any:
    """``tanh(observation @ gain)``; with ``square_root`` of it, which is NaN below zero."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("MatMul", ["observation", "gain"], ["linear"]),
        helper.make_node("Sqrt" if square_root else "Identity", ["linear"], ["rooted"]),
        helper.make_node("Tanh", ["rooted"], ["action"]),
    ]
    size, actions = gain.shape
    return helper.make_graph(
        nodes,
        "feedback",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", actions])],
        [numpy_helper.from_array(gain.astype(np.float32), "gain")],
    )


def save_bundle(path: Path, graph: Any, metadata: dict[str, Any] | None) -> Path:
    """Write a graph with its metadata; without any when ``metadata`` is None."""
    import onnx
    from onnx import helper

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is not None:
        helper.set_model_props(model, {"pwm_bundle": json.dumps(metadata)})
    onnx.save(model, path)
    return path


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write ``NAME.onnx`` below ``policies/`` of the test: a linear policy of a task.

    ``changes`` replace metadata, after the layouts' hashes were computed.
    """

    def make(
        name: str,
        /,
        gain: Any = BALANCE_GAIN,
        task: str = "cartpole-balance",
        square_root: bool = False,
        **changes: Any,
    ) -> Path:
        directory = tmp_path / "policies"
        directory.mkdir(exist_ok=True)
        column = np.asarray(gain, np.float32).reshape(-1, 1)
        metadata = bundle_metadata(name, get_task(task)) | changes
        return save_bundle(
            directory / f"{name}.onnx", feedback_graph(column, square_root), metadata
        )

    return make
