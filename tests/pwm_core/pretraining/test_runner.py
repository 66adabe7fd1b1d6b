# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.checkpoint import CheckpointError, load_checkpoint
from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.pretraining.preparation import build_model
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.progress import ProgressDisplay
from pwm_core.run_directory import RunDirectoryError, read_metrics


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


@pytest.mark.parametrize("stop", [10, 13, 17, 20])
def test_interrupted_run_ends_in_the_same_numbers(
    dataset: Dataset,
    tmp_path: Path,
    pretraining_config: PretrainingConfig,
    pretraining_options: PretrainingOptions,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    """Weights, optimizer and metrics, bit for bit; the horizon changes at update 12."""
    arguments = pretraining_config, pretraining_options
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


def test_curriculum_lengthens_the_windows(
    dataset: Dataset, tmp_path: Path, pretraining_config, pretraining_options
) -> None:
    config = dataclasses.replace(pretraining_config, curriculum=((0.5, 2), (0.25, 4)))
    training = Pretraining(dataset, tmp_path, config, pretraining_options)
    horizons = []
    for training.step in range(config.updates):
        horizons.append(training._horizon())
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
