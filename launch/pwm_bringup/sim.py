# SPDX-License-Identifier: Apache-2.0
"""``pwm sim``: a simulated robot and its policy, where there is no ``ros2`` command."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pwm_bringup.processes import RosProcess, parameter_file, stop_all
from pwm_bringup.simulation import DEFAULT_POLICY_DIR, DEFAULT_TASK, simulation_nodes
from pwm_core.errors import PwmError


@dataclass(frozen=True)
class Sim:
    """Start simulator and policy node, as `ros2 launch pwm_bringup sim.launch.py` does."""

    task: str = DEFAULT_TASK
    """Task to simulate (`pwm tasks` lists them)."""
    policy_dir: Path = Path(DEFAULT_POLICY_DIR)
    """Directory of policy bundles NAME.onnx."""
    policy: str = ""
    """Policy to start with; empty: the first one for the task."""
    mode: Literal["lockstep", "realtime", "paused"] = "realtime"
    """lockstep: physics waits for the policy; realtime; paused."""
    namespace: str = ""
    """Namespace of both nodes and their topics."""
    use_sim_time: bool = False
    """Take time from /clock."""
    headless: bool = True
    """Without MuJoCo's viewer window."""
    params_file: Path | None = None
    """Parameter file for both nodes; default: the launch file's."""
    log_level: Literal["debug", "info", "warn", "error", "fatal"] = "info"
    """Least severe log messages to show."""

    def run(self) -> int:
        """Run until Ctrl-C; 1 if a node ended by itself."""
        if not any(self.policy_dir.glob("*.onnx")):
            raise PwmError(
                f"no policy bundle NAME.onnx in {self.policy_dir}: make some with `pwm export`, "
                "or name their directory with --policy-dir"
            )
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        processes = self._start()
        try:
            print(self._what_next(), flush=True)
            while not stopping.wait(0.2):
                ended = [process for process in processes if process.returncode is not None]
                if ended:
                    print(f"{ended[0].name} ended with status {ended[0].returncode}", flush=True)
                    return 1
        finally:
            stop_all(processes)
        return 0 if all(process.returncode == 0 for process in processes) else 1

    def _start(self) -> list[RosProcess]:
        nodes = simulation_nodes(
            self.task,
            str(self.policy_dir),
            self.policy,
            self.mode,
            self.use_sim_time,
            self.headless,
        )
        params_file = self.params_file or parameter_file("sim.yaml")
        processes: list[RosProcess] = []
        try:
            for node in nodes:
                processes.append(
                    RosProcess.of_node(node, self.namespace, params_file, self.log_level)
                )
        except BaseException:
            stop_all(processes)
            raise
        return processes

    def _what_next(self) -> str:
        prefix = f"/{self.namespace.strip('/')}" if self.namespace else ""
        names = ", ".join(sorted(path.stem for path in self.policy_dir.glob("*.onnx")))
        return (
            f"\nPolicies: {names}. Ctrl-C ends both nodes. Where the `ros2` command is installed, "
            "in another terminal:\n"
            f"  ros2 topic echo {prefix}/policy_node/status\n"
            f"  ros2 service call {prefix}/policy_node/swap_policy pwm_interfaces/srv/SwapPolicy "
            '"{name: NAME}"\n'
            f"  ros2 service call {prefix}/mujoco_bridge/reset pwm_interfaces/srv/ResetEpisode "
            f'"{{seed: 1, task: {self.task}}}"\n'
            f"  ros2 param set {prefix}/mujoco_bridge real_time_factor 0.5\n"
        )
