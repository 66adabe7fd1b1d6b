# SPDX-License-Identifier: Apache-2.0
"""The monitor's graph against torch, what its calibration says, and what a reader refuses."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from pwm_core.data.dataset import Dataset
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.layout import ObservationLayout
from pwm_core.model.store import TrainedWorldModel
from pwm_core.tasks import get_task
from pwm_export import calibration, monitor_writer
from pwm_export.bundle import Bundle, BundleError
from pwm_export.calibration import Calibration, Run
from pwm_export.monitor import Detector, Monitor
from pwm_export.monitor_writer import Monitoring, OneStep, add_monitor, return_level, windowed
from pwm_export.verb import Export
from pwm_export.writer import ExportError

TASK = "cartpole-swingup"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tiny_world_model: Path) -> TrainedWorldModel:
    return TrainedWorldModel.load(tiny_world_model, torch.device("cpu"))


@pytest.fixture(scope="module")
def runs(tiny_data: Path) -> list[Run]:
    data = Dataset(tiny_data)
    return [Run.of(data.trajectory(episode)) for episode in data.of_task(TASK)]


@pytest.fixture(scope="module")
def graph(trained: TrainedWorldModel) -> OneStep:
    return OneStep(trained, TASK).eval()


def few_episodes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(calibration, "MINUTES", 4.0)


@pytest.fixture(scope="module")
def monitored(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_policy: Path,
    tiny_world_model: Path,
    tiny_data: Path,
) -> Bundle:
    """A bundle as ``pwm export --world-model`` writes it, calibrated on 24 episodes only."""
    out = tmp_path_factory.mktemp("monitored")
    with pytest.MonkeyPatch.context() as patch:
        few_episodes(patch)
        export = Export(
            (tiny_policy,), tiny_data, world_model=tiny_world_model, out=out, force=True
        )
        assert export.run() == 0
    return Bundle.load(out / f"{TASK}.onnx")


def test_predicts_as_the_world_model_does(
    graph: OneStep, trained: TrainedWorldModel, runs: list[Run]
) -> None:
    run, index = runs[0], torch.tensor([trained.task_index(TASK)])
    model, observation = trained.model, torch.from_numpy(run.observation)
    command = torch.from_numpy(run.acted)  # the cart-pole's units are the core's
    with torch.no_grad():
        z = model.encode(observation, index.expand(len(observation)))
        embedding = model.embedding(index).expand(len(command), -1)
        expected = model.next(z[:-1], command, embedding)
        seen, predicted = graph(observation[:-1], command)
    np.testing.assert_allclose(seen, z[:-1], atol=1e-5)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    np.testing.assert_allclose(graph.errors(run), z[1:] - expected, atol=1e-5)


def test_errors_are_by_what_acted_and_judged_by_what_was_sent(
    graph: OneStep, runs: list[Run]
) -> None:
    """A command that is late all along is known to the one, and explained in the other."""
    acted = runs[0].acted
    late = Run(runs[0].observation, np.concatenate([acted, acted[-1:]]), acted)
    errors = graph.errors(late)
    np.testing.assert_array_equal(errors, graph.errors(runs[0]))
    explained = np.linalg.norm(graph.judged_errors(late), axis=1)
    unknown = np.linalg.norm(graph.errors(Run(late.observation, late.sent, late.sent[1:])), axis=1)
    assert (explained <= np.linalg.norm(errors, axis=1) + 1e-5).all()
    assert explained.mean() < unknown.mean()


def test_whitened_errors_are_centred_and_of_one_size(
    trained: TrainedWorldModel, runs: list[Run]
) -> None:
    network = OneStep(trained, TASK)
    network.whiten(np.concatenate([network.errors(run) for run in runs]))
    errors = np.concatenate([network.errors(run) for run in runs])
    np.testing.assert_allclose(errors.mean(0), 0, atol=1e-2)
    sizes = np.linalg.eigvalsh(np.cov(errors.T)) * errors.shape[1]
    assert sizes.max() == pytest.approx(1.0, rel=1e-2)
    assert (sizes > 0.9).sum() > errors.shape[1] // 4


def test_windowed_errors_count_what_is_not_known_as_none() -> None:
    errors = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(windowed(errors, 2), [1.5, 2.5, 2.0, 0.0])


def test_return_level_is_gumbels() -> None:
    draws = np.random.default_rng(0).gumbel(5.0, 0.5, 200_000)
    level = return_level(draws, 200.0)
    assert np.sum(draws > level) == pytest.approx(200, rel=0.2)


def test_bundle_tells_its_calibration(monitored: Bundle, tiny_world_model: Path) -> None:
    monitor = monitored.monitor
    assert monitor is not None
    record = monitored.metadata["monitor"]
    assert record["world_model"] == sha256(tiny_world_model)
    assert monitor.window == record["window"] == 25
    assert record["false_alarm_minutes"] == 100
    assert record["calibration"]["source"] == "policy"
    assert record["calibration"]["lateness"] == calibration.LATENESS
    assert record["calibration"]["minutes"] == pytest.approx(3 * 2 * 500 * 0.02 / 60)
    assert record["calibration"]["episodes"] == 12
    assert record["calibration"]["disturbed_episodes"] == 12
    assert 0 < record["calibration"]["novelty"]["1"] <= 1
    assert monitor.calibration == "1.0 min of policy episodes"


def test_action_graph_stays_as_it_is(
    monitored: Bundle, tmp_path: Path, tiny_policy: Path, tiny_data: Path
) -> None:
    Export((tiny_policy,), tiny_data, out=tmp_path, force=True).run()
    plain = onnx.load(tmp_path / f"{TASK}.onnx")
    assert Bundle.load(tmp_path / f"{TASK}.onnx").monitor is None
    assert onnx.load(monitored.path).graph == plain.graph


def test_detector_in_onnx_judges_as_torch_did(
    monitored: Bundle, trained: TrainedWorldModel, tiny_policy: Path
) -> None:
    """The same whitening, made again, gives the same novelty through the stored graph."""
    with pytest.MonkeyPatch.context() as patch:
        few_episodes(patch)
        own = calibration.own_episodes(TrainedPolicy.load(tiny_policy).policy, get_task(TASK))
    network = OneStep(trained, TASK).eval()
    shaping = [run for group in (*own.calm, own.disturbed) for run in group[::2]]
    network.whiten(np.concatenate([network.errors(run) for run in shaping]))
    assert monitored.monitor is not None
    detector, judged = Detector(monitored.monitor), own.calm[-1][1]
    seen = [judged.observation[0], *judged.observation]
    commands = [*monitored.action.to_units(judged.sent), np.zeros(1)]
    found = []
    for observation, command in zip(seen, commands, strict=True):
        if len(found) == 1:
            detector.interrupt()  # the command before the episode was sent to no observation
        found.append(detector.observe(observation, command))
    wanted = windowed(network.judged_errors(judged), 25) / monitored.monitor.threshold
    assert found[:2] == [0, 0]
    np.testing.assert_allclose(found[2:], wanted, atol=1e-3)


def test_without_a_simulator_held_out_data_calibrates(
    monitored: Bundle,
    tmp_path: Path,
    tiny_policy: Path,
    tiny_data: Path,
    tiny_world_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(name: str) -> None:
        raise monitor_writer.UnknownTaskError(f"unknown task {name}")

    monkeypatch.setattr(monitor_writer, "get_task", unknown)
    policy = TrainedPolicy.load(tiny_policy)
    monitoring = Monitoring.load(tiny_world_model, 0.7)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(monitored.path.read_bytes())
    with pytest.raises(ExportError, match="1 episodes cannot calibrate a monitor, 4 or more can"):
        monitoring.add(Bundle.load(copy), policy, Dataset(tiny_data))
    del monitoring.model.provenance["config"]  # imported: no data was seen in training
    bundle = monitoring.add(Bundle.load(copy), policy, Dataset(tiny_data))
    assert bundle.metadata["monitor"]["calibration"]["source"] == "data"
    assert bundle.metadata["monitor"]["calibration"]["lateness"] == 0.7


def test_world_model_of_another_layout_is_refused(
    make_bundle: Callable[..., Path], trained: TrainedWorldModel, runs: list[Run]
) -> None:
    layout = Bundle.load(make_bundle("plain", task=TASK)).observation.to_json()
    layout[3]["scale"] = 2.0
    changed = {
        "observation": layout,
        "observation_hash": ObservationLayout.from_json(layout).hash(),
    }
    bundle = Bundle.load(make_bundle("scaled", task=TASK, **changed))
    with pytest.raises(ExportError, match=r"another layout: observation slider/velocity: scale"):
        add_monitor(bundle, trained, "0" * 64, Calibration("policy", 0.5, [runs]))


def test_refused_monitor_leaves_the_bundle_that_was_there(
    monitored: Bundle,
    tmp_path: Path,
    tiny_policy: Path,
    tiny_data: Path,
    tiny_world_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The robot reads this directory: a new policy without its monitor must not appear there."""
    refusal = ExportError("cannot calibrate a monitor")
    found: list[Path] = []

    def refuse(self: Monitoring, bundle: Bundle, *_: object) -> None:
        found.extend(tmp_path.glob("*.onnx"))
        assert bundle.path.is_file(), "the policy was exported by then"
        raise refusal

    monkeypatch.setattr(Monitoring, "add", refuse)
    export = Export(
        (tiny_policy,), tiny_data, world_model=tiny_world_model, out=tmp_path, force=True
    )
    with pytest.raises(ExportError) as raised:
        export.run()
    assert raised.value is refusal
    assert [*tmp_path.iterdir()] == found == []
    present = tmp_path / f"{TASK}.onnx"
    present.write_bytes(before := monitored.path.read_bytes())
    with pytest.raises(ExportError):
        export.run()
    assert [*tmp_path.iterdir()] == found == [present]
    assert present.read_bytes() == before


