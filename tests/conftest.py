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


def picking_graph(size: int) -> Any:
    """The first of ten equal commands that the observation's first entry picks; no other entry.

    An entry of 10 or more is an exception in ONNX Runtime.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["observation", "first"], ["entry"], axis=1),
        helper.make_node("Cast", ["entry"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["commands", "index"], ["action"], axis=0),
    ]
    return helper.make_graph(
        nodes,
        "picking",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", size])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [
            numpy_helper.from_array(np.array([0]), "first"),
            numpy_helper.from_array(np.full(10, 0.5, np.float32), "commands"),
        ],
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


@pytest.fixture(scope="session")
def linear_policy() -> Callable[[Path, Any, str], Path]:
    """Write the bundle of a linear policy ``tanh(observation @ gain)`` of a task to a path."""

    def write(path: Path, gain: Any, task: str) -> Path:
        graph = feedback_graph(np.asarray(gain, np.float32)[:, None])
        return save_bundle(path, graph, bundle_metadata(path.stem, get_task(task)))

    return write


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write ``NAME.onnx`` below ``policies/`` of the test: a linear policy of a task.

    ``gain`` is ``[O, A]``, or ``[O]`` for a single action;
    ``changes`` replace metadata, after the layouts' hashes were computed.
    """

    def make(
        name: str,
        /,
        gain: Any = BALANCE_GAIN,
        task: str = "cartpole-balance",
        square_root: bool = False,
        picks: bool = False,
        **changes: Any,
    ) -> Path:
        directory = tmp_path / "policies"
        directory.mkdir(exist_ok=True)
        gains = np.asarray(gain, np.float32)
        gains = gains if gains.ndim == 2 else gains[:, None]
        metadata = bundle_metadata(name, get_task(task)) | changes
        graph = picking_graph(len(gains)) if picks else feedback_graph(gains, square_root)
        return save_bundle(directory / f"{name}.onnx", graph, metadata)

    return make


@pytest.fixture
def make_monitor() -> Callable[..., Any]:
    """A monitor that expects the first of five entries to grow by the command, all else to stay."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from pwm_export.monitor import Monitor

    def value(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["observation"], ["seen"]),
            helper.make_node("MatMul", ["command", "effect"], ["change"]),
            helper.make_node("Add", ["observation", "change"], ["expected"]),
        ],
        "integrator",
        [value("observation", 5), value("command", 1)],
        [value("seen", 5), value("expected", 5)],
        [numpy_helper.from_array(np.eye(1, 5, dtype=np.float32), "effect")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def make(window: int = 5, threshold: float = 1.0) -> Monitor:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return Monitor.of(session, {"window": window, "threshold": threshold}, 5, 1)

    return make


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real episodes of uniform actions of each cart-pole task; read only."""
    from pwm_core.data.behaviours import Uniform
    from pwm_core.data.collect import collect, plan

    out = tmp_path_factory.mktemp("tiny") / "data"
    collect(plan(["cartpole-swingup", "cartpole-balance"], [(Uniform(), 4)], 0), out, 1)
    return out


@pytest.fixture(scope="session")
def tiny_world_model(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """``world_model.safetensors`` of a small model, hardly trained on :func:`tiny_data`."""
    import torch

    from pwm_core.data.dataset import Dataset
    from pwm_core.model.world_model import WorldModelConfig
    from pwm_core.pretraining.loss import LossWeights
    from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions

    torch.set_num_threads(1)
    config = PretrainingConfig(
        model=WorldModelConfig(32, 1, 32, 32, 4, 8, 21),
        weights=LossWeights(),
        updates=30,
        transitions=256,
        horizon=8,
        curriculum=((0.5, 4),),
        learning_rate=1e-3,
        encoder_rate=0.3,
        clip=1.0,
        betas=(0.9, 0.95),
        held_out=0.25,
        seed=0,
    )
    options = PretrainingOptions(device="cpu", compile=False, threads=1)
    out = tmp_path_factory.mktemp("tiny") / "world_model"
    Pretraining(Dataset(tiny_data), out, config, options).run()
    return out / "world_model.safetensors"


@pytest.fixture(scope="session")
def tiny_policy(
    tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_world_model: Path
) -> Path:
    """``policy.safetensors`` of cartpole-swingup after three iterations in the tiny world model."""
    import torch

    from pwm_core.data.dataset import Dataset
    from pwm_core.extraction.config import ExtractionConfig, ExtractionOptions
    from pwm_core.extraction.runner import Extraction
    from pwm_core.files import sha256
    from pwm_core.model.store import TrainedWorldModel

    config = ExtractionConfig(
        iterations=3,
        batch=16,
        horizon=4,
        actor_hidden=(32,),
        critic_hidden=(32,),
        critics=2,
        critic_passes=1,
        critic_batches=2,
        lam=0.95,
        actor_rate=5e-4,
        critic_rate=5e-4,
        final_rate=1e-5,
        betas=(0.7, 0.95),
        actor_clip=1.0,
        critic_clip=100.0,
        sigma_floor=0.24,
        seed=0,
    )
    options = ExtractionOptions(device="cpu", compile=False, evaluation_episodes=1)
    out = tmp_path_factory.mktemp("tiny") / "policy"
    trained = TrainedWorldModel.load(tiny_world_model, torch.device("cpu"))
    data = Dataset(tiny_data)
    lineage = {"dataset": "tiny", "world_model": sha256(tiny_world_model)}
    Extraction(trained, data, "cartpole-swingup", out, config, options).run(lineage)
    return out / "policy.safetensors"


ARM = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody><body>
    <joint name="shoulder" type="hinge" axis="0 1 0" damping="0.05"/>
    <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03"/>
    <body pos="0 0 -0.5">
      <joint name="elbow" type="hinge" axis="0 1 0" range="-90 90"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03"/>
    </body>
  </body></worldbody>
  <actuator><motor name="push" joint="shoulder" ctrlrange="-2 3"/></actuator>
</mujoco>
"""


@pytest.fixture
def arm_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A task made of one's own MJCF file, with a history and its previous actions."""
    from pwm_core.tasks.mjcf import MjcfTask

    (tmp_path / "arm.xml").write_text(ARM)
    (tmp_path / "arm_reward.py").write_text("def still(model, data, action):\n    return 0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return MjcfTask(
        "arm-still",
        tmp_path / "arm.xml",
        "arm_reward:still",
        tmp_path,
        history=2,
        previous_action=True,
    )
