# SPDX-License-Identifier: Apache-2.0
"""Stands in for `pwm` where a test needs a learner that fails, or a gate that is deceived.

scripted_learner.py PLAN finetune|export … : PLAN is a JSON file of what each call does, in turn;
the last of its kind is repeated.

finetune: pass, refuse, same (a candidate that acts as before), diverge (status 3, words and nothing
made), lie (status 0 and nothing made), or any of those below.
export: the path of a bundle to deliver, or die, half (a half-written bundle, then death),
wrong (exit status 2), hang.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def main(plan_file: Path, verb: str, options: list[str]) -> int:
    plan = json.loads(plan_file.read_text())
    calls = plan_file.with_suffix(f".{verb}")
    number = int(calls.read_text()) if calls.exists() else 0
    calls.write_text(str(number + 1))
    action = plan[verb][min(number, len(plan[verb]) - 1)]
    out = Path(options[options.index("--out") + 1])
    if action == "half":
        out.mkdir(parents=True, exist_ok=True)
        (out / ".bundle.onnx.part").write_bytes(b"half")
    if action in ("die", "half"):
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "hang":
        time.sleep(3600)
    if action == "wrong":
        return 2
    if action == "diverge":
        print("refused: the running policy stays; training has diverged", file=sys.stderr)
        return 3
    if action == "lie":
        return 0
    if verb == "export":
        task = Path(action).parent.name
        out.mkdir(parents=True, exist_ok=True)
        shutil.copy(action, out / f"{task}.onnx")
        return 0
    (out / "candidate").mkdir(parents=True, exist_ok=True)
    (out / "candidate" / "policy.safetensors").write_text(f"candidate {number}")
    (out / "world_model").mkdir(exist_ok=True)
    (out / "world_model" / "world_model.safetensors").write_text(f"world model {number}")
    accepted = action in ("pass", "same")
    check = {"check": "imagined return", "figure": 1.0, "relation": "at least", "bound": 2.0}
    change = {"check": "action change", "figure": 0.0 if action == "same" else 0.1}
    change |= {"relation": "at most", "bound": 1.0}
    verdicts = [check | {"passed": accepted}, change | {"passed": True}]
    (out / "gate.json").write_text(json.dumps({"accepted": accepted, "verdicts": verdicts}))
    return 0 if accepted else 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
