#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Set up one clone: virtual environment, Python packages, ROS 2, the built workspace.

Run as ``make setup`` (or ``python3 scripts/set_up.py``); only the standard library is needed. Each
stage leaves a stamp with a hash of its inputs, so a repeated run skips what is done and an
interrupted run goes on at its stage. A second run at the same time waits for the first.

``make robot`` (``--robot``) leaves out what a robot does not need: no torch, no MuJoCo. A later
``make setup`` adds them.

Environment variables:
    PYTHON        interpreter for the virtual environment (default: this one, else one on PATH)
    ROS_DISTRO    set by a sourced ROS 2 installation, which is then used
    ROS_WHEELS    kilted (default) or jazzy: take ROS 2 as wheels instead
    TORCH_INDEX   further package index for torch, for instance one with CPU-only builds
    PIP_*         pip's own settings are honoured
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = VENV / ".set-up"
LOGS = ROOT / "build" / "set-up"
ROS_BUILD = ROOT / "build" / "ros"
ROS_INSTALL = ROOT / "install" / "ros"
WORKSPACE = ("ros2_ws/src", "launch")
TESTED = "constraints/tested.txt"
WHEELS_CMAKE = "scripts/ros_wheels.cmake"
SUPPORTED = ((3, 10), (3, 11), (3, 12))
WHEELS = ("kilted", "jazzy")
OLDEST_CMAKE = (3, 19)
OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
OF_OTHER_ROS = {"PYTHONPATH", "LD_LIBRARY_PATH", "ROS_DISTRO", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
# A symlinked install needs no rebuild when only the content of a Python or parameter file changes.
BUILD_INPUTS = {".action", ".cfg", ".cmake", ".cpp", ".hpp", ".idl", ".msg", ".srv", ".txt", ".xml"}


class SetUpError(Exception):
    """Set-up cannot go on; the message says what is missing and what to do."""


class Ros(NamedTuple):
    """Which ROS 2 the workspace is built on: a sourced installation (native) or wheels."""

    distro: str
    native: bool

    def __str__(self) -> str:
        return f"{self.distro} ({'installed' if self.native else 'wheels'})"


class Stage(NamedTuple):
    """One step: the hash of `inputs` tells whether it has to run, `product` is what it leaves."""

    name: str
    says: str
    inputs: bytes
    run: Callable[[], None]
    product: Path

    @property
    def stamp(self) -> Path:
        return STAMPS / self.name

    @property
    def key(self) -> str:
        return hashlib.sha256(self.inputs).hexdigest()

    def done(self) -> bool:
        return self.product.exists() and self.stamp.is_file() and self.stamp.read_text() == self.key

    def record(self) -> None:
        STAMPS.mkdir(exist_ok=True)
        partial = self.stamp.with_suffix(".partial")
        partial.write_text(self.key)
        partial.replace(self.stamp)


# --- What is there already -----------------------------------------------------------------------


def choose_ros() -> Ros:
    """The wheels asked for, else the sourced installation, else the last run's wheels, else kilted.

    Raises:
        SetUpError: ROS_WHEELS names wheels that are not known.
    """
    wheels = os.environ.get("ROS_WHEELS")
    if wheels and wheels not in WHEELS:
        raise SetUpError(f"ROS_WHEELS is {wheels!r}, expected one of {', '.join(WHEELS)}")
    if wheels:
        return Ros(wheels, native=False)
    if os.environ.get("ROS_DISTRO"):
        return Ros(os.environ["ROS_DISTRO"], native=True)
    recorded = STAMPS / "wheels"
    return Ros(recorded.read_text() if recorded.is_file() else WHEELS[0], native=False)


def version_of(python: str) -> tuple[int, ...] | None:
    """Major and minor version of an interpreter, None if it does not run."""
    command = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in answer.split())


def choose_python() -> str:
    """PYTHON if given, else the running interpreter, else a supported one on PATH.

    Raises:
        SetUpError: none of them is a supported version.
    """
    own = getattr(sys, "_base_executable", None) or sys.executable
    asked = os.environ.get("PYTHON")
    candidates = [asked] if asked else [own, "python3.11", "python3.12", "python3.10"]
    for candidate in candidates:
        if version_of(candidate) in SUPPORTED:
            return candidate
    raise SetUpError(
        f"Python 3.10, 3.11 or 3.12 is needed; tried {', '.join(candidates)}"
        f" (this is {platform.python_version()}).\n"
        "Install one and name it: make PYTHON=python3.11 ..."
    )


