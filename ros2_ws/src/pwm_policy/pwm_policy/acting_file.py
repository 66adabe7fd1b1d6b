# SPDX-License-Identifier: Apache-2.0
"""Which policy acts, on disk: a node that replaces one that died goes on with the same. No ROS."""

from __future__ import annotations

import json

from pwm_policy.kept_file import KeptFile, in_words
from pwm_policy.registry import Acting, PolicyError


class ActingFile(KeptFile):
    """The acting policy of one node. The file is there while a policy acts, and after a death."""

    SUFFIX = ".acting"

    def found(self) -> Acting | None:
        """Return what acted when a node died; None if none did.

        :class:`PolicyError` when the file does not say.
        """
        if self.path is None:
            return None
        try:
            said = json.loads(self.path.read_text())
            return Acting(str(said["policy"]), str(said["sha256"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PolicyError(in_words(self.path, "read", error)) from error
        except (ValueError, TypeError, KeyError) as error:
            raise PolicyError(f"{self.path} does not say which policy acted") from error

    def write(self, acting: Acting) -> str:
        """Say what acts from now on.

        It is a process that may die, not the machine: nobody waits for the disk.
        """
        if self.path is None:
            return ""
        content = json.dumps({"policy": acting.policy, "sha256": acting.sha256})
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            new.write_text(content)
            new.replace(self.path)
        except OSError as error:
            return in_words(self.path, "written", error)
        return ""
