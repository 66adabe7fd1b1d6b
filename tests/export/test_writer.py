# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import dataclasses
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.store import TrainedPolicy, build_policy
from pwm_core.layout import ActionLayout
from pwm_core.model.config import WorldModelConfig
from pwm_core.tasks import get_task
from pwm_export import writer
from pwm_export.bundle import Bundle
from pwm_export.precision import PRECISIONS
from pwm_export.verb import sample_observations
from pwm_export.writer import CommandedPolicy, ExportError, export_policy

TASK = get_task("cartpole-swingup")
PARITY_LIMIT = PRECISIONS["float32"][0].limit
EVALUATION = {"mean_return": 123.0, "interval": [100.0, 140.0], "episodes": 10}


@pytest.fixture(scope="module")
def trained(tiny_policy: Path) -> TrainedPolicy:
    """A policy whose actions span the range, which three iterations alone do not teach."""
    trained = TrainedPolicy.load(tiny_policy)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained.policy.actor.mean.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return trained


@pytest.fixture(scope="module")
def observations(tiny_data: Path) -> np.ndarray:
    return sample_observations(Dataset(tiny_data), TASK.name, 300)


@pytest.fixture(scope="module")
def bundle(
    tmp_path_factory: pytest.TempPathFactory, trained: TrainedPolicy, observations: np.ndarray
) -> Bundle:
    path = tmp_path_factory.mktemp("bundles") / "swingup.onnx"
    return export_policy(trained, "swingup", path, observations, EVALUATION)