def cmake_is_recent() -> bool:
    """Whether PATH has a cmake that can build the workspace."""
    if not shutil.which("cmake"):
        return False
    words = subprocess.run(["cmake", "--version"], capture_output=True, text=True).stdout.split()
    return tuple(int(part) for part in words[2].split(".")[:2]) >= OLDEST_CMAKE


def check_system(python: str, ros: Ros) -> None:
    """Look for what no Python package brings.

    Raises:
        SetUpError: names everything that is missing and the Debian or Ubuntu packages with it.
    """
    missing = [f"{tool} (build-essential)" for tool in ("g++", "make") if not shutil.which(tool)]
    probe = (
        "import importlib.util as u, os, sysconfig as s;"
        "print(u.find_spec('ensurepip') is not None,"
        " os.path.exists(os.path.join(s.get_path('include'), 'Python.h')))"
    )
    answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True)
    has_pip, has_headers = answer.stdout.split()
    if has_pip != "True":
        missing.append("Python's ensurepip (python3-venv)")
    if has_headers != "True":
        missing.append("Python's headers (python3-dev)")
    if missing:
        raise SetUpError("missing on this machine: " + ", ".join(missing))
    if not ros.native and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetUpError(
            f"ROS 2 wheels exist for Linux on x86-64 only, this is {sys.platform} on"
            f" {platform.machine()}: source a ROS 2 installation first, or use the Dockerfile"
        )


def digest_of_workspace() -> bytes:
    """What a change of which needs a new colcon build: build files' contents, every file's name."""
    digest = hashlib.sha256()
    files = (path for base in WORKSPACE for path in (ROOT / base).rglob("*") if path.is_file())
    for path in sorted(files):
        if "__pycache__" in path.parts or path.suffix == ".pyc" or "egg-info" in str(path):
            continue
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
        if path.suffix in BUILD_INPUTS or path.name == "setup.py":
            digest.update(path.read_bytes())
    return digest.digest()


# --- Running commands ----------------------------------------------------------------------------


