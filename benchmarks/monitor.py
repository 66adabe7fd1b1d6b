# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.monitor BUNDLE …``: what a bundle's monitor sees, how soon, and its cost.

In lockstep, in the bridge's own world: nominal minutes, then each disturbance at several moments
of the episode. The cost is that of a decision's monitoring against the decision's own inference,
both timed in blocks that alternate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import Program, Row, interleave
from pwm_core.tables import print_table
from pwm_export.bundle import Bundle
from pwm_export.monitor import Detector
from pwm_mujoco.disturbances import Disturbances
from pwm_mujoco.world import World

DISTURBANCES: tuple[dict[str, float], ...] = (
    {"actuator_gain": 0.5},
    {"actuator_gain": 0.7},
    {"sensor_bias": 0.05},
    {"sensor_bias": 0.1},
    {"sensor_bias": 0.2},
    {"sensor_noise": 0.01},
    {"mass_scale": 1.5},
    {"observation_delay": 1},
    {"push_force": 10.0, "push_interval": 0.5},
)
ONSETS = (0.0, 0.3, 0.5, 5.0)
"""Seconds into the episode at which a disturbance begins."""
WATCHED = 2.0
"""Seconds after which a disturbance counts as not seen."""


def novelties(
    bundle: Bundle, seed: int, seconds: float, onset: float = 0.0, **disturbances: float
) -> np.ndarray:
    """Return the novelty of each decision of a lockstep run, disturbed from ``onset`` seconds on.

    Episodes follow each other as they do in the bridge.
    """
    assert bundle.monitor is not None
    world, detector = World(bundle.task, seed), Detector(bundle.monitor)
    found = np.empty(round(seconds / bundle.control_step))
    for decision in range(len(found)):
        if disturbances and decision == round(onset / bundle.control_step):
            world.disturb(Disturbances(**disturbances))
        if world.halted:
            world.reset()
        command = bundle.act(world.observation)
        found[decision] = detector.observe(world.observation, command)
        world.offer(bundle.action.names, command, world.step)
        world.decide()
    return found


def delay(bundle: Bundle, seed: int, onset: float, **disturbances: float) -> float:
    """Return the seconds from a disturbance to the first novelty above 1; infinite if unseen."""
    found = novelties(bundle, seed, onset + WATCHED, onset, **disturbances)
    novel = found[round(onset / bundle.control_step) :] > 1
    return (int(novel.argmax()) + 1) * bundle.control_step if novel.any() else float("inf")


def detection(bundle: Bundle, seeds: int) -> list[Row]:
    """Return how soon each disturbance is seen, at each onset: the slowest of ``seeds`` runs."""
    rows = []
    for disturbance in DISTURBANCES:
        slowest = {
            f"at {onset:g} s": max(delay(bundle, s, onset, **disturbance) for s in range(seeds))
            for onset in ONSETS
        }
        told = ", ".join(f"{name} {value:g}" for name, value in disturbance.items())
        rows.append({"disturbance": told, **slowest})
    return rows


def cost(bundle: Bundle, rounds: int = 50, calls: int = 200) -> Row:
    """Return milliseconds of a decision, of its monitoring, and their ratio (medians)."""
    assert bundle.monitor is not None
    detector = Detector(bundle.monitor)
    observation, command = np.zeros(bundle.observation.size), np.zeros(bundle.action.size)
    programs = {
        "decision": Program(lambda: bundle.act(observation), calls),
        "monitor": Program(lambda: detector.observe(observation, command), calls),
    }
    seconds = interleave(programs, rounds)
    ratio = float(np.median(seconds["monitor"] / seconds["decision"]))
    milliseconds = {f"{name} ms": 1e3 * float(np.median(s)) for name, s in seconds.items()}
    return {**milliseconds, "monitor / decision": ratio}


def report(bundle: Bundle, minutes: float, seeds: int) -> dict[str, list[Row]]:
    """Return the tables of one bundle."""
    nominal = novelties(bundle, 100, 60 * minutes)
    risen = int(np.sum((nominal[1:] > 1) & (nominal[:-1] <= 1)))
    calm: Row = {"nominal minutes": minutes, "alarms": risen, "highest novelty": nominal.max()}
    return {"nominal": [calm], "delay, s": detection(bundle, seeds), "cost": [cost(bundle)]}


def main(argv: Sequence[str]) -> int:
    """Measure the bundles asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--minutes", type=float, default=10.0, help="nominal minutes (default 10)")
    parser.add_argument("--seeds", type=int, default=4, help="runs of each fault (default 4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    asked = parser.parse_args(argv)
    figures = {}
    for path in asked.bundles:
        bundle = Bundle.load(path)
        if bundle.monitor is None:
            parser.error(f"{path} has no monitor: export it with --world-model")
        figures[path.stem] = report(bundle, asked.minutes, asked.seeds)
        for title, rows in figures[path.stem].items():
            print_table(f"{path.stem}: {title}", rows, as_json=False)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
