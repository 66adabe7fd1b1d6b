# SPDX-License-Identifier: Apache-2.0
"""``pwm VERB …``: verbs are entry points of group ``pwm.verbs``, so that no layer knows the next.

A verb is a frozen dataclass whose fields become options (tyro) and whose ``run`` returns the exit
status: 0 done, 1 failed, 2 wrong use or bad input, 3 refused by a check, 130 interrupted.
"""

from __future__ import annotations

import ast
import os
import sys
import threading
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from multiprocessing import active_children
from pathlib import Path

from pwm_core import __version__
from pwm_core.errors import PwmError
from pwm_core.stop_signals import on_interrupt

ORDER = (
    "tasks",
    "collect",
    "data",
    "pretrain",
    "import-checkpoint",
    "extract",
    "finetune",
    "eval",
    "export",
    "report",
    "study",
    "sim",
    "robot",
    "finetune-online",
    "demo",
)

INTERRUPTED = 130
GO_ON = "\ninterrupted; give the same command again to go on"


def find_verbs() -> dict[tuple[str, ...], EntryPoint]:
    """Return the verbs by their words, e.g. ``("data", "info")``, in the order of the stages."""
    found = {tuple(e.name.split(".")): e for e in entry_points(group="pwm.verbs")}
    rank = {name: i for i, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda item: (rank.get(item[0][0], 99), item[0])))


def describe(verb: EntryPoint) -> str:
    """Return the first line of the verb's module docstring, without importing the module."""
    spec = find_spec(verb.module)
    if spec is None or spec.origin is None:
        return "(not installed)"
    docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
    return docstring.split("\n")[0].partition(": ")[2]


def usage(verbs: dict[tuple[str, ...], EntryPoint]) -> str:
    """Return the text of ``pwm --help``."""
    lines = [f"PWM Deploy {__version__}: offline data → world model → policies → ROS 2", ""]
    width = max(len(" ".join(words)) for words in verbs)
    lines += [f"  pwm {' '.join(words):<{width}} {describe(verb)}" for words, verb in verbs.items()]
    return "\n".join([*lines, "", "pwm VERB --help lists the options of a verb."])


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; errors a user can mend are printed without a traceback, Ctrl-C by a line."""
    with on_interrupt(_leave):
        return _main(sys.argv[1:] if arguments is None else arguments)


def _main(words: list[str]) -> int:
    # Read when torch is loaded: threads that wait in OpenMP sleep. Spinning, the default, makes
    # training up to ten times slower as soon as another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    verbs = find_verbs()
    if words in ([], ["--help"], ["-h"]):
        print(usage(verbs))
        return 0 if words else 2
    if words == ["--version"]:
        print(__version__)
        return 0
    said = [verb for verb in verbs if tuple(words[: len(verb)]) == verb]
    verb = max(said, key=len, default=None)  # "tasks add" before "tasks"
    if verb is None:
        below = {name: one for name, one in verbs.items() if name[0] == words[0]}
        if below and words[1:] in (["--help"], ["-h"]):
            print(usage(below))
            return 0
        print(f"pwm: unknown verb {words[0]!r}\n\n{usage(below or verbs)}", file=sys.stderr)
        return 2
    return _run(verb, verbs[verb], words[len(verb) :])


def _run(words: tuple[str, ...], verb: EntryPoint, options: list[str]) -> int:
    try:
        import tyro

        command = tyro.cli(verb.load(), prog=f"pwm {' '.join(words)}", args=options)
    except ModuleNotFoundError as error:
        print(
            f"pwm {' '.join(words)} needs {error.name}: "
            "run make setup, or pip install '.[train]' in a clone",
            file=sys.stderr,
        )
        return 2
    except PwmError as error:  # of a configuration within the verb's own
        print(f"pwm {' '.join(words)}: {error}", file=sys.stderr)
        return 2
    try:
        with on_interrupt(_interrupt):
            return command.run()
    except PwmError as error:
        print(f"pwm {' '.join(words)}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"pwm {' '.join(words)}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(GO_ON, file=sys.stderr)
        return INTERRUPTED


def _leave() -> None:
    """End at once: while modules are loaded an exception would pass through foreign code."""
    os.write(2, f"{GO_ON}\n".encode())
    os._exit(INTERRUPTED)


def _interrupt() -> None:
    """End the workers, for which everything else would wait, and what the verb is at."""
    threading.excepthook = _say_nothing
    for worker in active_children():
        worker.terminate()
    raise KeyboardInterrupt


def _say_nothing(_: object) -> None:
    """Drop what ends a pool's thread: CPython 3.11's stumbles over calls that were cancelled."""


if __name__ == "__main__":
    sys.exit(main())
