# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.checkpoint import load_checkpoint
from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter
from pwm_core.extraction.config import ExtractionOptions
from pwm_core.extraction.store import TrainedPolicy
from pwm_core.files import sha256
from pwm_core.finetuning import runner
from pwm_core.finetuning.config import FinetuningConfig
from pwm_core.finetuning.gate import (
    Contenders,
    Verdict,
    action_changes,
    imagined,
    not_worse,
    prediction,
    rejected,
    window_errors,
    windows_of,
)
from pwm_core.finetuning.held_out import LEAST_WINDOWS, side_by_side
from pwm_core.finetuning.inputs import (
    FinetuningError,
    of_policy,
    require_match,
    single_task,
    two_robots,
)
from pwm_core.finetuning.runner import Finetuning, Sources
from pwm_core.finetuning.stages import ModelTuning, PolicyTuning, model_config
from pwm_core.model.store import TrainedWorldModel
from pwm_core.pretraining.judgement import judge
from pwm_core.pretraining.runner import PretrainingOptions
from pwm_core.run_directory import read_metrics

TASK = "cartpole-swingup"
LONGER = FinetuningConfig(updates=6, transitions=64, horizon=4, iterations=4, critic_iterations=2)
SMALL = FinetuningConfig(updates=4, transitions=64, horizon=4, iterations=2, critic_iterations=1)


@pytest.fixture(scope="module", autouse=True)
def checkpoints_every_two_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "EVERY", 2)
        yield


@pytest.fixture
def sources(tiny_world_model: Path, tiny_policy: Path, tiny_data: Path) -> Sources:
    return Sources(tiny_world_model, tiny_policy, tiny_data, tiny_data)


@pytest.fixture
def single(trained: TrainedWorldModel) -> TrainedWorldModel:
    return single_task(trained, TASK)


@pytest.fixture
def running(tiny_policy: Path) -> TrainedPolicy:
    return TrainedPolicy.load(tiny_policy)


def tuning(single: TrainedWorldModel, data: Dataset, running: TrainedPolicy, out: Path):
    options = ExtractionOptions("cpu")
    return PolicyTuning(single, data, data, out, SMALL, options, running, running)


def test_model_of_one_task_predicts_as_before(
    trained: TrainedWorldModel, single: TrainedWorldModel
) -> None:
    o, a = torch.randn(7, 5), torch.rand(7, 1)
    old, new = torch.zeros(7, dtype=torch.long) + trained.task_index(TASK), torch.zeros(7).long()
    z = trained.model.encode(o, old)
    assert torch.allclose(single.model.encode(o, new), z, atol=1e-6)
    for method in ("next", "reward"):
        before = getattr(trained.model, method)(z, a, trained.model.embedding(old))
        after = getattr(single.model, method)(z, a, single.model.embedding(new))
        assert torch.allclose(before, after, atol=1e-5), method


def test_robots_begin_alike_and_both_are_remembered(single: TrainedWorldModel) -> None:
    """A model that was fine-tuned goes on with what it learned of either robot."""
    o, a, now, before = (
        torch.randn(7, 5),
        torch.rand(7, 1),
        torch.zeros(7).long(),
        torch.ones(7).long(),
    )
    pair = two_robots(single, TASK)
    z = pair.model.encode(o, now)
    assert torch.equal(z, pair.model.encode(o, before))
    assert torch.equal(*(pair.model.next(z, a, pair.model.embedding(t)) for t in (now, before)))
    with torch.no_grad():
        pair.model.task_embedding[1].add_(0.01)
    again = two_robots(pair, TASK)
    assert again.tasks == pair.tasks
    assert torch.allclose(again.model.task_embedding, pair.model.task_embedding)
    assert torch.allclose(again.model.encode(o, before), z, atol=1e-6)
    assert single_task(pair, TASK).tasks == single.tasks


def test_half_of_a_batch_is_online(
    single: TrainedWorldModel, dataset: Dataset, running: TrainedPolicy, tmp_path: Path
) -> None:
    """Rewards tell the sources apart: those of the offline copy are moved by 100."""
    online = of_policy(dataset, running, 4)
    writer = DatasetWriter(tmp_path / "offline", [running.task])
    for episode in online.episodes:
        found = online.trajectory(episode)
        writer.extend([dataclasses.replace(found, reward=found.reward + 100)])
    offline = of_policy(Dataset(tmp_path / "offline"), running, 4)
    two_robots(single, TASK).save(tmp_path / "start.safetensors")
    config = model_config(SMALL, single.model.config)
    options = PretrainingOptions("cpu", compile=False, threads=1)
    run = ModelTuning(
        online, offline, tmp_path / "run", config, options, tmp_path / "start.safetensors"
    )
    for number in range(5):
        batch = run.samplers[4].batch(number)
        assert batch.reward.shape == (4, 16)
        old_robot = batch.task == 1
        assert old_robot.sum() == 8
        assert torch.equal(batch.reward[0] > 50, old_robot)
    assert (run.validation.reward < 50).all()


