# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pwm_core.layout import ActionLayout, ObservationLayout
from pwm_core.tasks import get_task
from pwm_export.bundle import Bundle, BundleError

GAIN = (0.5, -1.0, 0.25, 2.0, 0.0)
TASK = get_task("cartpole-balance")


def test_loads_what_the_contract_promises(make_bundle) -> None:
    path = make_bundle("straight", GAIN)
    bundle = Bundle.load(path)
    assert (bundle.name, bundle.task, bundle.control_step) == ("straight", TASK.name, 0.02)
    assert bundle.observation == TASK.observation
    assert bundle.action == TASK.action
    assert bundle.metadata["provenance"] == {"made_by": "tests"}
    assert len(bundle.sha256) == 64


def test_acts_as_the_graph_says(make_bundle) -> None:
    bundle = Bundle.load(make_bundle("straight", GAIN))
    observation = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    action = bundle.act(observation)
    assert action.dtype == np.float32
    np.testing.assert_allclose(action, [np.tanh(observation @ GAIN)], atol=1e-6)


def test_range_of_the_training_data(make_bundle) -> None:
    assert Bundle.load(make_bundle("old", GAIN)).observation_range is None
    stored = {"low": [0.0, 1.0, -2.0, 0.0, 3.0], "high": [1.0, 1.0, 2.0, 5.0, 4.0]}
    found = Bundle.load(make_bundle("new", GAIN, observation_range=stored)).observation_range
    assert found is not None
    assert found.to_json() == stored
    excess = found.excess(np.array([0.5, 1.0, 4.0, -2.5, 4.0], np.float32))
    np.testing.assert_allclose(excess, [0, 0, 0.5, 0.5, 0])
    assert found.excess(np.array([0.5, 1.1, 0, 1, 3.5]))[1] > 1e5, "an entry that never changed"


def test_require_accepts_what_fits(make_bundle) -> None:
    bundle = Bundle.load(make_bundle("straight", GAIN))
    bundle.require(TASK.name, TASK.observation, TASK.action, TASK.control_step)


def test_require_names_every_difference(make_bundle) -> None:
    bundle = Bundle.load(make_bundle("straight", GAIN))
    slower = dataclasses.replace(TASK.action.channels[0], high=2.0)
    shorter = ObservationLayout(TASK.observation.channels[:4])
    with pytest.raises(BundleError) as caught:
        bundle.require("walker-walk", shorter, ActionLayout((slower,)), 0.01)
    message = str(caught.value)
    assert "straight.onnx" in message
    assert "made for task cartpole-balance, expected walker-walk" in message
    assert "it has 5 entries, expected 4" in message
    assert "hinge_1/velocity is not expected" in message
    assert "slide: high is 1.0, expected 2.0" in message
    assert "control step is 0.02 s, expected 0.01 s" in message


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"ghost\.onnx: cannot be read: No such file"):
        Bundle.load(tmp_path / "ghost.onnx")


@pytest.mark.parametrize("keep", [0, 1, 100, -10])
def test_truncated_file(make_bundle, keep: int) -> None:
    path = make_bundle("cut", GAIN)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError, match=r"bundle cut\.onnx: "):
        Bundle.load(path)


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(BundleError, match="not a complete ONNX model"):
        Bundle.load(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 99}, "schema version is 99, this reader knows 1"),
        ({"observation_hash": "0" * 16}, "observation layout does not match its own hash"),
        ({"action_hash": "0" * 16}, "action layout does not match its own hash"),
        ({"observation": [{"nonsense": 1}]}, "observation layout cannot be read"),
        ({"action": 3}, "action layout cannot be read"),
        ({"control_step": -1}, "control step is -1"),
        ({"control_step": "fast"}, "control step is 'fast'"),
        ({"control_step": True}, "control step is True"),
        ({"name": 7}, "name is 7, expected text"),
        ({"name": None}, "name is None, expected text"),
        ({"observation_range": {"low": [0]}}, "observation_range cannot be read: KeyError('high')"),
        ({"observation_range": {"low": [0], "high": [1]}}, "needs low <= high for 5 entries"),
        ({"observation_range": {"low": [1] * 5, "high": [0] * 5}}, "needs low <= high for 5"),
        (
            {"observation": [{**TASK.observation.to_json()[0], "filter": "median"}]},
            "channel slider/position: unknown field filter: written by a newer version?",
        ),
    ],
)
def test_bad_metadata(make_bundle, changes: dict, reason: str) -> None:
    path = make_bundle("odd", GAIN, **changes)
    with pytest.raises(BundleError, match=r"bundle odd\.onnx: ") as caught:
        Bundle.load(path)
    assert reason in str(caught.value)


def test_no_metadata(make_bundle, tmp_path: Path) -> None:
    import onnx

    path = make_bundle("bare", GAIN)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(BundleError, match="has no metadata 'pwm_bundle'"):
        Bundle.load(path)


def test_metadata_without_a_key(make_bundle) -> None:
    import json

    import onnx

    path = make_bundle("odd", GAIN)
    model = onnx.load(path)
    metadata = json.loads(model.metadata_props[0].value)
    del metadata["task"], metadata["action_hash"]
    model.metadata_props[0].value = json.dumps(metadata)
    onnx.save(model, path)
    with pytest.raises(BundleError, match="metadata lacks task, action_hash"):
        Bundle.load(path)


def test_graph_of_another_size_than_its_layout(make_bundle) -> None:
    path = make_bundle("wide", (1.0, 2.0, 3.0))
    with pytest.raises(BundleError, match="observation has 3 entries, its layout has 5"):
        Bundle.load(path)


@pytest.mark.parametrize("place", ["weights", "../weights", "{}/weights"])
def test_weights_in_another_file(
    make_bundle, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    path = make_bundle("split", GAIN)
    monkeypatch.chdir(path.parent)
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    location = place.format(tmp_path)
    Path(location).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    onnx.save(model, path)
    with pytest.raises(BundleError, match="weights are in another file"):
        Bundle.load(path)
