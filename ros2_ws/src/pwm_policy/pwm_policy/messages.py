# SPDX-License-Identifier: Apache-2.0
"""Bundles as ROS messages."""

from __future__ import annotations

import json

from pwm_interfaces.msg import PolicyInfo

from pwm_core.sources import PREVIOUS_ACTION
from pwm_export.bundle import Bundle


def policy_info(name: str, bundle: Bundle) -> PolicyInfo:
    """Return what an operator wants to know of a bundle."""
    return PolicyInfo(
        name=name,
        task=bundle.task,
        control_step=bundle.control_step,
        observation_hash=bundle.observation.hash(),
        action_hash=bundle.action.hash(),
        topics=observed_topics(bundle),
        monitor="monitor" in bundle.metadata,
        sha256=bundle.sha256,
        created=str(bundle.metadata.get("created", "")),
        provenance=json.dumps(bundle.metadata.get("provenance", {})),
        evaluation=json.dumps(bundle.metadata.get("evaluation", {})),
    )


def observed_topics(bundle: Bundle) -> list[str]:
    """Return the topics that ``bundle``'s observation comes from, without its own commands."""
    topics = {channel.topic for channel in bundle.observation.channels}
    return sorted(topics - {PREVIOUS_ACTION.topic})
