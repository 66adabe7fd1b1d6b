# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pwm_finetune.node import _spin_once


def test_whatever_a_callback_raises_is_told_and_the_node_goes_on_to_its_end() -> None:
    said: list[str] = []

    def fails(timeout_sec: float) -> None:
        raise OSError(28, "No space left on device")

    executor: Any = SimpleNamespace(spin_once=fails)
    logger = SimpleNamespace(error=lambda text, **_: said.append(text))
    node: Any = SimpleNamespace(get_logger=lambda: logger)
    _spin_once(node, executor)
    assert said == ["OSError: [Errno 28] No space left on device"]
