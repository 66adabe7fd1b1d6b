# SPDX-License-Identifier: Apache-2.0
"""Start executables of the built ROS 2 workspace, with ROS 2 installed or as wheels."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from pwm_bringup.nodes import NodeProcess, Value
from pwm_core.errors import PwmError

DOMAINS = range(1, 102)
"""ROS_DOMAIN_ID values whose ports stay clear of the ephemeral ones."""
PATIENCE = ((signal.SIGINT, 30.0), (signal.SIGTERM, 4.0), (signal.SIGKILL, 4.0))
"""How a process is asked to end, and how many seconds it gets each time: the policy node moves a
robot to its safe pose first."""
ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""Told to end when the thread that started it does, however: a node acts under supervision only."""
HEARS_SIGINT = ("env", "--default-signal=INT")
"""A command in the background of a script ignores SIGINT, and what it starts would do so too."""
KEEPS_SIGINT = (*HEARS_SIGINT, "--block-signal=INT")
"""A node hears a Ctrl-C of its first seconds once it listens: else it would end within an import,
with a traceback."""
TAIL_LINES = 60


class RosWorkspaceError(PwmError):
    """The ROS 2 workspace is not there or a process of it cannot be started."""


def install_prefix() -> Path:
    """Return the colcon install directory: ``PWM_ROS_INSTALL``, else the repository's."""
    repository = Path(__file__).resolve().parents[2]
    prefix = Path(os.environ.get("PWM_ROS_INSTALL") or repository / "install" / "ros")
    if not (prefix / "local_setup.bash").is_file():
        raise RosWorkspaceError(
            f"no built ROS 2 workspace in {prefix}: run `make setup`, or set PWM_ROS_INSTALL"
        )
    return prefix


def parameter_file(name: str) -> Path:
    """Return an installed parameter file of this package, e.g. ``sim.yaml``."""
    return install_prefix() / "pwm_bringup" / "share" / "pwm_bringup" / "config" / name


def executable(package: str, name: str) -> Path:
    """Return the path of an executable of the workspace."""
    path = install_prefix() / package / "lib" / package / name
    if not path.is_file():
        raise RosWorkspaceError(f"the workspace has no {package}/{name} ({path}): run `make setup`")
    return path


@functools.cache
def _workspace_changes(prefix: Path) -> Mapping[str, str | None]:
    """Return the variables that differ in the workspace; None for one that must go."""
    environment = dict(os.environ)
    if importlib.util.find_spec("ros_wheels_bootstrapper"):
        # The wheels set up LD_LIBRARY_PATH themselves, in each process that finds no guard; half
        # of the two would break `import rclpy`.
        for name in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH"):
            environment.pop(name, None)
        if sys.prefix not in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
            environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = sys.prefix
    script = 'source "$0" >&2 && env -0'
    command = ["bash", "-c", script, str(prefix / "local_setup.bash")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RosWorkspaceError(f"{command[-1]} cannot be sourced: {done.stderr.strip()}")
    variables = dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)
    variables.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    variables["PYTHONUNBUFFERED"] = "1"
    names = variables.keys() | os.environ.keys()
    return {n: variables.get(n) for n in names if variables.get(n) != os.environ.get(n)}


def environment(domain: int | None = None) -> dict[str, str]:
    """Return the variables a ROS executable needs; ``domain`` None keeps the caller's."""
    changed = {**os.environ, **_workspace_changes(install_prefix())}
    variables = {name: value for name, value in changed.items() if value is not None}
    if domain is not None:
        variables["ROS_DOMAIN_ID"] = str(domain)
        variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    return variables


@contextlib.contextmanager
def leased_domain() -> Iterator[int]:
    """Hold a ROS_DOMAIN_ID that no other holder on this machine has."""
    directory = Path(tempfile.gettempdir()) / f"pwm-ros-domains-{os.getuid()}"
    directory.mkdir(exist_ok=True)
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        lock = os.open(directory / str(domain), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield domain
            return
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    raise RosWorkspaceError(f"all {len(DOMAINS)} ROS domains are leased: see {directory}")


class RosProcess:
    """A running executable; its output goes line by line to ``sink`` and the end of it is kept."""

    def __init__(
        self,
        package: str,
        name: str,
        arguments: Sequence[str] = (),
        domain: int | None = None,
        sink: Callable[[str], None] = print,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = HEARS_SIGINT,
    ) -> None:
        self.name = name
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._sink = sink
        self._interrupted = False
        self._process = subprocess.Popen(
            [*ENDS_WITH_US, *prefix, str(executable(package, name)), *arguments],
            env={**environment(domain), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for us to pass on, once
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._forward, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    @classmethod
    def of_node(
        cls,
        node: NodeProcess,
        namespace: str = "",
        params_file: Path | None = None,
        log_level: str = "info",
        domain: int | None = None,
        sink: Callable[[str], None] = print,
    ) -> RosProcess:
        """Start a node; its own parameters win over the file's."""
        arguments = ["--ros-args", "--log-level", log_level]
        if namespace:
            arguments += ["-r", f"__ns:=/{namespace.strip('/')}"]
        for source, target in node.remappings:
            arguments += ["-r", f"{source}:={target}"]
        if params_file is not None:
            arguments += ["--params-file", str(params_file)]
        for key, value in node.parameters.items():
            arguments += ["-p", f"{key}:={_yaml(value)}"]
        if node.enclave:
            arguments += ["--enclave", node.enclave]
        return cls(
            node.package, node.executable, arguments, domain, sink, node.variables, KEEPS_SIGINT
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Send SIGINT once, without waiting: a second one would kill a node that is ending well."""
        if self.returncode is None and not self._interrupted:
            self._interrupted = True
            self._process.send_signal(signal.SIGINT)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raises ``subprocess.TimeoutExpired``."""
        returncode = self._process.wait(timeout)
        self._reader.join(timeout=2.0)
        return returncode

    def stop(self) -> int:
        """Ask the process to end, ever more firmly; return its exit status."""
        for number, patience in PATIENCE:
            if self.returncode is not None:
                break
            if number == signal.SIGINT:
                self.interrupt()
            else:
                self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        return self.wait(timeout=2.0)

    def _forward(self, stream: IO[str]) -> None:
        for line in stream:
            self.tail.append(line.rstrip("\n"))
            with contextlib.suppress(OSError):  # a terminal that closed; the process must go on
                self._sink(f"[{self.name}] {self.tail[-1]}")
        stream.close()


def stop_all(processes: Sequence[RosProcess]) -> None:
    """Ask all processes to end at once, then wait for each."""
    for process in processes:
        process.interrupt()
    for process in processes:
        process.stop()


def _yaml(value: Value) -> str:
    """Write a parameter so that ROS reads its type back: an empty string must stay a string."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    return repr(value)
