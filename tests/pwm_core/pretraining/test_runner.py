# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pwm_core.checkpoint import CheckpointError, load_checkpoint
from pwm_core.data.dataset import Dataset, DatasetWriter, TaskInfo
from pwm_core.errors import PwmError
from pwm_core.pretraining.judgement import predict
from pwm_core.pretraining.loss import world_model_loss
from pwm_core.pretraining.preparation import build_model
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectoryError, read_metrics
from pwm_core.tasks import get_task


def interrupt_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Raise Ctrl-C's exception once the display has shown ``count`` updates."""
    update = ProgressDisplay.update

    def interrupting(self: ProgressDisplay, done: int, figures=None) -> None:
        update(self, done, figures)
        if done == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressDisplay, "update", interrupting)


def run(
    data: Dataset, out: Path, config: PretrainingConfig, options: PretrainingOptions
) -> dict[str, torch.Tensor]:
    Pretraining(data, out, config, options).run()
    return load_checkpoint(out / "world_model.safetensors")[0]


def without_times(out: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(out)]


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "all heads": {"model": {"termination": True, "dynamics_heads": 3, "latent_layer": "spectral"}},
    "bfloat16": {"precision": "bfloat16", "balanced": True, "model": {"reward_head": "mse"}},
}


def changed(config: PretrainingConfig, variant: str) -> PretrainingConfig:
    """Return ``config`` with the choices of ``variant``."""
    changes = dict(VARIANTS[variant])
    model = dataclasses.replace(config.model, **changes.pop("model", {}))
    return dataclasses.replace(config, model=model, **changes)


@pytest.mark.parametrize(
    ("variant", "stop"),
    [
        *(("default", stop) for stop in (10, 13, 17, 20)),
        *((variant, 13) for variant in VARIANTS if variant != "default"),
    ],
)
def test_interrupted_run_ends_in_the_same_numbers(
    dataset: Dataset,
    tmp_path: Path,
    pretraining_config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    stop: int,
) -> None:
    """Weights, optimizer and metrics, bit for bit; the horizon changes at update 12."""
    config = changed(pretraining_config, variant)
    parts = 1 if variant == "default" else 3
    arguments = config, dataclasses.replace(pretraining_options, accumulate=parts)
    straight = run(dataset, tmp_path / "straight", *arguments)
    with monkeypatch.context() as patch:
        interrupt_at(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "halted", *arguments)
    assert not (tmp_path / "halted" / "world_model.safetensors").exists()
    expected = 20 if stop == 20 else 10
    assert load_checkpoint(tmp_path / "halted" / "checkpoint.safetensors")[1]["step"] == expected
    torch.manual_seed(99)  # nothing may hang on the state the first process had
    resumed = run(dataset, tmp_path / "halted", *arguments)
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
    checkpoints = [
        load_checkpoint(tmp_path / name / "checkpoint.safetensors")[0]
        for name in ("straight", "halted")
    ]
    for name, tensor in checkpoints[0].items():
        assert torch.equal(tensor, checkpoints[1][name]), name
    assert without_times(tmp_path / "straight") == without_times(tmp_path / "halted")
    assert [line["step"] for line in read_metrics(tmp_path / "halted")] == [5, 10, 15, 20]


