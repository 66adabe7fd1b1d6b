# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks [NAME …]``: measure, print, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    collection,
    control_loop,
    extraction,
    inference,
    on_device,
    pretraining,
    sampler,
)
from benchmarks.measure import clock_name
from benchmarks.settings import FULL, QUICK
from pwm_core.device import resolve_device
from pwm_core.run_directory import git_revision, machine
from pwm_core.tables import print_table

BENCHMARKS = {
    "collection": collection,
    "pretraining": pretraining,
    "extraction": extraction,
    "inference": inference,
    "sampler": sampler,
    "control_loop": control_loop,
}

ON_DEVICE = {"extraction": on_device.extraction, "pretraining": on_device.pretraining}
"""What ``--device`` measures instead."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--device", help=f"{' and '.join(ON_DEVICE)} on a GPU instead: cuda")
    parser.add_argument("--models", nargs="+", choices=FULL.models, help="sizes of world models")
    parser.add_argument("--quick", action="store_true", help="see that it runs; no real figures")
    parser.add_argument("--profile", action="store_true", help="the costliest operators instead")
    parsed = parser.parse_args(argv)
    known = ON_DEVICE if parsed.device else BENCHMARKS
    unknown = sorted(set(parsed.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    if parsed.device and parsed.profile:
        parser.error("--profile is for a CPU")
    parsed.names = parsed.names or list(known)
    return parsed


def circumstances() -> dict[str, Any]:
    """Return what a reader needs to place the figures."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "clock": clock_name(),
        "git": git_revision(),
        "load_before": os.getloadavg(),
    }


def main(argv: Sequence[str]) -> int:
    """Run the benchmarks asked for."""
    asked = arguments(argv)
    torch.set_num_threads(asked.threads)
    settings = QUICK if asked.quick else FULL
    if asked.models:
        settings = replace(settings, models=tuple(asked.models))
    if asked.device:
        settings = replace(settings, device=str(resolve_device(asked.device)))
    record, figures = circumstances(), {}
    for name in asked.names:
        begin, module = time.monotonic(), BENCHMARKS[name]
        with tempfile.TemporaryDirectory() as directory:
            run = module.profiled if asked.profile else module.measure
            run = ON_DEVICE[name] if asked.device else run
            rows = run(Path(directory), settings)
        figures[name] = rows
        kind = "profile" if asked.profile else f"{asked.threads} thread(s)"
        kind = asked.device or kind
        print_table(f"{name}, {kind}, {time.monotonic() - begin:.0f} s", rows, as_json=False)
    record |= {"load_after": os.getloadavg(), "figures": figures}
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
