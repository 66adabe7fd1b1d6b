# SPDX-License-Identifier: Apache-2.0
"""Where rewards come from: the observation's message, a topic of their own, or a function."""

from __future__ import annotations

import importlib

from pwm_finetune.transitions import RewardFunction

MESSAGE, TOPIC = "message", "topic"


def reward_function(name: str) -> RewardFunction | None:
    """Return the function ``MODULE:FUNCTION``; None where rewards come in messages.

    ``ValueError`` when there is no such function.
    """
    if name in (MESSAGE, TOPIC):
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"reward {name!r}: {error}; expected {MESSAGE}, {TOPIC}, or MODULE:FUNCTION, a "
            "function of observation, action in [-1, 1] and next observation"
        ) from error
    if not callable(found):
        raise ValueError(f"reward {name!r} is {found!r}, expected a function")
    return found
