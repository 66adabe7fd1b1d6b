# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.monitor BUNDLE …``: what a bundle's monitor sees, how soon, and its cost.

In the bridge's own world, without a clock: nominal minutes in time and late, then each disturbance
at several moments of the episode. With ``--real-time``: the same over DDS, see
:mod:`benchmarks.live_monitor`. The cost is that of a decision's monitoring against the decision's
own inference, both timed in blocks that alternate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Program, Row, interleave
from pwm_core.tables import print_table
from pwm_export.bundle import Bundle
from pwm_export.calibration import acting, delays
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
LIVE_DISTURBANCES = DISTURBANCES[:1] + DISTURBANCES[2:5]
"""Those that are tried in real time, too: half the force, and the sensor biases."""
LATENESSES = (0.0, 0.5, 1.0)
"""Control steps by which commands are late in the nominal minutes."""
ONSETS = (0.0, 0.3, 0.5, 5.0)
"""Seconds into the episode at which a disturbance begins."""
WATCHED = 2.0
"""Seconds after which a disturbance counts as not seen."""
Delay = Callable[[int, float, Mapping[str, float]], float]
"""``delay(seed, onset, disturbance)``: seconds until a disturbance is seen."""
Tables = dict[str, list[Row]]


def novelties(
    bundle: Bundle,
    seed: int,
    seconds: float,
    onset: float = 0.0,
    lateness: float = 0.0,
    **disturbances: float,
) -> np.ndarray:
    """Return the novelty of each decision of a run, disturbed from ``onset`` seconds on.

    Episodes follow each other as they do in the bridge. Commands act ``lateness`` control steps
    late, a few a whole one, as in the calibration; 0: at once, as in lockstep.
    """
    assert bundle.monitor is not None
    world, detector = World(bundle.task, seed), Detector(bundle.monitor)
    rng, substeps = np.random.default_rng(seed), world.environment.substeps
    found = np.empty(round(seconds / bundle.control_step))
    for decision in range(len(found)):
        if disturbances and decision == round(onset / bundle.control_step):
            world.disturb(Disturbances(**disturbances))
        if world.halted:
            world.reset()
        if world.episode_step == 0:
            sources = acting(delays(rng, world.task.episode_steps, substeps, lateness), substeps)
            sent: list[np.ndarray] = []
        command = bundle.act(world.observation)
        found[decision] = detector.observe(world.observation, command)
        sent.append(command)
        for source in sources[world.episode_step]:
            if world.halted:
                break
            if source >= 0:
                world.offer(bundle.action.names, sent[source], world.first_step + source)
            world.substep()
    return found


def delay(bundle: Bundle, seed: int, onset: float, disturbance: Mapping[str, float]) -> float:
    """Return the seconds from a disturbance to the first novelty above 1; infinite if unseen."""
    found = novelties(bundle, seed, onset + WATCHED, onset, **disturbance)
    novel = found[round(onset / bundle.control_step) :] > 1
    return (int(novel.argmax()) + 1) * bundle.control_step if novel.any() else float("inf")


def detection(delay: Delay, disturbances: Sequence[Mapping[str, float]], seeds: int) -> list[Row]:
    """Return how soon each disturbance is seen, at each onset: the slowest of ``seeds`` runs."""
    rows = []
    for disturbance in disturbances if seeds else ():
        slowest = {
            f"at {onset:g} s": max(delay(seed, onset, disturbance) for seed in range(seeds))
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


def report(bundle: Bundle, minutes: float, seeds: int) -> Tables:
    """Return the tables of one bundle."""
    nominal = [calm(bundle, minutes, lateness) for lateness in LATENESSES]
    seen = detection(partial(delay, bundle), DISTURBANCES, seeds)
    return {"nominal": nominal, "delay, s": seen, "cost": [cost(bundle)]}


def calm(bundle: Bundle, minutes: float, lateness: float) -> Row:
    """Return what undisturbed minutes with commands ``lateness`` control steps late bring."""
    found = novelties(bundle, 100, 60 * minutes, lateness=lateness)
    return {
        "late by": lateness,
        "nominal minutes": minutes,
        "alarms": alarms(found),
        "highest novelty": float(found.max()),
    }


def alarms(novelty: np.ndarray) -> int:
    """Return how often ``novelty [T]`` rises above 1."""
    return int(np.sum((novelty[1:] > 1) & (novelty[:-1] <= 1)))


def live_report(bundle: Bundle, minutes: float, seeds: int, trigger: str) -> Tables:
    """Return the tables of one bundle in real time, with the policy node's ``trigger``."""
    from benchmarks.live_monitor import live_robot

    with live_robot(bundle, trigger) as robot:
        nominal: Row = {"trigger": trigger, **robot.nominal(minutes)}
        watch = partial(robot.delay, watched=WATCHED)
        seen = detection(watch, LIVE_DISTURBANCES, seeds)
    return {"nominal": [nominal], "delay, s": seen}


def main(argv: Sequence[str]) -> int:
    """Measure the bundles asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--minutes", type=float, default=10.0, help="nominal minutes (default 10)")
    parser.add_argument("--seeds", type=int, default=4, help="runs of each fault (default 4)")
    parser.add_argument(
        "--real-time",
        choices=("clock", "observation"),
        metavar="TRIGGER",
        help="run bridge and policy node in real time, with this trigger (clock or observation)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    asked = parser.parse_args(argv)
    figures = {}
    for path in asked.bundles:
        bundle = Bundle.load(path)
        if bundle.monitor is None:
            parser.error(f"{path} has no monitor: export it with --world-model")
        measure = partial(live_report, trigger=asked.real_time) if asked.real_time else report
        figures[path.stem] = measure(bundle, asked.minutes, asked.seeds)
        for title, rows in figures[path.stem].items():
            if rows:
                print_table(f"{path.stem}: {title}", rows, as_json=False)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