def environment(ros: Ros) -> dict[str, str]:
    """The variables that commands of the set-up run with: the virtual environment first."""
    variables = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    variables["VIRTUAL_ENV"] = str(VENV)
    variables["PATH"] = f"{VENV / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
    variables["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    if not ros.native:
        variables = {name: value for name, value in variables.items() if name not in OF_OTHER_ROS}
        variables["AMENT_PREFIX_PATH"] = variables["CMAKE_PREFIX_PATH"] = str(VENV)
    return variables


class Shell:
    """Runs commands with their output in one log per stage and the elapsed time on a terminal."""

    def __init__(self, variables: dict[str, str], lock: int) -> None:
        self.variables = variables
        self.lock = lock
        self.log = LOGS / "set-up.log"

    def begin(self, stage: Stage) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / f"{stage.name}.log"
        self.log.write_text("")

    def __call__(self, *command: str | Path) -> None:
        """Run one command to its end.

        Raises:
            SetUpError: the command failed; carries the end of its log.
        """
        words = [str(word) for word in command]
        with self.log.open("a") as out:
            print("$", *words, file=out, flush=True)
            # The child inherits the lock: if this process is killed, it lasts until the child ends.
            child = subprocess.Popen(
                words, cwd=ROOT, env=self.variables, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, pass_fds=[self.lock],
            )  # fmt: skip
            try:
                self._wait(child)
            finally:
                stop(child)
        if child.returncode:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
            raise SetUpError(
                f"{tail}\n\n{words[0]} ended with {child.returncode};"
                f" the whole log: {self.log.relative_to(ROOT)}"
            )

    def _wait(self, child: subprocess.Popen) -> None:
        started = time.monotonic()
        while child.poll() is None:
            try:
                child.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                if sys.stdout.isatty():
                    print(f"\r      {time.monotonic() - started:4.0f} s", end="", flush=True)
        if sys.stdout.isatty():
            print("\r", end="")


def stop(child: subprocess.Popen) -> None:
    """End a child that is still running, politely first."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def discard_partial_installs(site_packages: Path) -> list[str]:
    """Forget packages whose installation was cut short, so that pip installs them again.

    pip writes the file INSTALLER after the package's own files: without it, some may be missing.

    Returns:
        Names of what was discarded.
    """
    partial = [
        path for path in site_packages.glob("*.dist-info") if not (path / "INSTALLER").exists()
    ]
    for path in partial:
        shutil.rmtree(path)
    return [path.name for path in partial]


# --- Stages --------------------------------------------------------------------------------------


class SetUp:
    """The stages in their order, for one choice of ROS 2, of a robot's computer or any other."""

    def __init__(self, ros: Ros, shell: Shell, robot: bool = False) -> None:
        self.ros = ros
        self.shell = shell
        self.robot = robot

    def stages(self) -> list[Stage]:
        """What is to be done: all, or what a robot needs."""
        trains = ("torch", "metaworld")
        return [stage for stage in self.all_stages() if not self.robot or stage.name not in trains]

    def all_stages(self) -> list[Stage]:
        python = VENV / "bin" / "python"
        project = b"".join(read(name) for name in ("pyproject.toml", "setup.py", TESTED))
        requirements = b"".join(read(name) for name in self.requirements)
        pinned = read(TESTED).splitlines()
        torch = [line for line in pinned if line.startswith(b"torch==")]
        metaworld = [line for line in pinned if line.startswith(b"metaworld==")]
        index = os.environ.get("TORCH_INDEX", "").encode()
        place = f"{ROOT} {self.ros} {os.environ.get('PYTHON', '')}".encode()
        return [
            Stage("environment", "virtual environment .venv", place, self.make_environment, python),
            Stage("torch", self.about_torch(), b"".join(torch) + index, self.install_torch, python),
            Stage(
                "project", self.about_project(), project + self.project.encode(),
                self.install_project, VENV / "bin" / "pwm",
            ),
            Stage(
                "metaworld", "Meta-World beside a newer MuJoCo (downloads about 37 MB)",
                b"".join(metaworld), self.install_metaworld, VENV / "bin" / "pwm",
            ),
            Stage(
                "ros", self.about_ros(), requirements, self.install_ros, VENV / "bin" / "colcon",
            ),
            Stage(
                "workspace", "building the ROS 2 workspace with colcon",
                digest_of_workspace() + read(WHEELS_CMAKE), self.build_workspace,
                ROS_INSTALL / "local_setup.bash",
            ),
        ]  # fmt: skip

    @property
    def project(self) -> str:
        """This project with its extras, as pip takes it."""
        return ".[robot]" if self.robot else ".[train,data,sac,ray,dev]"

    @property
    def requirements(self) -> list[str]:
        """Requirement files of the ROS 2 stage."""
        wheels = [] if self.ros.native else [f"constraints/ros-{self.ros.distro}.txt"]
        return ["constraints/colcon.txt", *wheels]

    def about_project(self) -> str:
        needs = "what a robot needs" if self.robot else "what it needs"
        return f"this project and {needs} (downloads about {60 if self.robot else 550} MB)"

    def about_torch(self) -> str:
        if os.environ.get("TORCH_INDEX") or os.environ.get("PIP_INDEX_URL"):
            return "PyTorch from the index you named"
        return (
            "PyTorch (a CPU build downloads about 200 MB, one with CUDA gigabytes;"
            " TORCH_INDEX names an index of CPU builds)"
        )

    def about_ros(self) -> str:
        if self.ros.native:
            return f"colcon, for the installed ROS 2 {self.ros.distro}"
        return f"ROS 2 {self.ros.distro} as wheels, colcon (downloads about 50 MB)"

    def pip_install(self, *arguments: str) -> None:
        """pip with the tested versions; packages build with the environment's own setuptools."""
        for site_packages in VENV.glob("lib/python3*/site-packages"):
            discard_partial_installs(site_packages)
        self.shell(
            VENV / "bin" / "python", "-m", "pip", "install", "--no-input", "--progress-bar", "off",
            "--no-build-isolation", "-c", TESTED, *arguments,
        )  # fmt: skip

    def make_environment(self) -> None:
        python = choose_python()
        check_system(python, self.ros)
        for stale in (VENV, ROS_BUILD, ROS_INSTALL):
            shutil.rmtree(stale, ignore_errors=True)
        # rclpy of an installed ROS 2 needs the distribution's Python packages.
        system = ["--system-site-packages"] if self.ros.native else []
        self.shell(python, "-m", "venv", *system, VENV)
        if self.ros.native:
            self.import_rclpy()
        self.pip_install("--upgrade", "pip", "setuptools")
        STAMPS.mkdir(exist_ok=True)
        if not self.ros.native:
            (STAMPS / "wheels").write_text(self.ros.distro)

    def import_rclpy(self) -> None:
        """Try the installed ROS 2 with the environment's interpreter before any download."""
        try:
            self.shell(VENV / "bin" / "python", "-c", "import rclpy")
        except SetUpError as error:
            raise SetUpError(
                f"{error}\n\nROS 2 {self.ros.distro} cannot be imported: name the interpreter it"
                " was built for, such as make PYTHON=/usr/bin/python3 ..., or take wheels instead:"
                " make ROS_WHEELS=kilted ..."
            ) from None

    def install_torch(self) -> None:
        index = os.environ.get("TORCH_INDEX")
        self.pip_install("torch", *(["--extra-index-url", index] if index else []))

    def install_project(self) -> None:
        self.pip_install("--editable", self.project)

    def install_metaworld(self) -> None:
        """Leave its requirements out: it pins an older MuJoCo, the others came with the project."""
        self.pip_install("--no-deps", "metaworld")

    def install_ros(self) -> None:
        for stale in (ROS_BUILD, ROS_INSTALL):
            shutil.rmtree(stale, ignore_errors=True)
        cmake = [] if cmake_is_recent() else ["cmake"]
        files = [word for name in self.requirements for word in ("-r", name)]
        self.pip_install(*files, *cmake)

    def build_workspace(self) -> None:
        repair = [] if self.ros.native else [f"-DCMAKE_PROJECT_INCLUDE={ROOT / WHEELS_CMAKE}"]
        self.shell(
            VENV / "bin" / "python", VENV / "bin" / "colcon", "--log-base", ROS_BUILD / "log",
            "build", "--base-paths", *WORKSPACE, "--build-base", ROS_BUILD,
            "--install-base", ROS_INSTALL, "--symlink-install",
            "--event-handlers", "console_direct+", "--cmake-args", "-DBUILD_TESTING=OFF",
            f"-DPython3_EXECUTABLE={VENV / 'bin' / 'python'}", *repair,
        )  # fmt: skip

    def run(self) -> None:
        """Run the stages that are not done, each with its time."""
        stages = self.stages()
        started = time.monotonic()
        worked = False
        for number, stage in enumerate(stages, start=1):
            if stage.done():
                continue
            worked = True
            print(f"[{number}/{len(stages)}] {stage.says}", flush=True)
            begun = time.monotonic()
            self.shell.begin(stage)
            stage.run()
            stage.record()
            print(f"      done in {time.monotonic() - begun:.0f} s", flush=True)
        summary = f"set-up in .venv with ROS 2 {self.ros}"
        if worked:
            print(f"{summary}: ready after {time.monotonic() - started:.0f} s", flush=True)
        else:
            print(f"{summary}: up to date", flush=True)


def read(name: str) -> bytes:
    """Content of a file of the repository."""
    return (ROOT / name).read_bytes()


@contextmanager
def exclusive() -> Iterator[int]:
    """Hold the lock on this clone; yields its file descriptor."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another set-up of this clone ...", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def interrupt(signal_number: int, frame: object) -> None:
    """Treat a polite request to end like Ctrl-C."""
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, interrupt)
    if sys.argv[1:] not in ([], ["--robot"]):
        print("usage: set_up.py [--robot]", file=sys.stderr)
        return 2
    try:
        with exclusive() as lock:
            ros = choose_ros()
            SetUp(ros, Shell(environment(ros), lock), robot="--robot" in sys.argv).run()
    except SetUpError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
