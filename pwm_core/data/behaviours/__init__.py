# SPDX-License-Identifier: Apache-2.0
"""What chooses the actions of offline data; one source per file."""

from __future__ import annotations

from pwm_core.data.behaviours.behaviour import Behaviour, BehaviourError, Trajectory
from pwm_core.data.behaviours.expert import ScriptedExpert
from pwm_core.data.behaviours.mpc import SamplingMpc
from pwm_core.data.behaviours.noise import Correlated, Uniform, correlated_noise
from pwm_core.data.behaviours.planner import Planner
from pwm_core.data.behaviours.policy import StoredPolicy
from pwm_core.data.behaviours.sac import SoftActorCritic

__all__ = [
    "Behaviour",
    "BehaviourError",
    "Correlated",
    "Planner",
    "SamplingMpc",
    "ScriptedExpert",
    "SoftActorCritic",
    "StoredPolicy",
    "Trajectory",
    "Uniform",
    "correlated_noise",
]
