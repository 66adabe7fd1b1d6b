# SPDX-License-Identifier: Apache-2.0
"""Which policy acts, on disk: a node that replaces one that died goes on with the same. No ROS."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pwm_policy.kept_file import KeptFile, in_words
from pwm_policy.registry import Acting, PolicyError

BOOT = Path("/proc/sys/kernel/random/boot_id")
"""What Linux calls the time since the machine was started."""


@dataclass(frozen=True)
class Asked:
    """What a node was told to do. Only one that is told the same goes on with what acted."""

    policy: str
    """Parameters of these names, as `configure` read them."""
    task: str
    policy_dir: str
    dry_run: bool

    def difference(self, before: Asked) -> str:
        """Return what was told otherwise ``before``; empty if nothing was."""
        old, new = asdict(before), asdict(self)
        changed = [n for n in new if new[n] != old[n]]
        return ", ".join(f"{name} was {old[name]!r} and is {new[name]!r}" for name in changed)


@dataclass(frozen=True)
class OnTrial:
    """A policy that acts only as long as somebody says that it is watched."""

    policy: str
    fallback: str
    """Policy that acts again when nobody says so any more."""
    timeout: float
    """Seconds after which nobody has said so for too long."""
    until: float | None = None
    """When that is where a node goes on with the trial of one that died, and nobody has said so
    since: seconds of the machine's monotonic clock, which its processes share."""


@dataclass(frozen=True)
class Kept:
    """What a node that died has left."""

    acting: Acting
    """What acted."""
    asked: Asked
    """What the node was told."""
    boot: str
    """:func:`boot` of then."""
    trial: OnTrial | None = None
    """Which policy was on trial, if one was; files of older nodes do not say."""

    def objection(self, asked: Asked) -> str:
        """Return why a node that is told ``asked`` now does not go on; empty if it does."""
        if self.boot != boot():
            return "the machine was started again since"
        return asked.difference(self.asked)


class ActingFile(KeptFile):
    """The acting policy of one node. The file is there while a policy acts, and after a death."""

    SUFFIX = ".acting"

    def found(self) -> Kept | None:
        """Return what acted when a node died; None if none did.

        :class:`PolicyError` when the file does not say.
        """
        if self.path is None:
            return None
        try:
            said = json.loads(self.path.read_text())
            trial = OnTrial(**said["trial"]) if said.get("trial") else None
            return Kept(Acting(**said["acting"]), Asked(**said["asked"]), str(said["boot"]), trial)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PolicyError(in_words(self.path, "read", error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PolicyError(f"{self.path} does not say which policy acted") from error

    def write(self, acting: Acting, asked: Asked, trial: OnTrial | None = None) -> str:
        """Say what acts from now on, and whether on trial; return why that failed.

        Then the file rather says nothing than what acted before. It is a process that may die, not
        the machine: nobody waits for the disk.
        """
        if self.path is None:
            return ""
        content = json.dumps(asdict(Kept(acting, asked, boot(), trial)))
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            new.write_text(content)
            new.replace(self.path)
        except OSError as error:
            objections = in_words(self.path, "written", error), self.remove()
            return "; ".join(objection for objection in objections if objection)
        return ""


def boot() -> str:
    """Return what tells this run of the machine from any other; empty where nothing does."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""
