# SPDX-License-Identifier: Apache-2.0
"""Which command makes which part of a run's directory."""

from __future__ import annotations

from pathlib import Path


def collect(run: Path) -> str:
    return f"pwm collect --out {run}/data"


def pretrain(run: Path) -> str:
    return f"pwm pretrain --data {run}/data --out {run}/world_model"


def extract(run: Path) -> str:
    weights = f"{run}/world_model/world_model.safetensors"
    return f"pwm extract --world-model {weights} --data {run}/data --out {run}/policies"


def evaluate(run: Path) -> str:
    return f"pwm eval --policies {run}/policies --data {run}/data --out {run}/evaluation.json"


def export(run: Path) -> str:
    policies, evaluation = f"{run}/policies/*/policy.safetensors", f"{run}/evaluation.json"
    out = f"--evaluation {evaluation} --out {run}/bundles"
    return f"pwm export --policies {policies} --data {run}/data {out}"


def session(run: Path, kind: str) -> str:
    """``kind`` is ``lockstep`` or ``live``; needs a running ``pwm sim``."""
    return f"make demo, or ros2 run pwm_bringup session {kind} --output {run}/ros/{kind}.json"


def demo() -> str:
    return "make demo"
