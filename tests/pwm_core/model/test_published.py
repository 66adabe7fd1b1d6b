# SPDX-License-Identifier: Apache-2.0
"""Files as the public code of TD-MPC2 and PWM writes them, and a plain form of their networks."""

from __future__ import annotations

import os
import sys
import types
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pwm_core.checkpoint import CheckpointError
from pwm_core.data.dataset import TaskInfo
from pwm_core.model.published import (
    build_published,
    fitting_sizes,
    found_config,
    published_shapes,
    published_sizes,
    read_published,
    require_fit,
)
from pwm_core.model.world_model import SIZES, WorldModel, WorldModelConfig
from pwm_core.tasks import all_tasks, get_task
from pwm_core.tasks.published_tasks import PUBLISHED_TASKS

CONFIG = WorldModelConfig(16, 2, 24, 20, 4, bins=101)
TASKS = [TaskInfo.of(get_task(name)) for name in ("cartpole-swingup", "finger-spin")]
OBSERVATION, ACTION = 9, 2


def public_state(
    config: WorldModelConfig = CONFIG, tasks: int = 2, o: int = OBSERVATION, a: int = ACTION
) -> OrderedDict[str, Tensor]:
    """Random weights under the public names, PWM's spelling; the second task's row is long."""
    torch.manual_seed(0)
    shapes = published_shapes(config, tasks, o, a)
    state = OrderedDict((name, 0.5 * torch.randn(shape)) for name, shape in shapes.items())
    if config.task_embedding:
        state["_task_emb.weight"][-1] *= 10
    return state


def tdmpc2(state: dict[str, Tensor], functorch: bool) -> dict[str, Any]:
    """The file of TD-MPC2's ``save``: old (functorch's Q layout) or new, buffers included."""
    model = OrderedDict(
        (name.replace("_encoder.", "_encoder.state."), value) for name, value in state.items()
    )
    model["_pi.0.weight"] = torch.randn(3, 3)
    if functorch:
        model |= {"_Qs.params.0": torch.randn(5, 3, 3), "_target_Qs.params.0": torch.randn(5, 3)}
    else:
        model["_action_masks"] = torch.tensor([[1.0, 0], [1, 1]])
        model |= {"log_std_min": torch.tensor(-10.0), "log_std_dif": torch.tensor(12.0)}
        for prefix in ("_Qs.params", "_detach_Qs_params", "_target_Qs_params"):
            model[f"{prefix}.0.weight"] = torch.randn(5, 3, 3)
            model[f"{prefix}.__batch_size"] = torch.Size([5])
            model[f"{prefix}.__device"] = torch.device("cpu")
    return {"model": model}


def pwm(state: dict[str, Tensor]) -> dict[str, Any]:
    """The file of PWM's ``save``."""
    return {
        "actor": {"mu_net.0.weight": torch.randn(2, 2)},
        "critic": {"params.0": torch.randn(3, 2, 2)},
        "world_model": state,
        "obs_rms": None,
        "rew_rms": None,
        "ret_rms": None,
        "actor_opt": {"state": {}, "param_groups": [{"lr": 5e-4, "betas": (0.7, 0.95)}]},
    }


LAYOUTS = {
    "tdmpc2, functorch": lambda state: tdmpc2(state, True),
    "tdmpc2": lambda state: tdmpc2(state, False),
    "pwm": pwm,
    "weights alone": dict,
}


def plain_network(state: dict[str, Tensor], name: str, x: Tensor, simnorm: bool) -> Tensor:
    """Linear, then LayerNorm and Mish, layer after layer; SimNorm in groups of 8 at the end."""
    layers = 1 + max(int(key.split(".")[1]) for key in state if key.startswith(f"{name}."))
    for i in range(layers):
        x = state[f"{name}.{i}.weight"] @ x + state[f"{name}.{i}.bias"]
        if f"{name}.{i}.ln.weight" in state:
            x = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
            x = x * state[f"{name}.{i}.ln.weight"] + state[f"{name}.{i}.ln.bias"]
        if i < layers - 1:
            x = x * torch.tanh(torch.log(1 + x.exp()))
    return functional.softmax(x.view(-1, 8), -1).flatten() if simnorm else x


def plain_embedding(state: dict[str, Tensor], task: int) -> Tensor:
    if "_task_emb.weight" not in state:
        return torch.zeros(0)
    e = state["_task_emb.weight"][task]
    return e / e.norm() if e.norm() > 1 else e


