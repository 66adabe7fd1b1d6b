# SPDX-License-Identifier: Apache-2.0
"""The published multi-task suites in TD-MPC2's order: task k of its data and checkpoints is name k.

Source: ``TASK_SET`` in ``tdmpc2/common/__init__.py`` of https://github.com/nicklashansen/tdmpc2
(as of commit e9f5932).
"""

from __future__ import annotations

_DM_CONTROL = """
walker-stand walker-walk walker-run cheetah-run reacher-easy reacher-hard acrobot-swingup
pendulum-swingup cartpole-balance cartpole-balance-sparse cartpole-swingup cartpole-swingup-sparse
cup-catch finger-spin finger-turn-easy finger-turn-hard fish-swim hopper-stand hopper-hop
walker-walk-backwards walker-run-backwards cheetah-run-backwards cheetah-run-front cheetah-run-back
cheetah-jump hopper-hop-backwards reacher-three-easy reacher-three-hard cup-spin pendulum-spin
"""

_META_WORLD = """
assembly basketball button-press-topdown button-press-topdown-wall button-press button-press-wall
coffee-button coffee-pull coffee-push dial-turn disassemble door-open door-close drawer-close
drawer-open faucet-open faucet-close hammer handle-press-side handle-press handle-pull-side
handle-pull lever-pull peg-insert-side peg-unplug-side pick-out-of-hole pick-place pick-place-wall
plate-slide plate-slide-side plate-slide-back plate-slide-back-side push-back push push-wall reach
reach-wall shelf-place soccer stick-push stick-pull sweep-into sweep window-open window-close
bin-picking box-close door-lock door-unlock hand-insert
"""

PUBLISHED_TASKS: dict[str, tuple[str, ...]] = {
    "mt30": tuple(_DM_CONTROL.split()),
    "mt80": (*_DM_CONTROL.split(), *(f"mw-{name}" for name in _META_WORLD.split())),
}
"""Names by suite: a task's place is its number in the data and its row in the task embedding."""
