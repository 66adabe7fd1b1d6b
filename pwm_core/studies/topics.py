# SPDX-License-Identifier: Apache-2.0
"""The studies by name. One is imported only when it is run: each brings what it measures."""

from __future__ import annotations

from importlib import import_module

from pwm_core.errors import PwmError
from pwm_core.studies.study import Topic

TOPICS: dict[str, str] = {
    "action-dimensions": "pwm_core.studies.action_dimensions",
    "muscles": "pwm_core.studies.muscles",
    "first-order-vs-zeroth": "pwm_core.studies.first_order_vs_zeroth",
    "ground-truth-dynamics": "pwm_core.studies.ground_truth_dynamics",
    "horizon-batch": "pwm_core.studies.horizon_batch",
    "regularisation": "pwm_core.studies.regularisation",
    "offline-coverage": "pwm_core.studies.offline_coverage",
    "multi-task-vs-per-task": "pwm_core.studies.multi_task_vs_per_task",
    "generalisation": "pwm_core.studies.generalisation",
    "online-world-model": "pwm_core.studies.online_world_model",
    "finetune": "pwm_core.studies.finetune",
}
"""Module of each study, which has it as ``TOPIC``."""


def topic(name: str) -> Topic:
    """Return the study called ``name``; ``PwmError`` lists the names otherwise."""
    if name not in TOPICS:
        raise PwmError(f"unknown study {name!r}: the studies are {', '.join(TOPICS)}")
    return import_module(TOPICS[name]).TOPIC
