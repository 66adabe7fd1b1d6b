# SPDX-License-Identifier: Apache-2.0
"""A small run directory. All figures in it are made up; positions come from the simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pwm_core.checkpoint import save_checkpoint
from pwm_core.data.dataset import DatasetWriter, TaskInfo
from pwm_core.evaluation.score import Score
from pwm_core.extraction.store import TrainedPolicy, build_policy
from pwm_core.files import sha256
from pwm_core.model.world_model import SIZES
from pwm_core.tasks import get_task
from pwm_core.verbs.eval import record

TASKS = ("cartpole-swingup", "cartpole-balance")
CONTROLLERS = {
    "random": 51.0,
    "data, mean": 290.0,
    "data, best episode": 612.0,
    "cloning, all data": 501.0,
    "cloning, best tenth": 533.0,
    "extracted policy": 801.0,
}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_stage(path: Path, stage: str, metrics: list[dict[str, Any]], seed: int = 17) -> None:
    machine = {"cpus": 2, "platform": "Made-Up-1", "python": "3.11", "torch": "2.9", "cuda": None}
    config = {
        "stage": stage,
        "config": {"seed": seed, "updates": 20, "transitions": 64},
        "inputs": {"dataset": "0" * 64},
        "git": "0123456789abcdef",
        "machine": machine,
    }
    write_json(path / "config.json", config)
    lines = [json.dumps(line) for line in metrics]
    (path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 30, "rew']))


def write_data(path: Path) -> None:
    rng = np.random.default_rng(0)
    infos = [TaskInfo.of(get_task(name)) for name in TASKS]
    writer = DatasetWriter(path, infos)
    for info in infos:
        for seed, behaviour in enumerate(("uniform", "mpc-0.2")):
            observation = rng.normal(size=(4, info.observation.size))
            action = rng.uniform(-1, 1, (3, info.action.size))
            writer.append(info.name, behaviour, seed, observation, action, rng.uniform(size=3))


def write_policy(
    path: Path,
    task: str,
    training: dict[str, float] | None = None,
    diagnosis: list[dict[str, str]] | None = None,
    seed: int = 0,
) -> None:
    torch.manual_seed(seed)
    info = TaskInfo.of(get_task(task))
    described = {"model": vars(SIZES["tiny"]), "hidden": [8], "sigma_floor": 0.24}
    training = training or {"imagined_return": 810.0, "real_return": 800.0}
    record = {"training": training, "diagnosis": diagnosis or []}
    policy = TrainedPolicy(build_policy(info, described), info, described, record)
    policy.save(path / "policy.safetensors")


def evaluation(policies: Path) -> dict[str, Any]:
    scores = []
    for task in TASKS:
        for controller, mean in CONTROLLERS.items():
            single = controller == "data, best episode"
            returns = (mean,) if single else (mean - 10, mean, mean + 10)
            seeds = () if controller.startswith("data") else (0, 1, 2)
            file = policies / task / "policy.safetensors"
            digest = sha256(file) if controller == "extracted policy" else None
            scores.append(Score(task, controller, returns, seeds, digest))
    return record(scores)


def live_record() -> dict[str, Any]:
    """A made-up session as ``pwm_bringup.session`` writes it; the swap is after one second."""
    environment = get_task(TASKS[0]).make_single(0)
    environment.reset(seed=0)
    positions, rewards = [], []
    for step in range(100):
        _, reward, *_ = environment.step(np.array([np.sin(step / 5)]))
        positions.append(environment.data.qpos.tolist())
        rewards.append(float(reward))
    environment.close()
    swap = {
        "policy": "swingup",
        "success": True,
        "message": "swingup replaces balance",
        "answer_seconds": 0.001,
        "latency_seconds": 0.0187,
        "latency_of_node_seconds": 0.018,
    }
    shared = {"seed": 0, "blend": 0.0, "steps": 50, "return": 70.0, "mean_reward": 1.4}
    shared |= {"last_reward": 1.5, "task": TASKS[0], "seconds": 1.0}
    first = {"policy": "balance", "label": "first", "swap": None, "begin": 0.0, "end": 0.98}
    second = {"policy": "swingup", "label": "second", "swap": swap, "begin": 1.0, "end": 1.98}
    return {
        "segments": [shared | first, shared | second],
        "swaps": [swap],
        "refused_swap": {
            "policy": "<no> such & policy",
            "success": False,
            "message": "unknown policy",
            "policy_still_running": "swingup",
            "frames_after": 31,
        },
        "policy_node": {
            "ticks": 100,
            "missed_ticks": 3,
            "rate_hz": 49.87,
            "period_p50_ms": 20.01,
            "period_p99_ms": 20.44,
            "period_max_ms": 23.5,
            "inference_p50_ms": 0.14,
            "inference_p99_ms": 0.21,
            "inference_max_ms": None,
        },
        "bridge": {},
        "real_time_factor": 0.9991,
        "frames": {
            "joints": ["slider", "hinge_1"],
            "time": [round(0.02 * i, 6) for i in range(100)],
            "episode": [1] * 100,
            "task": [TASKS[0]] * 100,
            "policy": ["balance"] * 50 + ["swingup"] * 50,
            "reward": rewards,
            "positions": positions,
        },
    }


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    """A run's directory with every part."""
    run = tmp_path / "demo & more"
    write_data(run / "data")
    errors = [
        {"step": s, "reward_error": 0.2 / s, "latent_error": [0.1 / s, 1 / s]} for s in (5, 9)
    ]
    write_stage(run / "world_model", "pretrain", errors)
    quality = {"reward_error": 0.0213, "latent_error": [0.0111, 0.1111]}
    header = {"kind": "world_model", "quality": quality}
    save_checkpoint(run / "world_model/world_model.safetensors", {"w": torch.ones(2)}, header)
    for task in TASKS:
        curve = [{"step": s, "real_return": s + 1.0, "imagined_return": s + 2.0} for s in (0, 10)]
        write_stage(run / "policies" / task, "extract", curve)
        write_policy(run / "policies" / task, task)
    write_json(run / "evaluation.json", evaluation(run / "policies"))
    lockstep = {"task": TASKS[0], "policy": "swingup", "seed": 1, "return": 801.0801}
    write_json(run / "ros/lockstep.json", lockstep | {"steps": 500, "wall_seconds": 2.5})
    write_json(run / "ros/live.json", live_record())
    stages = [{"name": "collect", "seconds": 61.5}, {"name": "eval", "seconds": 12.0}]
    write_json(run / "stages.json", {"stages": stages})
    (run / "bundles").mkdir()
    (run / "bundles/swingup.onnx").write_bytes(b"made up")
    return run