@pytest.mark.parametrize("wrong", [0.1, float("nan")])
def test_monitor_that_is_not_torchs_is_not_written(
    monitored: Bundle,
    trained: TrainedWorldModel,
    runs: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: float,
) -> None:
    """What the graph expects differs, a little or beyond all measure; what it sees does not."""
    look = Monitor.look
    monkeypatch.setattr(
        Monitor,
        "look",
        lambda *given: [array + x for array, x in zip(look(*given), (0, wrong), strict=True)],
    )
    path = tmp_path / "copy.onnx"
    path.write_bytes(before := monitored.path.read_bytes())
    with pytest.raises(ExportError, match=r"the exported monitor differs from torch's by"):
        add_monitor(Bundle.load(path), trained, "0" * 64, Calibration("policy", 0.5, [runs]))
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


@pytest.fixture
def tampered(monitored: Bundle, tmp_path: Path) -> Callable[..., Path]:
    """Write a copy with other properties or another calibration."""

    def make(properties: dict[str, Any] | None = None, **record: object) -> Path:
        model = onnx.load(monitored.path)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        metadata = json.loads(kept["pwm_bundle"])
        metadata["monitor"] |= record
        changes = {"pwm_bundle": json.dumps(metadata)} | (properties or {})
        entries = {**kept, **changes}
        onnx.helper.set_model_props(model, {k: v for k, v in entries.items() if v is not None})
        path = tmp_path / "tampered.onnx"
        onnx.save(model, path)
        return path

    return make


