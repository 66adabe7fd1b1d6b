# SPDX-License-Identifier: Apache-2.0
"""What happened over ROS 2: a lockstep episode, and a live session with swaps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pwm_core.rendering import Recording
from pwm_core.report import commands
from pwm_core.report.charts import Band, Panel, trace_chart
from pwm_core.report.markup import figure, note, paragraph, table
from pwm_core.report.run_files import RunFiles
from pwm_core.tasks import UnknownTaskError, get_task

TICKS = (
    ("achieved rate", "rate_hz", "Hz"),
    ("period, median", "period_p50_ms", "ms"),
    ("period, p99", "period_p99_ms", "ms"),
    ("period, longest", "period_max_ms", "ms"),
    ("inference, median", "inference_p50_ms", "ms"),
    ("inference, p99", "inference_p99_ms", "ms"),
    ("inference, longest", "inference_max_ms", "ms"),
    ("ticks", "ticks", ""),
    ("missed ticks", "missed_ticks", ""),
    ("actions cut to the limits", "limited_actions", ""),
)


def agreement(run: RunFiles) -> float | None:
    """Return how far, relatively, the return over ROS is from ``pwm eval``'s of the same seed."""
    expected = _evaluated(run)
    if expected is None or not run.lockstep:
        return None
    return abs(run.lockstep["return"] - expected) / max(abs(expected), 1e-9)


def _evaluated(run: RunFiles) -> float | None:
    if not run.lockstep:
        return None
    score = run.policy_score(run.lockstep["task"])
    if not score or run.lockstep["seed"] not in score.seeds:
        return None
    return score.returns[score.seeds.index(run.lockstep["seed"])]


def ros(run: RunFiles) -> str:
    """Return tables of both sessions and the trace of the live one."""
    return _lockstep(run) + (
        _live(run, run.live)
        if run.live
        else note("No live session was recorded.", commands.session(run.path, "live"))
    )


def _lockstep(run: RunFiles) -> str:
    record = run.lockstep
    if not record:
        missing = "No lockstep episode was recorded."
        return note(missing, commands.session(run.path, "lockstep"))
    expected, difference = _evaluated(run), agreement(run)
    row = [
        record["task"],
        record["policy"],
        str(record["seed"]),
        str(record["steps"]),
        f"{record['return']:.4f}",
        "–" if expected is None else f"{expected:.4f}",
        "–" if difference is None else f"{difference:.1e}",
        f"{record['wall_seconds']:.1f}",
    ]
    columns = (
        "task",
        "policy",
        "seed",
        "decisions",
        "return over ROS 2",
        "return of pwm eval",
        "relative difference",
        "wall time (s)",
    )
    caption = (
        "One episode in lockstep: the simulator waits for each action, so that the episode can be "
        "repeated exactly. Returns have no unit; pwm eval's is of the same seed, without ROS."
    )
    return "<h3>Lockstep</h3>" + table(columns, [row], caption)


def _live(run: RunFiles, live: dict[str, Any]) -> str:
    return "".join(
        (
            "<h3>Real time</h3>",
            _trace(run, live),
            _loop_table(live),
            _swap_table(live),
            _segment_table(live),
            _refused(live["refused_swap"]),
        )
    )


def _trace(run: RunFiles, live: dict[str, Any]) -> str:
    try:
        recording = Recording.from_frames(live["frames"])
    except ValueError as error:
        return paragraph(f"No trace: {error}.")
    time = recording.time.tolist()
    panels = [
        Panel(
            f"{joint} ({joint_unit(recording.task[0], joint)})", recording.positions[:, i].tolist()
        )
        for i, joint in enumerate(recording.joints)
    ]
    panels.append(Panel("reward per decision", recording.reward.tolist()))
    swaps = recording.changes(recording.policy)
    edges = [0, *swaps, len(time) - 1]
    bands = [
        Band(recording.policy[begin], time[begin], time[end], run.colour(recording.policy[begin]))
        for begin, end in pairwise(edges)
    ]
    resets = [time[i] for i in recording.changes(recording.episode)]
    chart = trace_chart(time, panels, bands, [time[i] for i in swaps], resets)
    names = dict.fromkeys(recording.policy)
    caption = (
        "Joint positions as published on joint_states and rewards of the live session. Background: "
        "the policy that acted. Solid vertical lines: swaps; dotted: resets of the simulation."
    )
    return figure(chart, caption, [(name, run.colour(name)) for name in names], wide=True)


def joint_unit(task: str, joint: str) -> str:
    """Return the unit of a joint's position from the task's layout: its cosine stands for rad."""
    try:
        channels = get_task(task).observation.channels
    except UnknownTaskError:
        return "m or rad"
    found = [c for c in channels if (c.key, c.field) == (joint, "position")]
    if not found:
        return "m or rad"
    return found[0].unit if found[0].transform == "identity" else "rad"


def _number(value: Any, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _loop_table(live: dict[str, Any]) -> str:
    node = live["policy_node"]
    rows = [[what, _number(node[key]), unit] for what, key, unit in TICKS if key in node]
    rows.append(["real-time factor", _number(live["real_time_factor"], 4), ""])
    caption = (
        "The policy node's control loop in the live session, by its own clock. Period: tick to "
        "tick; inference: one run of the ONNX policy; real-time factor: simulated time / wall time."
    )
    return table(("figure", "value", "unit"), rows, caption)


def _swap_table(live: dict[str, Any]) -> str:
    if not live["swaps"]:
        return ""
    keys = ("answer_seconds", "latency_seconds", "latency_of_node_seconds")
    rows = [
        [swap["policy"], *(f"{swap[key] * 1e3:.2f}" for key in keys), swap["message"]]
        for swap in live["swaps"]
    ]
    caption = (
        "Swaps through the policy node's service while it ran, in ms since the request: until the "
        "answer, until the first action of the new policy reached the client, and the same by the "
        "node's own clock."
    )
    columns = ("to", "answer (ms)", "first action (ms)", "in the node (ms)", "message")
    return table(columns, rows, caption)


def _segment_table(live: dict[str, Any]) -> str:
    rows = [
        [
            segment["label"],
            segment["policy"],
            segment["task"],
            f"{segment['begin']:.2f} – {segment['end']:.2f}",
            str(segment["steps"]),
            f"{segment['mean_reward']:.3f}",
            f"{segment['last_reward']:.3f}",
            f"{segment['return']:.1f}",
        ]
        for segment in live["segments"]
    ]
    columns = (
        "segment",
        "policy",
        "rewarded task",
        "time (s)",
        "decisions",
        "mean reward",
        "last reward",
        "return",
    )
    caption = "Reward per decision (no unit) and its sum over each stretch of the live session."
    return table(columns, rows, caption)


def _refused(swap: dict[str, Any]) -> str:
    return paragraph(
        f"A swap to {swap['policy']!r} was refused: {swap['message']}. Meanwhile "
        f"{swap['policy_still_running']} went on: {swap['frames_after']} observations followed."
    )