@pytest.fixture
def ready_graph(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph of :func:`bundle` for that of any policy: saves seconds, and can be wrong."""
    monkeypatch.setattr(writer, "_graph", lambda *_: onnx.load(bundle.path))


def test_acts_as_torch_does_on_real_observations(
    bundle: Bundle, trained: TrainedPolicy, tiny_data: Path
) -> None:
    seen = sample_observations(Dataset(tiny_data), TASK.name, 1000)
    network = CommandedPolicy(trained.policy, trained.task.action)
    with torch.inference_mode():
        expected = network(torch.from_numpy(seen)).numpy()
    found = np.stack([bundle.act(observation) for observation in seen])
    assert np.ptp(expected) > 0.5, "a constant policy would prove nothing"
    assert np.abs(found - expected).max() <= PARITY_LIMIT
    assert found.dtype == np.float32


def test_metadata_keeps_the_contract(bundle: Bundle, trained: TrainedPolicy) -> None:
    metadata = bundle.metadata
    assert metadata["schema_version"] == 1
    assert (metadata["name"], metadata["task"], metadata["suite"]) == (
        "swingup",
        TASK.name,
        TASK.suite,
    )
    assert metadata["control_step"] == TASK.control_step
    assert metadata["observation"] == TASK.observation.to_json()
    assert metadata["observation_hash"] == TASK.observation.hash()
    assert metadata["action"] == TASK.action.to_json()
    assert metadata["action_hash"] == TASK.action.hash()
    assert metadata["evaluation"] == EVALUATION
    assert metadata["training"]["real_return"] == trained.record["training"]["real_return"]
    assert "reward_error" in metadata["training"]["world_model"]
    assert metadata["provenance"]["git"]
    assert metadata["provenance"]["config"]["iterations"] == 3
    assert metadata["parity"]["observations"] == 300
    assert metadata["parity"]["max_abs_error"] <= PARITY_LIMIT
    assert datetime.fromisoformat(metadata["created"]).tzinfo is not None
    stored = onnx.load(bundle.path).metadata_props
    text = next(entry.value for entry in stored if entry.key == "pwm_bundle")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_batch_dimension_is_free(bundle: Bundle, observations: np.ndarray) -> None:
    one_by_one = np.stack([bundle.act(observation) for observation in observations[:7]])
    for size in (1, 2, 7):
        (found,) = bundle.session.run(["action"], {"observation": observations[:size]})
        assert found.shape == (size, 1)
        np.testing.assert_allclose(found, one_by_one[:size], atol=PARITY_LIMIT)


def test_file_holds_its_own_weights(bundle: Bundle) -> None:
    assert [path.name for path in bundle.path.parent.iterdir()] == ["swingup.onnx"]
    bundle.require(TASK.name, TASK.observation, TASK.action, TASK.control_step)


def test_commands_are_in_actuator_units(trained: TrainedPolicy, observations: np.ndarray) -> None:
    layout = ActionLayout((dataclasses.replace(TASK.action.channels[0], low=-2.0, high=6.0),))
    seen = torch.from_numpy(observations)
    with torch.inference_mode():
        normalised = trained.policy(seen).numpy()
        commands = CommandedPolicy(trained.policy, layout)(seen).numpy()
    np.testing.assert_allclose(commands, layout.to_units(normalised), rtol=1e-6, atol=1e-6)


def test_high_gain_is_exported_in_double_precision(
    tmp_path: Path, trained: TrainedPolicy, observations: np.ndarray
) -> None:
    """Float32's rounding, amplified, must not be blamed on the export."""
    steep = dataclasses.replace(trained, policy=copy.deepcopy(trained.policy))
    with torch.no_grad():
        last = steep.policy.actor.mean[-1]
        mean = torch.atanh(steep.policy(torch.from_numpy(observations))).mean()
        last.bias.copy_((last.bias - mean) * 2000)
        last.weight *= 2000
    bundle = export_policy(steep, "steep", tmp_path / "steep.onnx", observations, {})
    assert bundle.metadata["parity"]["precision"] == "float64"
    assert bundle.metadata["parity"]["max_abs_error"] <= PARITY_LIMIT
    assert bundle.act(observations[0]).dtype == np.float32


@pytest.mark.parametrize("layer", ["mish", "relu", "layernorm", "spectral"])
def test_every_latent_layer_is_exported(
    tmp_path: Path, trained: TrainedPolicy, observations: np.ndarray, layer: str
) -> None:
    torch.manual_seed(1)
    described = {**trained.architecture, "model": WorldModelConfig(16, 1, 16, latent_layer=layer)}
    described["model"] = dataclasses.asdict(described["model"])
    policy = build_policy(trained.task, described).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        last = policy.actor.mean[-1]
        last.bias -= torch.atanh(policy(torch.from_numpy(observations))).mean(0)
    other = dataclasses.replace(trained, policy=policy)
    bundle = export_policy(other, layer, tmp_path / f"{layer}.onnx", observations, {})
    acted = [bundle.act(observation) for observation in observations]
    assert np.ptp(acted) > 0.1, "a constant policy would prove nothing"


@pytest.mark.usefixtures("ready_graph")
@pytest.mark.parametrize("weight", [0.001, float("nan")])
def test_failing_parity_leaves_no_file(
    tmp_path: Path, trained: TrainedPolicy, observations: np.ndarray, weight: float
) -> None:
    """The graph is that of other weights, a little or beyond all measure."""
    other = dataclasses.replace(trained, policy=copy.deepcopy(trained.policy))
    with torch.no_grad():
        other.policy.actor.mean[-1].bias += weight
    with pytest.raises(ExportError, match=r"swing: the exported action differs .* nothing was wri"):
        export_policy(other, "swing", tmp_path / "swing.onnx", observations, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("ready_graph")
def test_failing_parity_keeps_the_bundle_that_was_there(
    tmp_path: Path, trained: TrainedPolicy, observations: np.ndarray
) -> None:
    path = tmp_path / "swing.onnx"
    export_policy(trained, "swing", path, observations, {})
    before = path.read_bytes()
    other = dataclasses.replace(trained, policy=copy.deepcopy(trained.policy))
    with torch.no_grad():
        other.policy.mean += 0.1
    with pytest.raises(ExportError):
        export_policy(other, "swing", path, observations, {})
    assert path.read_bytes() == before


@pytest.mark.usefixtures("ready_graph")
def test_exports_into_one_directory_do_not_meet(
    tmp_path: Path,
    trained: TrainedPolicy,
    observations: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another export of that name begins and ends while this one is half-way."""
    path, save = tmp_path / "swing.onnx", writer._save

    def meanwhile(*given: Any) -> None:
        monkeypatch.setattr(writer, "_save", save)
        save(*given)
        assert export_policy(trained, "other", path, observations, {}).name == "other"

    monkeypatch.setattr(writer, "_save", meanwhile)
    assert export_policy(trained, "swing", path, observations, {}).name == "swing"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.usefixtures("ready_graph")
@pytest.mark.parametrize("where", ["replace", "action_error"])
def test_interrupted_export_leaves_nothing(
    tmp_path: Path,
    trained: TrainedPolicy,
    observations: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    listed: list[str] = []

    def interrupt(*_: object) -> None:
        listed.extend(path.name for path in tmp_path.glob("*.onnx"))
        raise KeyboardInterrupt

    monkeypatch.setattr(os if where == "replace" else writer, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_policy(trained, "swing", tmp_path / "swing.onnx", observations, {})
    assert listed == [], "a robot would have listed the half-written file"
    assert list(tmp_path.iterdir()) == []
