#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every check that runs no code of the project: format, style, types, shell, Dockerfile.

All of them run even if one complains; the exit status is 1 then. ``make lint`` calls this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = ROOT / "build" / "imports"
PACKAGES = {
    "pwm_core": "pwm_core",
    "pwm_export": "export",
    "pwm_bringup": "launch/pwm_bringup",
    "pwm_diagnostics": "ros2_ws/src/pwm_diagnostics/pwm_diagnostics",
    "pwm_finetune": "ros2_ws/src/pwm_finetune/pwm_finetune",
    "pwm_mujoco": "ros2_ws/src/pwm_mujoco/pwm_mujoco",
    "pwm_policy": "ros2_ws/src/pwm_policy/pwm_policy",
}
"""Import package to folder: mypy cannot follow an editable installation's renamed folders."""

SHELL_SCRIPTS = (".ci/run", "scripts/docker_entrypoint.sh", "scripts/env.sh")


def link_packages() -> None:
    """Lay every package under its import name side by side, as links."""
    IMPORTS.mkdir(parents=True, exist_ok=True)
    for name, folder in PACKAGES.items():
        link = IMPORTS / name
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(ROOT / folder, IMPORTS), target_is_directory=True)


def checks() -> dict[str, list[str]]:
    """Name and command of every check, to be run in the repository's root."""
    packages = [word for name in PACKAGES for word in ("-p", name)]
    return {
        "style": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "types": ["mypy", *packages],
        "shell": ["shellcheck", "--external-sources", *SHELL_SCRIPTS],
        "Dockerfile": ["hadolint", "Dockerfile"],
    }


def main() -> int:
    link_packages()
    environment = {**os.environ, "MYPYPATH": str(IMPORTS)}
    failed = []
    for name, command in checks().items():
        print(f"{name}: {' '.join(command)}", flush=True)
        started = time.monotonic()
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            failed.append(name)
        print(f"      {time.monotonic() - started:.0f} s", flush=True)
    print("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