def test_warm_start_acts_as_the_running_policy(
    single: TrainedWorldModel, dataset: Dataset, running: TrainedPolicy, tmp_path: Path
) -> None:
    """Also through the critics' own iterations; then the actor moves."""
    data = of_policy(dataset, running, 4)
    run = tuning(single, data, running, tmp_path)
    o = torch.from_numpy(np.array(data.observation[:50]))
    before = running.policy(o)
    assert torch.allclose(run.policy()(o), before, atol=1e-5)
    run.iterate()
    assert torch.allclose(run.policy()(o), before, atol=1e-5)
    run.iteration = 1
    run.iterate()
    assert not torch.allclose(run.policy()(o), before, atol=1e-5)


@pytest.mark.parametrize("bound", ["action_change", "action_drift"])
def test_an_iterate_that_acts_all_too_differently_is_not_kept(
    bound: str,
    single: TrainedWorldModel,
    dataset: Dataset,
    running: TrainedPolicy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However much the model imagines of it."""
    data = of_policy(dataset, running, 4)
    narrow = dataclasses.replace(SMALL, gate=dataclasses.replace(SMALL.gate, **{bound: 1e-6}))
    options = ExtractionOptions("cpu", evaluate_every=1)
    run = PolicyTuning(single, data, data, tmp_path, narrow, options, running, running)
    imagined = iter([1.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(run, "imagined_return", lambda _: next(imagined))
    candidate = run.run({})
    lines = read_metrics(tmp_path)
    assert [line["imagined_return"] for line in lines] == [1, 1, 2, 3]
    assert [line[bound] > 1e-6 for line in lines] == [False, False, True, True]
    assert candidate.record["training"]["kept"] == 0
    o = torch.from_numpy(np.array(data.observation[:50]))
    assert torch.allclose(candidate.policy(o), running.policy(o), atol=1e-5)


def test_candidate_and_its_record(sources: Sources, tmp_path: Path) -> None:
    before = sources.policy.read_bytes()
    stages: list[str] = []
    proposal = Finetuning(sources, tmp_path / "run", SMALL).run(stages.append)
    assert stages == ["world model", "policy", "gate"]
    assert sources.policy.read_bytes() == before
    candidate = TrainedPolicy.load(proposal.policy)
    gate = json.loads((tmp_path / "run" / "gate.json").read_text())
    assert gate["accepted"] == proposal.accepted == (rejected(candidate.record) is None)
    provenance = candidate.record["provenance"]
    assert gate["lineage"].items() <= provenance.items()
    assert set(gate["lineage"]) >= {"running_policy", "running_world_model", "offline_dataset"}


def test_the_first_policy_is_what_drift_is_measured_from(
    sources: Sources, running: TrainedPolicy, tmp_path: Path
) -> None:
    first = deepcopy(running)
    with torch.no_grad():
        first.policy.actor.mean[-1].bias.add_(0.5)
    first.save(tmp_path / "first.safetensors")
    sources = dataclasses.replace(sources, origin=tmp_path / "first.safetensors")
    proposal = Finetuning(sources, tmp_path / "run", SMALL).run()
    figures = {verdict.check: verdict.figure for verdict in proposal.verdicts}
    assert figures["action change"] < 0.1 < figures["action drift"]
    lineage = TrainedPolicy.load(proposal.policy).record["provenance"]
    assert lineage["origin_policy"] == sha256(sources.origin)
    other = dataclasses.replace(first, task=dataclasses.replace(first.task, name="another"))
    other.save(tmp_path / "other.safetensors")
    sources = dataclasses.replace(sources, origin=tmp_path / "other.safetensors")
    with pytest.raises(FinetuningError, match="is a policy of another, or of other layouts"):
        Finetuning(sources, tmp_path / "refused", SMALL)


class Interrupted(Exception):
    """What stands for a power cut."""


@pytest.mark.parametrize("stage", ["world model", "policy", "gate"])
def test_a_run_cut_short_anywhere_ends_in_the_same_candidate(
    sources: Sources, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """In the midst of training the model, the policy, and before the gate."""
    with monkeypatch.context() as patch:
        cut(patch, stage)
        with pytest.raises(Interrupted):
            Finetuning(sources, tmp_path / "run", LONGER).run()
    half = tmp_path / "run" / "candidate" / "policy.safetensors"
    assert half.exists() == (stage == "gate")
    if stage == "gate":
        assert "not met its gate" in (rejected(TrainedPolicy.load(half).record) or "")
    resumed = Finetuning(sources, tmp_path / "run", LONGER).run()
    expected = json.loads((straight / "gate.json").read_text())["verdicts"]
    assert [verdict.to_json() for verdict in resumed.verdicts] == expected
    for file in ("world_model/world_model.safetensors", "candidate/policy.safetensors"):
        (mine, _), (theirs, _) = (load_checkpoint(f / file) for f in (tmp_path / "run", straight))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine), file


def cut(patch: pytest.MonkeyPatch, stage: str) -> None:
    """Interrupt a stage after three of its six steps, of which two are in a checkpoint."""
    if stage == "gate":
        patch.setattr(runner, "verdicts", lambda *_: interrupt())
        return
    owner, name = (ModelTuning, "_update") if stage == "world model" else (PolicyTuning, "advance")
    original, calls = getattr(owner, name), []

    def step(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            interrupt()
        return original(self, *arguments)

    patch.setattr(owner, name, step)


def interrupt() -> None:
    raise Interrupted


@pytest.fixture(scope="module")
def straight(
    tiny_world_model: Path,
    tiny_policy: Path,
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run directory of one that nothing interrupted."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("straight")
    Finetuning(Sources(tiny_world_model, tiny_policy, tiny_data, tiny_data), out, LONGER).run()
    return out


def test_progress_can_be_followed(straight: Path) -> None:
    lines = [json.loads(line) for line in (straight / "progress.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["world model", "policy", "gate", "done"]
    assert [line["steps"] for line in lines[:3]] == [6, 6, 0]
    for line in lines[:2]:
        assert read_metrics((straight / line["metrics"]).parent)[-1]["step"] == line["steps"]


def test_gate_refuses_a_worse_candidate_and_a_worse_model(
    single: TrainedWorldModel, dataset: Dataset, running: TrainedPolicy, tiny_world_model: Path
) -> None:
    data = of_policy(dataset, running, 4)
    wild = TrainedPolicy.load(running_path(running, tiny_world_model))
    with torch.no_grad():
        for parameter in wild.policy.actor.mean[-1].parameters():
            parameter.mul_(-1).sub_(3.0)
    same = Contenders(single, single, running, running, running)
    gate = SMALL.gate
    assert imagined(same, data, gate, 0).passed
    assert [v.figure for v in action_changes(same, data, gate, 0)] == [0, 0]
    assert all(v.passed for v in prediction(same, windows_of(data, 4, 0), 100, gate))
    changed, drifted = (Contenders(single, single, r, wild, running) for r in (running, wild))
    narrow = dataclasses.replace(gate, action_change=1.0, action_drift=1.0)
    assert [v.passed for v in action_changes(changed, data, narrow, 0)] == [False, False]
    assert [v.passed for v in action_changes(drifted, data, narrow, 0)] == [True, False]
    assert [v.passed for v in action_changes(drifted, data, gate, 0)] == [True, True]
    swapped = [
        imagined(Contenders(single, single, *pair, running), data, gate, 0)
        for pair in ((running, wild), (wild, running))
    ]
    assert sorted(v.passed for v in swapped) == [False, True]


@pytest.mark.parametrize(
    ("worse_by", "least", "most"), [(0.0, 0.01, 0.04), (0.1, 1.0, 1.0), (-0.1, 0.0, 0.0)]
)
def test_a_model_is_refused_that_is_plainly_worse_and_rarely_one_that_is_as_good(
    worse_by: float, least: float, most: float
) -> None:
    """Two models that err by as much, each in other windows, are told apart one time in forty."""
    rng, draws, windows = np.random.default_rng(0), 2000, 150
    refused = 0
    for _ in range(draws):
        old = torch.from_numpy(rng.gamma(4.0, 0.25, windows))
        new = old + torch.from_numpy(rng.normal(worse_by, 0.2, windows))
        refused += not not_worse("by the test", old, new, windows, 2.0).passed
    assert least <= refused / draws <= most


def test_windows_that_overlap_say_less() -> None:
    old = torch.ones(1000)
    new = old + 0.05 + 0.2 * torch.tensor([-1.0, 1.0]).repeat(500)
    assert not not_worse("by the test", old, new, 1000, 2.0).passed
    assert not_worse("by the test", old, new, 30, 2.0).passed
    assert not not_worse("by the test", old, new, 30, 0.0).passed
    assert not not_worse("by the test", old, old + 1e-6, 1000, 2.0).passed  # worse in every window


def test_a_model_that_was_spoilt_is_refused(
    single: TrainedWorldModel, dataset: Dataset, running: TrainedPolicy
) -> None:
    data = of_policy(dataset, running, 4)
    windows, apart = windows_of(data, 4, 0), side_by_side(data.episodes, 4)
    spoilt, noise = deepcopy(single), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in spoilt.model.dynamics.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise))
    latent, *_ = prediction(
        Contenders(single, spoilt, running, running, running), windows, apart, SMALL.gate
    )
    assert not latent.passed
    latent, *_ = prediction(
        Contenders(spoilt, single, running, running, running), windows, apart, SMALL.gate
    )
    assert latent.passed


def test_errors_of_windows_are_those_that_a_model_is_judged_by(
    single: TrainedWorldModel, dataset: Dataset, running: TrainedPolicy
) -> None:
    windows = windows_of(of_policy(dataset, running, 4), 4, 0)
    found, judged = window_errors(single.model, windows), judge(single.model, windows)
    assert found["latent"].mean().item() == pytest.approx(np.mean(judged.latent_error))
    assert found["reward"].mean().item() == pytest.approx(judged.reward_error)


def running_path(running: TrainedPolicy, near: Path) -> Path:
    path = near.parent / "copy.safetensors"
    running.save(path)
    return path


def test_what_is_not_a_number_passes_nothing() -> None:
    for relation in ("below", "at most", "at least"):
        assert not Verdict("x", float("nan"), relation, 1.0, "").passed


def test_data_of_another_task_or_layout_is_refused(
    dataset: Dataset, running: TrainedPolicy
) -> None:
    other = dataclasses.replace(running, task=dataclasses.replace(running.task, name="walker-walk"))
    with pytest.raises(DatasetError, match="has no task 'walker-walk'"):
        of_policy(dataset, other, 4)
    slow = dataclasses.replace(running, task=dataclasses.replace(running.task, control_step=0.5))
    with pytest.raises(DatasetError, match=r"control_step is 0\.02, expected 0\.5"):
        of_policy(dataset, slow, 4)


def test_policy_of_another_world_model_is_refused(
    trained: TrainedWorldModel, running: TrainedPolicy
) -> None:
    with torch.no_grad():
        trained.model.encoder.get_parameter("0.weight").add_(0.1)
    with pytest.raises(FinetuningError, match="not extracted from this world model"):
        require_match(trained, running)


def test_nan_in_online_data_is_refused(sources: Sources, tmp_path: Path) -> None:
    import shutil

    bad = tmp_path / "online"
    shutil.copytree(sources.online, bad)
    np.memmap(bad / "reward.f32", "<f4", "r+")[5] = np.nan
    with pytest.raises(DatasetError, match="episode 0"):
        Finetuning(dataclasses.replace(sources, online=bad), tmp_path / "run", SMALL)


@pytest.mark.parametrize("windows", [LEAST_WINDOWS - 1, LEAST_WINDOWS])
def test_so_few_held_out_windows_that_the_gate_could_not_judge_are_refused(
    sources: Sources, running: TrainedPolicy, dataset: Dataset, tmp_path: Path, windows: int
) -> None:
    """The last of two episodes judges; one decision less would be a window less."""
    writer = DatasetWriter(tmp_path / "online", [running.task])
    first, last = (dataset.trajectory(e) for e in dataset.of_task(TASK)[:2])
    kept = windows * SMALL.horizon
    writer.extend(
        [
            first,
            dataclasses.replace(
                last,
                observation=last.observation[: kept + 1],
                action=last.action[:kept],
                reward=last.reward[:kept],
            ),
        ]
    )
    given = dataclasses.replace(sources, online=tmp_path / "online")
    if windows >= LEAST_WINDOWS:
        Finetuning(given, tmp_path / "run", SMALL)
        return
    with pytest.raises(FinetuningError, match="9 windows of 4 decisions fit side by side"):
        Finetuning(given, tmp_path / "run", SMALL)
    assert not (tmp_path / "run").exists()
