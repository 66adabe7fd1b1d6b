# SPDX-License-Identifier: Apache-2.0
"""Write a policy bundle: one ONNX file with graph and contract, checked against torch."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pwm_core.errors import PwmError
from pwm_core.extraction.actor_critic import Policy
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import made_aside
from pwm_core.layout import ActionLayout
from pwm_core.run_directory import git_revision
from pwm_export.bundle import (
    INPUT,
    METADATA_KEY,
    OUTPUT,
    RANGE,
    SCHEMA_VERSION,
    Bundle,
    ObservationRange,
)
from pwm_export.precision import PRECISIONS, ActionError, Precision


class ExportError(PwmError):
    """The policy cannot be exported as asked."""


class CommandedPolicy(nn.Module):
    """A policy whose actions are commands in actuator units; float32 outside, any dtype inside."""

    low: Tensor
    span: Tensor

    def __init__(self, policy: Policy, layout: ActionLayout) -> None:
        super().__init__()
        self.policy = policy
        self.register_buffer("low", torch.from_numpy(layout.low))
        self.register_buffer("span", torch.from_numpy(layout.high - layout.low))

    def forward(self, observation: Tensor) -> Tensor:
        """Map ``[batch, O]`` to commands ``[batch, A]``."""
        action = self.policy(observation.to(self.low.dtype))
        return (self.low + (action + 1) * 0.5 * self.span).float()


def export_policy(
    trained: TrainedPolicy,
    name: str,
    path: Path,
    observations: np.ndarray,
    evaluation: Mapping[str, Any],
    observation_range: ObservationRange | None = None,
    precision: Precision = "float32",
) -> Bundle:
    """Write ``path`` and return it as a robot would load it.

    The exported graph is run on real ``observations [N, O]`` and held against torch; see
    ``pwm_export.precision`` for what may differ by how much. A policy of high gain amplifies
    float32's rounding past the limit; its graph then computes in float64. ``ExportError`` when that
    differs too. The file appears only once it has passed.
    """
    metadata = _metadata(trained, name, evaluation)
    if observation_range is not None:
        metadata[RANGE] = observation_range.to_json()
    found = []
    with made_aside(path) as made:  # a robot lists the files of the directory itself
        for inside in PRECISIONS[precision]:
            network = CommandedPolicy(copy.deepcopy(trained.policy), trained.task.action)
            network = network.to(inside.dtype).eval()
            graph = inside.lighten(_graph(network, trained.task.observation.size))
            _save(graph, metadata, made)
            error = action_error(Bundle.load(made), network, observations)
            if inside.accepts(error):
                metadata["parity"] = {
                    "max_abs_error": error.largest,
                    "max_share_of_range": error.largest_share,
                    "mean_share_of_range": error.mean_share,
                    "observations": len(observations),
                    "precision": inside.name,
                }
                _save(graph, metadata, made)
                break
            found.append(inside.told(error))
        else:
            raise ExportError(
                f"{name}: the exported action differs from torch's by {', '.join(found)}; "
                "nothing was written"
            )
    return Bundle.load(path)


def action_error(bundle: Bundle, network: nn.Module, observations: np.ndarray) -> ActionError:
    """Return how far a bundle is from ``network`` on ``observations [N, O]``, one at a time."""
    with torch.inference_mode():
        expected = network(torch.from_numpy(observations)).numpy()
    found = np.stack([bundle.act(observation) for observation in observations])
    return ActionError.of(found, expected, bundle.action.high - bundle.action.low)


def _graph(network: nn.Module, observations: int) -> onnx.ModelProto:
    program = torch.onnx.export(
        network,
        (torch.zeros(2, observations),),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    assert program is not None  # only the older exporter (dynamo=False) returns None
    return program.model_proto


def _metadata(trained: TrainedPolicy, name: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    task, record = trained.task, trained.record
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "task": task.name,
        "suite": task.suite,
        "body": task.body,
        "control_step": task.control_step,
        "observation": task.observation.to_json(),
        "observation_hash": task.observation.hash(),
        "action": task.action.to_json(),
        "action_hash": task.action.hash(),
        "provenance": {**record["provenance"], "git": git_revision()},
        "training": {**record["training"], "world_model": record["world_model"]},
        "evaluation": dict(evaluation),
        "parity": None,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _save(graph: onnx.ModelProto, metadata: Mapping[str, Any], path: Path) -> None:
    onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(metadata)})
    onnx.save(graph, path)
