# SPDX-License-Identifier: Apache-2.0
"""Bundles with smaller weights: what they hold, how far they are off, and when they are refused."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.tasks import get_task
from pwm_export import calibration
from pwm_export.bundle import Bundle
from pwm_export.precision import PRECISIONS, ActionError, in_halves
from pwm_export.verb import Export, sample_observations
from pwm_export.writer import CommandedPolicy, ExportError, export_policy

TASK = get_task("cartpole-swingup")
REDUCED = ("float16", "int8")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tiny_policy: Path) -> TrainedPolicy:
    """A policy whose actions span the range, and whose weights are mostly matrices."""
    trained = TrainedPolicy.load(tiny_policy)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained.policy.actor.mean.parameters():
            parameter.copy_(2 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return trained


@pytest.fixture(scope="module")
def observations(tiny_data: Path) -> np.ndarray:
    return sample_observations(Dataset(tiny_data), TASK.name, 200)


@pytest.fixture(scope="module")
def bundles(
    tmp_path_factory: pytest.TempPathFactory, trained: TrainedPolicy, observations: np.ndarray
) -> dict[str, Bundle]:
    out = tmp_path_factory.mktemp("bundles")
    return {
        precision: export_policy(
            trained, "swingup", out / f"{precision}.onnx", observations, {}, precision=precision
        )
        for precision in PRECISIONS
    }


def weights_bytes(bundle: Bundle) -> int:
    """Bytes of all matrices."""
    graph = onnx.load(bundle.path).graph
    return sum(len(t.raw_data) for t in graph.initializer if len(t.dims) == 2)


def test_weights_are_smaller_and_the_contract_is_the_same(bundles: dict[str, Bundle]) -> None:
    whole = bundles["float32"]
    sizes = {name: weights_bytes(bundle) for name, bundle in bundles.items()}
    assert sizes["float16"] == sizes["float32"] / 2
    assert sizes["float32"] / 4 < sizes["int8"] < sizes["float32"] / 2
    for precision in REDUCED:
        bundle = bundles[precision]
        bundle.require(TASK.name, whole.observation, whole.action, whole.control_step)
        assert bundle.metadata["observation_hash"] == whole.metadata["observation_hash"]
        assert bundle.act(np.zeros(TASK.observation.size)).dtype == np.float32


def test_first_and_last_layer_of_int8_stay_as_they_are(bundles: dict[str, Bundle]) -> None:
    nodes = onnx.load(bundles["int8"].path).graph.node
    products = [node.op_type for node in nodes if node.op_type.startswith(("MatMul", "Gemm"))]
    assert products[0] == products[-1] == "MatMul"
    assert len(products) > 2
    assert set(products[1:-1]) == {"MatMulInteger"}


@pytest.mark.parametrize("precision", REDUCED)
def test_action_error_on_real_observations_is_kept(
    bundles: dict[str, Bundle],
    trained: TrainedPolicy,
    observations: np.ndarray,
    precision: str,
) -> None:
    with torch.inference_mode():
        network = CommandedPolicy(trained.policy, trained.task.action)
        expected = network(torch.from_numpy(observations)).numpy()
    assert np.ptp(expected) > 0.2, "a constant policy would prove nothing"
    found = np.stack([bundles[precision].act(observation) for observation in observations])
    parity, share = bundles[precision].metadata["parity"], np.abs(found - expected) / 2
    assert parity["precision"] == precision
    assert parity["max_abs_error"] == pytest.approx(2 * share.max(), rel=1e-3)
    assert parity["mean_share_of_range"] == pytest.approx(share.mean(0).max(), rel=1e-3)
    exact = bundles["float32"].metadata["parity"]
    assert exact["mean_share_of_range"] < parity["mean_share_of_range"]
    assert parity["mean_share_of_range"] <= PRECISIONS[precision][0].limit


def test_errors_are_shares_of_each_actuators_range() -> None:
    found, expected = np.array([[1.0, 0.0], [0.0, 4.0]]), np.zeros((2, 2))
    error = ActionError.of(found, expected, np.array([2.0, 40.0]))
    assert (error.largest, error.largest_share) == (4.0, 0.5)
    assert error.mean_share == pytest.approx(0.5 / 2), "of the worst actuator"


def test_a_policy_that_8_bits_would_change_is_refused(
    tmp_path: Path, trained: TrainedPolicy, observations: np.ndarray
) -> None:
    """One large weight per row, the same in all, which the norm after them takes out again."""
    uneven = dataclasses.replace(trained, policy=copy.deepcopy(trained.policy))
    hidden = uneven.policy.actor.mean[0]
    assert isinstance(hidden, torch.nn.Linear)
    with torch.no_grad():
        hidden.weight[:, 0] += 200
        seen = torch.from_numpy(observations)
        torch.testing.assert_close(uneven.policy(seen), trained.policy(seen), atol=1e-3, rtol=0)
    with pytest.raises(
        ExportError, match=r"uneven: .*% of an actuator's range on average in int8, more"
    ):
        export_policy(uneven, "uneven", tmp_path / "u.onnx", observations, {}, precision="int8")
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_half_precision_are_named(bundles: dict[str, Bundle]) -> None:
    graph = onnx.load(bundles["float32"].path)
    place = next(i for i, t in enumerate(graph.graph.initializer) if len(t.dims) == 2)
    tensor = graph.graph.initializer[place]
    large = np.full(tuple(tensor.dims), 1e5, np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(large, tensor.name))
    with pytest.raises(PwmError, match=rf"{tensor.name} holds numbers beyond float16's"):
        in_halves(graph)


@pytest.fixture(scope="module")
def watched(
    tiny_policy: Path,
    tiny_data: Path,
    tiny_world_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Bundle, Bundle]:
    """Bundles as ``pwm export --precision int8`` writes them, without and with a monitor."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "MINUTES", 4.0)
        for model in (None, tiny_world_model):
            out = tmp_path_factory.mktemp("exported")
            export = Export(
                (tiny_policy,), tiny_data, world_model=model, precision="int8", out=out, force=True
            )
            assert export.run() == 0
            found.append(Bundle.load(out / f"{TASK.name}.onnx"))
    return found[0], found[1]


def test_the_verb_exports_it(watched: tuple[Bundle, Bundle]) -> None:
    digests = []
    for bundle in watched:
        assert bundle.metadata["parity"]["precision"] == "int8"
        Bundle.load(bundle.path, require=lambda name, digest: digests.append(digest))
    assert digests == [sha256(bundle.path) for bundle in watched]


def test_a_monitor_leaves_the_graph_as_it_is(
    watched: tuple[Bundle, Bundle], observations: np.ndarray
) -> None:
    plain, monitored = watched
    assert monitored.monitor is not None
    assert monitored.metadata["parity"] == plain.metadata["parity"]
    actions = np.stack([monitored.act(observation) for observation in observations])
    alone = np.stack([plain.act(observation) for observation in observations])
    np.testing.assert_array_equal(actions, alone)
    for found in monitored.monitor.look(observations, actions):
        assert np.isfinite(found).all()
