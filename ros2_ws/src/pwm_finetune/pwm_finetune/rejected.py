# SPDX-License-Identifier: Apache-2.0
"""The candidates that were found wanting: they are never proposed again. No ROS.

Whoever latches the emergency stop, or tells the fine-tuning node to roll back, has judged the one
that acts. A trial that was cut short otherwise found out nothing: by the safe action, for a sensor
may have been late; by the policy before, which the policy node lets act again by itself too. Its
candidate is taken back and not remembered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pwm_core.files import sha256, write_atomically


class Rejected:
    """``rejected.jsonl``: a line per candidate, known by its policy's digest."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file.is_file() else []
        self._entries: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def reason(self, policy: Path) -> str:
        """Return why the policy of this file was rejected; empty if it was not."""
        digest = sha256(policy)
        found = [entry["reason"] for entry in self._entries if entry["policy_sha256"] == digest]
        return found[0] if found else ""

    def add(self, candidate: str, policy: Path, reason: str) -> None:
        """Remember a candidate; one without a file has nothing to be known by."""
        if not policy.is_file() or self.reason(policy):
            return
        entry = {"candidate": candidate, "policy_sha256": sha256(policy), "reason": reason}
        self._entries.append(entry)
        write_atomically(self._file, "".join(json.dumps(e) + "\n" for e in self._entries))
