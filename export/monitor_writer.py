# SPDX-License-Identifier: Apache-2.0
"""Make a bundle's world-model monitor: its graph, and what is normal for the bundle's policy.

A world model errs, and differently in each state. A deployed policy keeps to few states, so the
monitor is calibrated where that policy goes: on episodes of its own in the nominal simulator, with
commands that act late as on a robot, half of them with disturbed actions, which leave its usual
path as small pushes do (:mod:`pwm_export.calibration`). Where there is no simulator, held-out
episodes of the data take their place; they are from many behaviours, which makes the threshold
higher and the monitor less sensitive.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from pwm_core.data.dataset import Dataset
from pwm_core.data.split import split
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import made_aside, sha256
from pwm_core.model.store import TrainedWorldModel
from pwm_core.tasks import UnknownTaskError, get_task
from pwm_export.bundle import METADATA_KEY, Bundle
from pwm_export.calibration import FEWEST, LATENESS, Calibration, Run, own_episodes
from pwm_export.monitor import GRAPH_KEY, INPUTS, LEAST_ODD, OUTPUTS, RECORD, unexplained
from pwm_export.writer import ExportError

WINDOW_SECONDS = 0.5
"""Errors are averaged over this time."""
FALSE_ALARM_MINUTES = 100.0
"""Nominal minutes per false alarm that the threshold is set for."""
FLOOR = 1e-4
"""Directions of nearly no nominal error count as this share of the one of the largest variance."""
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
"""Of the novelty in calibration, kept in the bundle."""
PARITY_LIMIT = 1e-3
"""Largest difference between ONNX Runtime's and torch's outputs, in units of the threshold."""


class OneStep(nn.Module):
    """Where a robot is and will be in latent space, for one task of a world model.

    Once whitened, nominal differences between the two have no mean and the same variance in every
    direction where they vary. Task embedding and padding are folded into biases.
    """

    mean: Tensor
    scale: Tensor
    low: Tensor
    span: Tensor
    offset: Tensor
    whitening: Tensor

    def __init__(self, trained: TrainedWorldModel, task: str) -> None:
        super().__init__()
        model, index = trained.model, trained.task_index(task)
        info = trained.tasks[index]
        latent, observations = model.config.latent, info.observation.size
        embedding = model.embedding(torch.tensor([index]))[0].detach()
        self.encoder = folded(model.encoder, observations, embedding)
        self.dynamics = folded(model.dynamics, latent + info.action.size, embedding)
        self.register_buffer("mean", model.observation_mean[index, :observations].clone())
        self.register_buffer("scale", model.observation_scale[index, :observations].clone())
        self.register_buffer("low", torch.from_numpy(info.action.low))
        self.register_buffer("span", torch.from_numpy(info.action.high - info.action.low))
        self.register_buffer("offset", torch.zeros(latent))
        self.register_buffer("whitening", torch.eye(latent))

    def forward(self, observation: Tensor, command: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[batch, O]`` and ``[batch, A]``, raw units, to seen and expected ``[batch, K]``."""
        z = self.encoder((observation - self.mean) / self.scale)
        action = (command - self.low) / self.span * 2 - 1
        following = self.dynamics(torch.cat([z, action], -1)) + self.offset
        return z @ self.whitening, following @ self.whitening

    @torch.no_grad()
    def look(self, observation: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return seen and expected ``[N, K]`` for ``[N, O]`` and actions ``[N, A]`` in [-1, 1]."""
        command = (torch.from_numpy(action).float() + 1) * 0.5 * self.span + self.low
        seen, expected = self(torch.from_numpy(observation), command)
        return seen.numpy(), expected.numpy()

    def errors(self, run: Run) -> np.ndarray:
        """Return seen less expected ``[T, K]``, knowing what acted."""
        _, expected = self.look(run.observation[:-1], run.acted)
        return self.look(run.observation[1:], run.acted)[0] - expected

    def judged_errors(self, run: Run) -> np.ndarray:
        """Return errors ``[T, K]`` as the detector makes them, knowing what was sent."""
        seen, _ = self.look(run.observation[1:], run.acted)
        commands = (run.sent[1:], run.sent[:-1])
        at_once, late = (self.look(run.observation[:-1], command)[1] for command in commands)
        return unexplained(seen, at_once, late)

    @torch.no_grad()
    def whiten(self, errors: np.ndarray) -> None:
        """Measure errors from now on by what is usual in ``errors [N, K]``, not whitened yet."""
        variance, directions = np.linalg.eigh(np.cov(errors.T.astype(np.float64)))
        variance = np.maximum(variance, FLOOR * variance[-1])
        self.offset.copy_(torch.from_numpy(errors.mean(0)))
        self.whitening.copy_(torch.from_numpy(directions / np.sqrt(variance * len(variance))))


@dataclass(frozen=True)
class Monitoring:
    """A world model that is to watch over the policies extracted from it."""

    model: TrainedWorldModel
    sha256: str
    """Digest of its file."""
    lateness: float = LATENESS
    """Control steps by which commands usually act late on the robot at most."""

    @classmethod
    def load(cls, path: Path, lateness: float = LATENESS) -> Monitoring:
        """Read a ``world_model.safetensors``."""
        return cls(TrainedWorldModel.load(path, torch.device("cpu")), sha256(path), lateness)

    def add(self, bundle: Bundle, trained: TrainedPolicy, dataset: Dataset) -> Bundle:
        """Give ``bundle`` of the policy ``trained`` a monitor; see :func:`add_monitor`.

        Calibrated in the task's simulator; on the episodes of ``dataset`` that were held out when
        the model was trained where there is none.
        """
        try:
            task = get_task(trained.task.name)
        except UnknownTaskError:
            held_out = self._held_out(dataset, trained.task.name)
            calibration = Calibration("data", self.lateness, [held_out])
        else:
            calibration = own_episodes(trained.policy, task, self.lateness)
        return add_monitor(bundle, self.model, self.sha256, calibration)

    def _held_out(self, dataset: Dataset, task: str) -> Sequence[Run]:
        """Return the episodes the model was not trained on: all, where it was not trained here."""
        episodes = dataset.of_task(task)
        if "config" in self.model.provenance:
            _, episodes = split(episodes, self.model.provenance["config"]["held_out"])
        return [Run.of(dataset.trajectory(episode)) for episode in episodes]


def folded(network: nn.Sequential, kept: int, embedding: Tensor) -> nn.Sequential:
    """Return a copy of ``network`` that takes its first ``kept`` inputs only.

    Those that follow are constant: padding, which is zero, and at the end the task embedding.
    """
    first = network[0]
    assert isinstance(first, nn.Linear)
    narrow = nn.Linear(kept, first.out_features)
    with torch.no_grad():
        narrow.weight.copy_(first.weight[:, :kept])
        narrow.bias.copy_(first.bias + first.weight[:, -len(embedding) :] @ embedding)
    return nn.Sequential(narrow, *copy.deepcopy(list(network)[1:]))


def add_monitor(
    bundle: Bundle, trained: TrainedWorldModel, digest: str, calibration: Calibration
) -> Bundle:
    """Give ``bundle`` a calibrated monitor and return it as a robot would load it.

    Every other episode shapes the measure of errors, the rest set the threshold: the highest that
    one lateness alone asks for. ``digest`` is the SHA-256 of the world model's file.
    ``ExportError`` when the world model does not fit the bundle; the file stays as it is then.
    """
    _require_fit(bundle, trained)
    fewest = min(map(len, calibration.calm))
    if fewest < FEWEST:
        raise ExportError(
            f"{bundle.name}: {fewest} episodes cannot calibrate a monitor, {FEWEST} or more can"
        )
    network = OneStep(trained, bundle.task).eval()
    groups = (*calibration.calm, calibration.disturbed)
    shaping = [run for group in groups for run in group[::2]]
    network.whiten(np.concatenate([network.errors(run) for run in shaping]))
    window = max(round(WINDOW_SECONDS / bundle.control_step), LEAST_ODD)
    *calm, rough = (
        [windowed(network.judged_errors(run), window) for run in group[1::2]] for group in groups
    )
    per_decision = bundle.control_step / 60 / FALSE_ALARM_MINUTES
    levels = [
        return_level([errors.max() for errors in judged], sum(map(len, judged)) * per_decision)
        for judged in calm
    ]
    threshold = max(*levels, float(np.median([errors.max() for errors in rough] or [0.0])))
    judged = np.concatenate([errors for group in calm for errors in group])
    shares = np.quantile(judged / threshold, QUANTILES)
    graph = _graph(network, bundle).SerializeToString()
    record = {
        "sha256": hashlib.sha256(graph).hexdigest(),
        "world_model": digest,
        "window": window,
        "threshold": threshold,
        "false_alarm_minutes": FALSE_ALARM_MINUTES,
        "calibration": {
            "source": calibration.source,
            "lateness": calibration.lateness,
            "episodes": sum(map(len, calibration.calm)),
            "disturbed_episodes": len(calibration.disturbed),
            "minutes": len(judged) * bundle.control_step / 60,
            "novelty": {f"{q:g}": float(x) for q, x in zip(QUANTILES, shares, strict=True)},
        },
    }
    with made_aside(bundle.path) as made:
        _write(bundle, graph, record, made)
        _require_parity(Bundle.load(made), network, calibration.calm[0][-1])
    return Bundle.load(bundle.path)


def windowed(errors: np.ndarray, window: int) -> np.ndarray:
    """Return the length ``[T]`` of the mean over ``window`` of ``errors [T, K]``, zero before."""
    sums = np.concatenate([np.zeros((window, errors.shape[1])), errors]).cumsum(0)
    return np.linalg.norm(sums[window:] - sums[:-window], axis=1) / window


def return_level(peaks: Sequence[float], exceeded: float) -> float:
    """Return the level that the highest value of an episode passes ``exceeded`` times.

    That is: in as many episodes as gave ``peaks``, one each. By a Gumbel distribution with their
    mean and deviation.
    """
    scale = np.std(peaks, ddof=1) * math.sqrt(6) / math.pi
    return float(np.mean(peaks) + scale * (math.log(len(peaks) / exceeded) - np.euler_gamma))


def _require_fit(bundle: Bundle, trained: TrainedWorldModel) -> None:
    info = trained.tasks[trained.task_index(bundle.task)]
    differences = [f"observation {d}" for d in bundle.observation.difference(info.observation)]
    differences += [f"action {d}" for d in bundle.action.difference(info.action)]
    if differences:
        raise ExportError(f"{bundle.name}: the world model has another layout: {differences[0]}")


def _graph(network: OneStep, bundle: Bundle) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        network,
        (torch.zeros(2, bundle.observation.size), torch.zeros(2, bundle.action.size)),
        dynamo=True,
        verbose=False,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: batch}, {0: batch}),
    )
    assert program is not None  # only the older exporter (dynamo=False) returns None
    return program.model_proto


def _write(bundle: Bundle, graph: bytes, record: dict[str, Any], path: Path) -> None:
    """Write ``bundle`` with graph and calibration to ``path``."""
    model = onnx.load(bundle.path)
    properties = {
        METADATA_KEY: json.dumps(bundle.metadata | {RECORD: record}),
        GRAPH_KEY: base64.b64encode(graph).decode(),
    }
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def _require_parity(bundle: Bundle, network: OneStep, run: Run) -> None:
    """Run the stored graph on an episode; ``ExportError`` where torch's outputs are others."""
    monitor = bundle.monitor
    assert monitor is not None
    observation = run.observation[:-1]
    wanted = network.look(observation, run.acted)
    found = monitor.look(observation, bundle.action.to_units(run.acted))
    differences = [np.abs(f - w).max() for f, w in zip(found, wanted, strict=True)]
    worst = float(np.max(differences)) / monitor.threshold
    if not worst <= PARITY_LIMIT:  # also what is not a number
        raise ExportError(
            f"{bundle.name}: the exported monitor differs from torch's by {worst:.1e} of its "
            f"threshold, more than {PARITY_LIMIT:.0e}"
        )