@pytest.mark.parametrize("part", ["model", "ensemble"])
@pytest.mark.parametrize(
    ("validate_every", "checkpoint_every", "found", "kept"),
    [
        pytest.param(5, 10, 15, 10, id="when judged"),
        pytest.param(20, 8, 16, 8, id="before a checkpoint"),
        pytest.param(5, 20, 15, None, id="before the first checkpoint"),
    ],
)
def test_diverged_training_stops_and_keeps_the_checkpoint_from_before(
    dataset: Dataset,
    tmp_path: Path,
    pretraining_config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
    part: str,
    validate_every: int,
    checkpoint_every: int,
    found: int,
    kept: int | None,
) -> None:
    """A weight is not a number from update 13 on; the ensemble's loss has its own gradient."""
    heads = dataclasses.replace(pretraining_config.model, dynamics_heads=3)
    config = dataclasses.replace(pretraining_config, model=heads)
    options = dataclasses.replace(
        pretraining_options, validate_every=validate_every, checkpoint_every=checkpoint_every
    )
    training = Pretraining(dataset, tmp_path, config, options)
    weights = training.model.dynamics if part == "model" else training.model.other_dynamics
    update = training._update

    def diverging() -> dict[str, torch.Tensor]:
        if training.step == 12:
            with torch.no_grad():
                next(weights.parameters()).fill_(float("nan"))
        return update()

    training._update = diverging  # type: ignore[method-assign]
    message = (
        rf"diverged: at update {found} of 20 gradient_norm\S* is nan\. .*a learning rate below"
    )
    with pytest.raises(PwmError, match=message) as raised:
        training.run()
    checkpoint = tmp_path / "checkpoint.safetensors"
    assert (f"{checkpoint} is from before" in str(raised.value)) == (kept is not None)
    assert checkpoint.exists() == (kept is not None)
    if kept is not None:
        tensors, header = load_checkpoint(checkpoint)
        assert header["step"] == kept
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not (tmp_path / "world_model.safetensors").exists()
    assert all(line["step"] < found for line in read_metrics(tmp_path))


def test_two_hundred_updates_are_twice_a_hundred(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options, monkeypatch
) -> None:
    """100 updates, an interruption and 100 more, against 200 at once: bit for bit."""
    config = dataclasses.replace(pretraining_config, updates=200)
    options = dataclasses.replace(pretraining_options, checkpoint_every=50)
    straight = run(dataset, tmp_path / "straight", config, options)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 100)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "halted", config, options)
    assert load_checkpoint(tmp_path / "halted" / "checkpoint.safetensors")[1]["step"] == 100
    torch.manual_seed(99)  # nothing may hang on the state the first process had
    resumed = run(dataset, tmp_path / "halted", config, options)
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
    assert without_times(tmp_path / "straight") == without_times(tmp_path / "halted")


def test_finished_run_is_repeated_without_training(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options, monkeypatch
) -> None:
    first = run(dataset, tmp_path, pretraining_config, pretraining_options)
    monkeypatch.setattr(Pretraining, "_update", None)
    second = run(dataset, tmp_path, pretraining_config, pretraining_options)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_teaches(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    config = dataclasses.replace(
        pretraining_config, updates=200, transitions=256, learning_rate=1e-2
    )
    training = Pretraining(dataset, tmp_path, config, pretraining_options)
    before, _ = training._judge()
    quality = training.run().quality
    assert before.reward_error is not None
    assert quality["reward_error"] < 0.5 * before.reward_error
    assert len(quality["latent_error"]) == config.horizon


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 7}, "another config: seed was 1, now 7"),
        ({"updates": 30}, "updates was 20, now 30"),
        ({"horizon": 4}, "horizon was 8, now 4"),
    ],
)
def test_other_configuration_is_refused_by_name(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options, change, message: str
) -> None:
    config = dataclasses.replace(pretraining_config, updates=20)
    run(dataset, tmp_path, config, pretraining_options)
    before = {p.name: p.read_bytes() for p in tmp_path.glob("*.*s*") if p.is_file()}
    with pytest.raises(RunDirectoryError, match=message) as caught:
        run(dataset, tmp_path, dataclasses.replace(config, **change), pretraining_options)
    assert str(tmp_path) in str(caught.value)
    after = {p.name: p.read_bytes() for p in tmp_path.glob("*.*s*") if p.is_file()}
    assert after == before


def test_other_data_and_other_sizes_are_refused(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options, monkeypatch
) -> None:
    run(dataset, tmp_path, pretraining_config, pretraining_options)
    wider = dataclasses.replace(pretraining_config.model, width=32)
    with pytest.raises(RunDirectoryError, match="model was "):
        run(
            dataset,
            tmp_path,
            dataclasses.replace(pretraining_config, model=wider),
            pretraining_options,
        )
    monkeypatch.setattr(Dataset, "fingerprint", lambda _: "changed")
    with pytest.raises(RunDirectoryError, match=r"another inputs: dataset was .* now 'changed'"):
        run(dataset, tmp_path, pretraining_config, pretraining_options)


