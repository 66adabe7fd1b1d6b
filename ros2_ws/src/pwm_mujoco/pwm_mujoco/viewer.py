# SPDX-License-Identifier: Apache-2.0
"""MuJoCo's window on a running world, on a thread of its own so that it cannot slow the physics."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pwm_mujoco.world import World

FRAME_SECONDS = 1 / 30


class Viewer(threading.Thread):
    """Shows ``world`` until :meth:`stop` or until the user closes the window."""

    def __init__(
        self, world: World, lock: threading.Condition, report: Callable[[str], None]
    ) -> None:
        super().__init__(name="viewer", daemon=True)
        self._world, self._lock, self._report = world, lock, report
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while self._show_environment():
                pass
        except Exception as error:  # no display, no OpenGL: the simulation goes on without
            self._report(f"no viewer: {error}")

    def stop(self) -> None:
        """Close the window."""
        self._stopped.set()
        self.join(timeout=2.0)

    def _show_environment(self) -> bool:
        """Show the present environment; True when the task has changed and another is due."""
        import mujoco.viewer  # needs a display

        shown = self._world.environment
        with mujoco.viewer.launch_passive(shown.model, shown.data) as window:
            while window.is_running() and not self._stopped.wait(FRAME_SECONDS):
                if self._world.environment is not shown:
                    return True
                with self._lock:
                    window.sync()
        return False
