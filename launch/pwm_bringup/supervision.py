# SPDX-License-Identifier: Apache-2.0
"""Run nodes as plain processes until Ctrl-C, as ``ros2 launch`` does where it is installed."""

from __future__ import annotations

from pwm_bringup.bringup import Launch
from pwm_bringup.nodes import AtEnd, NodeProcess
from pwm_bringup.processes import RosProcess, parameter_file, stop_all
from pwm_core.errors import PwmError
from pwm_core.stop_signals import STOP_SIGNALS, stop_requested

RESPAWN_SECONDS = 2.0
"""How long a node that died stays down: time to see that it did."""
WRONG_USE = 2
"""Exit status of a node whose parameters do not fit; another start would end the same way."""
TOLD_TO_END = (0, *(-number for number in STOP_SIGNALS))
"""Exit statuses of a node that somebody told to end, be it before it could listen."""


def supervise(bringup: Launch, announcement: str) -> int:
    """Run the nodes until told to end; 1 if one that is needed ended by itself.

    Raises :class:`PwmError` when there is no policy bundle.
    """
    _require_bundles(bringup)
    stopping = stop_requested()
    running: list[tuple[NodeProcess, RosProcess]] = []
    try:
        for node in bringup.nodes():
            running.append((node, _start(bringup, node)))
        print(announcement, flush=True)
        while not stopping.wait(0.2):
            for node, process in [pair for pair in running if pair[1].returncode is not None]:
                print(f"{process.name} ended with status {process.returncode}", flush=True)
                if ends_all(node, process.returncode):
                    told = node.at_end is AtEnd.RESPAWN and process.returncode in TOLD_TO_END
                    return 0 if told else 1
                running.remove((node, process))
                if node.at_end is AtEnd.RESPAWN and not stopping.wait(RESPAWN_SECONDS):
                    running.append((node, _start(bringup, node)))
    finally:
        stop_all([process for _, process in running])
    return 0 if all(process.returncode == 0 for _, process in running) else 1


def ends_all(node: NodeProcess, status: int | None) -> bool:
    """Whether all others end with a node: it is needed, was told to end, or cannot start."""
    if node.at_end is AtEnd.RESPAWN and status in TOLD_TO_END:
        return True
    return node.at_end is AtEnd.STOP or status == WRONG_USE


def _start(bringup: Launch, node: NodeProcess) -> RosProcess:
    params_file = bringup.params_file or parameter_file(bringup.PARAMETER_FILE)
    return RosProcess.of_node(node, bringup.namespace, params_file, bringup.log_level)


def _require_bundles(bringup: Launch) -> None:
    if not any(bringup.policy_dir.glob("*.onnx")):
        raise PwmError(
            f"no policy bundle NAME.onnx in {bringup.policy_dir}: make some with `pwm export`, "
            "or name their directory with --policy-dir"
        )