def test_half_a_checkpoint_is_refused_by_name(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    run(dataset, tmp_path, pretraining_config, pretraining_options)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(
        CheckpointError, match=r"checkpoint\.safetensors is no PWM checkpoint or is"
    ):
        run(dataset, tmp_path, pretraining_config, pretraining_options)


def test_checkpoint_of_another_size_names_the_tensor(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    wider = dataclasses.replace(
        pretraining_config, model=dataclasses.replace(pretraining_config.model, width=32)
    )
    run(dataset, tmp_path / "wide", wider, pretraining_options)
    run(dataset, tmp_path / "own", pretraining_config, pretraining_options)
    (tmp_path / "wide" / "checkpoint.safetensors").replace(
        tmp_path / "own" / "checkpoint.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"does not fit: dynamics\.0\.bias is \(32,\), expec"):
        run(dataset, tmp_path / "own", pretraining_config, pretraining_options)


def test_update_without_a_window_is_refused(pretraining_config: PretrainingConfig) -> None:
    with pytest.raises(PwmError, match="7 transitions per update hold no window of 8 decisions"):
        dataclasses.replace(pretraining_config, transitions=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates": 0}, "updates is 0, expected 1 or more"),
        ({"horizon": 0}, "horizon is 0, expected 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, expected above 0"),
        ({"encoder_rate": -0.3}, "encoder_rate is -0.3, expected 0 or more"),
        ({"clip": 0.0}, "clip is 0.0, expected above 0"),
        ({"held_out": 0.0}, "held_out is 0.0, expected above 0 and below 1"),
        ({"held_out": 1.0}, "held_out is 1.0, expected above 0 and below 1"),
        (
            {"curriculum": ((0.5, 0),)},
            "curriculum has horizon 0 for 0.5 of the updates, expected 1",
        ),
        ({"curriculum": ((-0.5, 2),)}, "for -0.5 of the updates, expected 1 or more for a share"),
        ({"betas": (0.9, 1.0)}, "betas is (0.9, 1.0), expected 0 or more and below 1"),
    ],
    ids=str,
)
def test_numbers_that_make_no_sense_are_refused(
    pretraining_config: PretrainingConfig, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(PwmError, match=re.escape(message)):
        dataclasses.replace(pretraining_config, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulate": 0}, "accumulate is 0, expected 1 or more"),
        ({"validate_every": 0}, "validate_every is 0, expected 1 or more"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0, expected 1 or more"),
        ({"threads": -1}, "threads is -1, expected 0 or more"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PwmError, match=message):
        PretrainingOptions(**change)


def test_more_parts_than_windows_are_refused(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    options = dataclasses.replace(pretraining_options, accumulate=9)
    with pytest.raises(PwmError, match="accumulate is 9, expected 8 or less, the windows per"):
        Pretraining(dataset, tmp_path, pretraining_config, options)


def test_curriculum_lengthens_the_windows(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    config = dataclasses.replace(pretraining_config, curriculum=((0.5, 2), (0.25, 4)))
    training = Pretraining(dataset, tmp_path, config, pretraining_options)
    horizons = []
    for training.step in range(config.updates):
        horizons.append(training._horizon(training.step))
    assert horizons == [2] * 10 + [4] * 5 + [8] * 5


def test_observations_are_normalised_per_task(
    dataset: Dataset, pretraining_config: PretrainingConfig
) -> None:
    model = build_model(dataset, pretraining_config.model)
    for index, task in enumerate(dataset.tasks):
        rows = np.concatenate([dataset.observation[e.rows] for e in dataset.of_task(task)])
        normal = (rows - model.observation_mean[index].numpy()) / (
            model.observation_scale[index].numpy()
        )
        np.testing.assert_allclose(normal.mean(0), 0, atol=1e-3)
        np.testing.assert_allclose(normal.std(0), 1, atol=1e-2)


def test_held_out_episodes_never_train(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    training = Pretraining(dataset, tmp_path, pretraining_config, pretraining_options)
    held_out = {e.start for e in dataset.episodes if e.seed == 3}
    for sampler in training.samplers.values():
        assert not held_out & set(sampler._start.tolist())
    assert set(training.validation.task.tolist()) == {0, 1}


@pytest.mark.parametrize("parts", [2, 5, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options, parts: int
) -> None:
    """Sixteen windows in parts that do not all have the same size."""
    config = changed(pretraining_config, "all heads")
    gradients, figures = [], []
    for accumulate in (1, parts):
        options = dataclasses.replace(pretraining_options, accumulate=accumulate)
        training = Pretraining(dataset, tmp_path, config, options)
        # Double, to be tight; eval, as spectral norm's power iteration counts passes.
        training.model.double().eval()
        torch.manual_seed(0)
        last = training.model.reward_head[-1].get_parameter("weight")
        torch.nn.init.normal_(last, std=0.1)
        figures.append(training._gradients(training._windows()))
        gradients.append([parameter.grad for parameter in training.model.parameters()])
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-5, atol=1e-9)
    for name, value in figures[0].items():
        torch.testing.assert_close(figures[1][name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_heads_for_disagreement_leave_training_as_it_is(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    alone = run(dataset, tmp_path / "alone", pretraining_config, pretraining_options)
    model = dataclasses.replace(pretraining_config.model, dynamics_heads=3)
    config = dataclasses.replace(pretraining_config, model=model)
    together = run(dataset, tmp_path / "together", config, pretraining_options)
    assert len(together) > len(alone)
    for name, tensor in alone.items():
        assert torch.equal(together[name], tensor), name


def test_bfloat16_is_near_float32(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    figures = []
    for precision in ("float32", "bfloat16"):
        config = dataclasses.replace(pretraining_config, precision=precision)
        training = Pretraining(dataset, tmp_path, config, pretraining_options)
        figures.append(training._update())
        assert all(p.dtype == torch.float32 for p in training.model.parameters())
    for name, value in figures[0].items():
        assert figures[1][name].item() == pytest.approx(value.item(), rel=0.1), name
        assert figures[1][name].item() != value.item(), name


def test_metrics_tell_the_held_out_loss_and_each_tasks_errors(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    training = Pretraining(dataset, tmp_path, pretraining_config, pretraining_options)
    trained = training.run()
    last = read_metrics(tmp_path)[-1]
    loss = world_model_loss(training.model, training.validation, pretraining_config.weights)
    assert last["validation/total"] == pytest.approx(loss.total.item())
    assert last["validation/reward"] == pytest.approx(loss.reward.item())
    assert trained.quality["reward_error"] == last["reward_error"]
    for task in dataset.tasks:
        quality = trained.quality["tasks"][task]
        assert quality["reward_error"] == last[f"reward_error/{task}"] > 0
        assert quality["latent_error"][-1] == last[f"latent_error/{task}"] > 0
    board = EventAccumulator(str(tmp_path)).Reload()
    assert f"reward_error/{next(iter(dataset.tasks))}" in board.Tags()["scalars"]


@pytest.fixture
def falling(tmp_path: Path) -> Dataset:
    """An episodic task whose first observation grows; the episode ends when it reaches 1."""
    info = TaskInfo.of(get_task("cartpole-swingup"))
    info = dataclasses.replace(info, name="falling", episodic=True)
    writer = DatasetWriter(tmp_path / "falling", [info])
    rng = np.random.default_rng(0)
    for number in range(40):
        steps = 3 + number % 12  # some fall before a window of 8 is full
        observation = 0.1 * rng.normal(size=(steps + 1, 5))
        observation[:, 0] = np.linspace(1 - 0.1 * steps, 1, steps + 1)
        action = rng.uniform(-1, 1, (steps, 1))
        writer.append("falling", "x", number, observation, action, action[:, 0], True)
    return Dataset(tmp_path / "falling")


def test_the_end_of_episodes_is_learned(
    falling: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    config = changed(pretraining_config, "all heads")
    config = dataclasses.replace(config, updates=250, learning_rate=1e-2)
    options = dataclasses.replace(pretraining_options, validate_every=250, checkpoint_every=250)
    training = Pretraining(falling, tmp_path, config, options)
    training.run()
    windows = training.validation
    prediction = predict(training.model, windows)
    with torch.no_grad():
        embedding = training.model.embedding(windows.task).expand(8, -1, -1)
        goes_on = training.model.continues(prediction.latent[1:], embedding)
    assert windows.terminal.sum() > 10
    assert goes_on[windows.terminal == 1].mean() < 0.5 < goes_on[windows.terminal == 0].mean()
    assert goes_on[windows.terminal == 0].mean() > 0.9