def plain_model(
    state: dict[str, Tensor], observation: Tensor, action: Tensor, task: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Latent, next latent and the reward head's outputs for one padded observation and action."""
    e = plain_embedding(state, task)
    z = plain_network(state, "_encoder", torch.cat([observation, e]), True)
    x = torch.cat([z, e, action])
    return z, plain_network(state, "_dynamics", x, True), plain_network(state, "_reward", x, False)


def plain_decoded(logits: Tensor) -> Tensor:
    mean = (functional.softmax(logits, -1) * torch.linspace(-10, 10, len(logits))).sum()
    return mean.sign() * (mean.abs().exp() - 1)


def imported(path: Path, tasks: list[TaskInfo]) -> WorldModel:
    weights = read_published(path)
    config = found_config(weights, "simnorm")
    require_fit(weights, config, tasks)
    return build_published(weights, config, tasks)


def outputs(model: WorldModel, observation: Tensor, action: Tensor, task: int) -> list[Tensor]:
    """Latent, next latent and reward of one padded observation and action."""
    index = torch.tensor([task])
    with torch.no_grad():
        embedding, z = model.embedding(index), model.encode(observation[None], index)
        after = model.next(z, action[None], embedding)
        return [z[0], after[0], model.reward(z, action[None], embedding)[0]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_equal_the_plain_network(tmp_path: Path, layout: str) -> None:
    state = public_state()
    torch.save(LAYOUTS[layout](state), tmp_path / "model.pt")
    model = imported(tmp_path / "model.pt", TASKS)
    assert model.config == CONFIG
    for task, size in ((0, 5), (1, 9), (0, 5), (1, 9)):
        observation = functional.pad(torch.randn(size), (0, OBSERVATION - size))
        action = torch.rand(ACTION) * torch.tensor([1.0, task])
        z, after, logits = plain_model(state, observation, action, task)
        expected = [z, after, plain_decoded(logits)]
        for found, wanted in zip(outputs(model, observation, action, task), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert model.action_mask.tolist() == [[1, 0], [1, 1]]


@pytest.fixture
def running_statistics(monkeypatch: pytest.MonkeyPatch) -> type:
    """PWM's class under its module's name, to be pickled; gone once read back."""
    module = types.ModuleType("pwm.utils.running_mean_std")
    kind = type("RunningMeanStd", (), {"__module__": module.__name__})
    module.RunningMeanStd = kind
    for name in ("pwm", "pwm.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return kind


def statistics(kind: type, mean: Tensor, var: Tensor) -> Any:
    found = kind()
    found.mean, found.var, found.count, found.shape = mean, var, 1e-4, tuple(mean.shape)
    return found


def test_single_task_of_pwm_with_running_statistics(
    tmp_path: Path, running_statistics: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PWM's single-task models predict normalised rewards as one number."""
    config = WorldModelConfig(
        16, 1, 24, 20, 0, reward_head="mse", reward_symlog=False, termination=True
    )
    state = public_state(config, 1, 9, 2)
    content = pwm(state)
    mean, var = torch.randn(9), torch.rand(9) + 0.1
    content["obs_rms"] = statistics(running_statistics, mean, var)
    content["rew_rms"] = statistics(running_statistics, torch.tensor([3.0]), torch.tensor([4.0]))
    torch.save(content, tmp_path / "model.pt")
    monkeypatch.undo()
    assert "pwm" not in sys.modules
    model = imported(tmp_path / "model.pt", TASKS[1:])
    assert model.config == config
    observation, action = torch.randn(9), torch.rand(2)
    normal = (observation - mean) / (var + 1e-5).sqrt()
    z, after, output = plain_model(state, normal, action, 0)
    expected = [z, after, output[0] * (4 + 1e-5) ** 0.5 + 3]
    for found, wanted in zip(outputs(model, observation, action, 0), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    ends = plain_network(state, "_termination", z, False)
    found = model.continues(outputs(model, observation, action, 0)[0], torch.zeros(0))
    torch.testing.assert_close(found, 1 - torch.sigmoid(ends[0]), rtol=1e-5, atol=1e-5)


def test_normalised_rewards_in_bins_are_refused(tmp_path: Path, running_statistics: type) -> None:
    content = pwm(public_state())
    content["rew_rms"] = statistics(running_statistics, torch.zeros(1), torch.ones(1))
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="normalised before they were binned"):
        imported(tmp_path / "model.pt", TASKS)


class Malicious:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_code_in_the_file_never_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = tdmpc2(public_state(), True) | {"more": Malicious(f"touch {trace}")}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt asks for posix\.system: refused"):
        read_published(tmp_path / "model.pt")
    assert not trace.exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert trace.exists(), "the file must be able to do harm for this test to tell"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected a dictionary"),
        ({"model": 3}, "the world model is a int"),
        ({"model": {}}, "_reward.0.weight is missing: no world model"),
        ({"model": {"_encoder.rgb.0.weight": torch.zeros(1)}}, "encoders of images"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=message):
        imported(tmp_path / "model.pt", TASKS)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_damaged_file_is_named(tmp_path: Path, kept: float) -> None:
    file = tmp_path / "model.pt"
    torch.save(tdmpc2(public_state(), True), file)
    size = int(kept * file.stat().st_size) if kept < 1 else int(kept)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        read_published(file)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_published(tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_dynamics.1.weight": torch.zeros(20, 21)}, r"_dynamics\.1\.weight is \(20, 21\), expe"),
        ({"_reward.1.ln.bias": None}, r"_reward\.1\.ln\.bias is missing, expected \(20,\)"),
        ({"_reward.2.ln.bias": torch.zeros(101)}, r"_reward\.2\.ln\.bias is \(101,\), expected n"),
        ({"_task_emb.weight": torch.zeros(3, 4)}, r"_task_emb\.weight is \(3, 4\), expected \(2,"),
    ],
)
def test_the_tensor_that_does_not_fit_is_named(tmp_path: Path, change, message: str) -> None:
    state = public_state()
    for name, tensor in change.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    torch.save(tdmpc2(state, True), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=message):
        imported(tmp_path / "model.pt", TASKS)


def test_tasks_in_another_order_are_noticed(tmp_path: Path) -> None:
    torch.save(tdmpc2(public_state(), False), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="finger-spin has 2 actions, the file's task in its"):
        imported(tmp_path / "model.pt", TASKS[::-1])


@pytest.mark.parametrize("suite", ["mt30", "mt80"])
def test_published_tasks_are_the_suites(suite: str) -> None:
    assert sorted(PUBLISHED_TASKS[suite]) == sorted(task.name for task in all_tasks(suite))
    assert PUBLISHED_TASKS["mt80"][:30] == PUBLISHED_TASKS["mt30"]


@pytest.mark.parametrize(
    ("size", "suite", "fits"),
    [
        ("1M", "mt80", ["--size 1M --suite mt80"]),
        ("19M", "mt30", ["--size 19M --suite mt30"]),
        ("48M", "mt80", ["--size 48M --suite mt80"]),
        ("317M", "mt30", ["--size 317M --suite mt30"]),
        ("5M", None, ["--size 5M of one task"]),
    ],
)
def test_fitting_sizes(size: str, suite: str | None, fits: list[str]) -> None:
    tasks = len(PUBLISHED_TASKS.get(suite, ("one",)))
    config = WorldModelConfig(**published_sizes(size, suite))
    assert fitting_sizes(config, tasks) == fits
    assert fitting_sizes(config, 7) == []


@pytest.mark.parametrize(
    ("size", "critics", "published"),
    [("1M", 2, 1e6), ("5M", 5, 5e6), ("19M", 5, 19e6), ("48M", 5, 48e6), ("317M", 8, 317e6)],
)
def test_sizes_are_the_published_ones(size: str, critics: int, published: float) -> None:
    """TD-MPC2 names its models by all parameters, those of its policy and Q functions included."""
    config = SIZES[size]
    with torch.device("meta"):
        model = WorldModel(config, 80, 39, 6)
    count = sum(p.numel() for p in model.parameters())
    inputs, width = config.latent + config.task_embedding, config.width
    policy, critic = [inputs, width, width, 12], [inputs + 6, width, width, 101]
    for sizes, copies in ((policy, 1), (critic, critics)):
        linear = sum((a + 1) * b for a, b in pairwise(sizes))
        count += copies * (linear + 4 * width)
    assert count == pytest.approx(published, rel=0.02, abs=0.5e6)
    if size == "48M":
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(19.0e6, rel=0.01)
