# SPDX-License-Identifier: Apache-2.0
"""The order of TD-MPC2's tasks: index k in its data and checkpoints is name k here.

Source: ``TASK_SET`` in ``tdmpc2/common/__init__.py`` of https://github.com/nicklashansen/tdmpc2
(as of commit e9f5932). The first thirty are ``mt30``; ``mt80`` adds Meta-World's fifty.
"""

from __future__ import annotations

_NAMES = """
walker-stand walker-walk walker-run cheetah-run reacher-easy
reacher-hard acrobot-swingup pendulum-swingup cartpole-balance cartpole-balance-sparse
cartpole-swingup cartpole-swingup-sparse cup-catch finger-spin finger-turn-easy
finger-turn-hard fish-swim hopper-stand hopper-hop
walker-walk-backwards walker-run-backwards cheetah-run-backwards cheetah-run-front
cheetah-run-back cheetah-jump hopper-hop-backwards reacher-three-easy reacher-three-hard
cup-spin pendulum-spin
mw-assembly mw-basketball mw-button-press-topdown mw-button-press-topdown-wall mw-button-press
mw-button-press-wall mw-coffee-button mw-coffee-pull mw-coffee-push mw-dial-turn
mw-disassemble mw-door-open mw-door-close mw-drawer-close mw-drawer-open
mw-faucet-open mw-faucet-close mw-hammer mw-handle-press-side mw-handle-press
mw-handle-pull-side mw-handle-pull mw-lever-pull mw-peg-insert-side mw-peg-unplug-side
mw-pick-out-of-hole mw-pick-place mw-pick-place-wall mw-plate-slide mw-plate-slide-side
mw-plate-slide-back mw-plate-slide-back-side mw-push-back mw-push mw-push-wall
mw-reach mw-reach-wall mw-shelf-place mw-soccer mw-stick-push
mw-stick-pull mw-sweep-into mw-sweep mw-window-open mw-window-close
mw-bin-picking mw-box-close mw-door-lock mw-door-unlock mw-hand-insert
"""
MT80 = tuple(_NAMES.split())
MT30 = MT80[:30]
