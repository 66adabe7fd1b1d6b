# SPDX-License-Identifier: Apache-2.0
"""What is started: an executable of a ROS package, its parameters, what its end means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

Value = str | bool | float | Sequence[str] | Sequence[float]
"""A parameter's value."""


class AtEnd(Enum):
    """What happens when a node ends by itself."""

    STOP = "everything else is stopped"
    RESPAWN = "it is started again"
    GO_ON = "everything else goes on"


@dataclass(frozen=True)
class NodeProcess:
    """One executable of a ROS package and the parameters it gets beside the parameter file."""

    package: str
    """ROS package."""
    executable: str
    """Executable of the package."""
    parameters: Mapping[str, Value] = field(default_factory=dict)
    """Parameters that win over the parameter file's."""
    remappings: tuple[tuple[str, str], ...] = ()
    """Topics of the node and what they are called here."""
    at_end: AtEnd = AtEnd.STOP
    """What happens when it ends by itself."""
    enclave: str = ""
    """SROS2 enclave; empty: none."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of this process alone."""