MANY = {
    "cartpole-swingup": (800.0, 500.0, 300.0),
    "cartpole-balance": (900.0, 700.0, 400.0),
    "pendulum-swingup": (700.0, 600.0, 200.0),
    "walker-walk": (600.0, 500.0, 100.0),
    "mw-drawer-open": (0.5, 0.8, 0.2),
}
"""Made-up scores of policy, clone and data; success for Meta-World."""


def many_scores(policies: Path) -> dict[str, Any]:
    scores = []
    for task, (policy, clone, data) in MANY.items():
        for seed in range(3):
            file = policies / f"seed{seed}" / task / "policy.safetensors"
            rest = {"policy": sha256(file), "training_seed": seed, "decision_ms": (0.12, 0.34)}
            scores.append(many_score(task, "extracted policy", policy * (0.9 + 0.1 * seed), rest))
        scores.append(many_score(task, "cloning, best tenth", clone, {}))
        scores.append(many_score(task, "data, mean", data, {}))
    return record(scores, "mt80")


def many_score(task: str, controller: str, value: float, rest: dict[str, Any]) -> Score:
    """A score of ten episodes, all the same; ``value`` is the success of a Meta-World task."""
    if not task.startswith("mw-"):
        return Score(task, controller, (value,) * 10, tuple(range(10)), **rest)
    success = tuple(i < round(10 * value) for i in range(10))
    return Score(task, controller, (500 * value,) * 10, tuple(range(10)), success=success, **rest)


@pytest.fixture
def many_path(tmp_path: Path) -> Path:
    """A run's directory of five tasks, three training seeds each."""
    run = tmp_path / "many"
    quality = {"reward_error": 0.01, "latent_error": [0.01, 0.02]}
    tasks = dict.fromkeys(MANY, quality) | {"walker-walk": quality | {"reward_error": 0.17}}
    write_stage(run / "world_model", "pretrain", [])
    header = {"kind": "world_model", "quality": quality | {"tasks": tasks}}
    save_checkpoint(run / "world_model/world_model.safetensors", {"w": torch.ones(2)}, header)
    for seed in range(3):
        for task in MANY:
            folder = run / "policies" / f"seed{seed}" / task
            curve = [{"step": s, "real_return": s + 1.0, "imagined_return": 2.0} for s in (0, 9)]
            write_stage(folder, "extract", curve, seed)
            exploits = (task, seed) == ("cartpole-swingup", 2)
            training = {"imagined_return": 900.0, "real_return": 300.0 if exploits else 890.0}
            finding = {"signature": "model exploitation", "evidence": "e", "advice": "Train longer"}
            write_policy(folder, task, training, [finding] if exploits else [], seed)
    write_json(run / "evaluation.json", many_scores(run / "policies"))
    return run
