# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from pwm_core.stop_signals import STOP_SIGNALS

PROGRAM = """
import os, sys
from pwm_core.stop_signals import stop_requested
stopping = stop_requested()
os.kill(os.getpid(), int(sys.argv[1]))
sys.exit(0 if stopping.wait(float(sys.argv[2])) else 7)
"""


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
def test_a_process_hears_that_it_is_to_end(number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, str(int(number)), "30"]
    assert subprocess.run(["env", "--default-signal", *command]).returncode == 0


def test_what_came_before_a_process_could_listen_is_heard() -> None:
    early = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n" + PROGRAM
    command = [sys.executable, "-c", early, str(int(signal.SIGTERM)), "30"]
    hearing = ["env", "--default-signal"]
    assert subprocess.run([*hearing, "--block-signal=INT", *command]).returncode == 0
    done = subprocess.run([*hearing, *command], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


def test_a_second_ctrl_c_does_not_end_what_is_ending() -> None:
    late = """
class Late:
    def __del__(self, kill=os.kill, me=os.getpid(), number=int(sys.argv[1])):
        kill(me, number)
late = Late()
"""
    program = PROGRAM.replace("stopping = ", f"{late}stopping = ")
    command = [sys.executable, "-c", program, str(int(signal.SIGINT)), "30"]
    assert subprocess.run(["env", "--default-signal", *command]).returncode == 0


def test_nohup_outlives_its_terminal() -> None:
    command = [sys.executable, "-c", PROGRAM, str(int(signal.SIGHUP)), "0"]
    assert subprocess.run(["env", "--ignore-signal=HUP", *command]).returncode == 7