@pytest.mark.parametrize(
    ("properties", "record", "reason"),
    [
        ({"pwm_monitor": None}, {}, "its graph 'pwm_monitor' is missing"),
        ({"pwm_monitor": "no base64!"}, {}, "its graph is damaged"),
        ({"pwm_monitor": base64.b64encode(b"x").decode()}, {}, "its graph is damaged: SHA-256"),
        ({}, {"sha256": "0" * 64}, "the calibration says 000000000000"),
        ({}, {"window": 0}, "its window is 0, expected a number of decisions"),
        ({}, {"threshold": -1.0}, "its threshold is -1.0, expected a number above 0"),
        ({}, {"threshold": float("nan")}, "its threshold is nan"),
    ],
)
def test_damaged_monitor_is_refused_by_name(
    tampered: Callable[..., Path], properties: dict, record: dict, reason: str
) -> None:
    with pytest.raises(BundleError, match=r"bundle tampered\.onnx: world-model monitor: ") as told:
        Bundle.load(tampered(properties, **record))
    assert reason in str(told.value)


def test_monitor_with_weights_in_another_file_is_refused(
    tampered: Callable[..., Path], monitored: Bundle
) -> None:
    model = onnx.load(monitored.path)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    graph = onnx.load_from_string(base64.b64decode(kept["pwm_monitor"]))
    graph.graph.initializer[0].data_location = TensorProto.EXTERNAL
    content = graph.SerializeToString()
    path = tampered(
        {"pwm_monitor": base64.b64encode(content).decode()},
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with pytest.raises(BundleError, match="world-model monitor: weights are in another file"):
        Bundle.load(path)


def test_monitor_of_another_robot_is_refused(
    tampered: Callable[..., Path], monitored: Bundle
) -> None:
    one = helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 7])
    two = helper.make_tensor_value_info("command", TensorProto.FLOAT, ["batch", 1])
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("seen", "expected")]
    nodes = [
        helper.make_node("Identity", ["observation"], ["seen"]),
        helper.make_node("Identity", ["command"], ["expected"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "other", [one, two], outs),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    content = model.SerializeToString()
    path = tampered(
        {"pwm_monitor": base64.b64encode(content).decode()},
        sha256=hashlib.sha256(content).hexdigest(),
    )
    with pytest.raises(BundleError, match=r"its graph takes \{'observation': 7, 'command': 1\}"):
        Bundle.load(path)
