# SPDX-License-Identifier: Apache-2.0
"""The policies of one directory, by name. A caller can never name a path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pwm_export.bundle import Bundle, BundleError
from pwm_policy.trust import TrustList

SUFFIX = ".onnx"


class PolicyError(ValueError):
    """A policy cannot be used; the message says why."""


@dataclass(frozen=True)
class Acting:
    """A policy that acts, or did when its node died."""

    policy: str
    sha256: str
    """Of its bundle, hexadecimal."""


class PolicyRegistry:
    """Loaded bundles that fit each other, and why the others were refused.

    The reference of a registry, set by :meth:`select`, fixes layouts and rate for every policy.
    With a trust list, a bundle that it does not list is refused before anything parses it.
    """

    def __init__(self, directory: str | Path, trust: TrustList | None = None) -> None:
        self.directory = Path(directory)
        self._trust = trust
        self.policies: dict[str, Bundle] = {}
        self.refused: dict[str, str] = {}
        self._reference: Bundle | None = None

    @property
    def names(self) -> list[str]:
        """Names that can be used, sorted."""
        return sorted(self.policies)

    def scan(self) -> None:
        """Load every bundle of the directory; a bad one is noted and does not stop the others.

        Raises :class:`PolicyError` when the directory is missing or holds no bundle.
        """
        if not self.directory.is_dir():
            raise PolicyError(f"policy directory {self.directory} does not exist")
        paths = sorted(self.directory.glob(f"*{SUFFIX}"))
        if not paths:
            raise PolicyError(f"policy directory {self.directory} holds no *{SUFFIX} bundle")
        for path in paths:
            try:
                self.policies[path.stem] = self._read(path)
            except BundleError as error:
                self.refused[path.stem] = str(error)

    def require_rate(self, rate: float) -> None:
        """Refuse every policy that does not decide ``rate`` times a second; 0 lets all pass."""
        for name in self.names:
            own = 1.0 / self.policies[name].control_step
            if rate and not math.isclose(own, rate, rel_tol=1e-6):
                self.refused[name] = (
                    f"policy {name} decides at {own:.6g} Hz, the robot expects {rate:.6g} Hz"
                )
                del self.policies[name]

    def select(self, name: str = "", task: str = "") -> str:
        """Choose the policy to start with, which every other one must fit, or is refused.

        It is ``name``; else the one that is called like ``task``; else the only one for ``task``;
        without a task, the only one. Returns the name; raises :class:`PolicyError` when there is no
        such policy, or several.
        """
        chosen = name or self._only_one_for(task)
        reference = self.get(chosen)
        self._reference = reference
        for other in self.names:
            try:
                self._require_fit(self.policies[other])
            except BundleError as error:
                self.refused[other] = str(error)
                del self.policies[other]
        return chosen

    def resume(self, acted: Acting) -> str:
        """Choose the policy that acted before as :meth:`select` does; it must be the same bundle.

        Returns its name; :class:`PolicyError` when there is none, or another one, of the name.
        """
        chosen = self.select(acted.policy)
        if self.policies[chosen].sha256 != acted.sha256:
            raise PolicyError(f"bundle {chosen}{SUFFIX} is not the one that acted: it has changed")
        return chosen

    def get(self, name: str) -> Bundle:
        """Return a policy; :class:`PolicyError` with the reason or the known names otherwise."""
        if name in self.policies:
            bundle = self.policies[name]
            self.require_trust(bundle)
            return bundle
        if name in self.refused:
            raise PolicyError(f"policy {name!r} was refused: {self.refused[name]}")
        known = ", ".join(self.names) or "none"
        raise PolicyError(f"unknown policy {name!r}: the policies are {known}")

    def load(self, name: str) -> Bundle:
        """Read one bundle of the directory (again) without touching the registry.

        Raises :class:`PolicyError` for a name that is no bundle of the directory or does not fit.
        """
        # Compared with the listing, never joined to the path: "../x" is just an unknown name.
        paths = {path.stem: path for path in self.directory.glob(f"*{SUFFIX}")}
        if name not in paths:
            known = ", ".join(sorted(paths)) or "none"
            raise PolicyError(f"no bundle {name!r} in the policy directory: there are {known}")
        try:
            bundle = self._read(paths[name])
            self._require_fit(bundle)
        except BundleError as error:
            raise PolicyError(str(error)) from error
        return bundle

    def put(self, name: str, bundle: Bundle) -> None:
        """Add or replace a policy that :meth:`load` returned; others may be reading meanwhile."""
        self.policies = {**self.policies, name: bundle}
        self.refused = {other: why for other, why in self.refused.items() if other != name}

    def _read(self, path: Path) -> Bundle:
        return Bundle.load(path, self._trust.require if self._trust is not None else None)

    def require_trust(self, bundle: Bundle) -> None:
        """Raise :class:`PolicyError` when a bundle is not trusted any more."""
        try:
            if self._trust is not None:
                self._trust.require(bundle.path.name, bundle.sha256)
        except BundleError as error:
            raise PolicyError(f"bundle {bundle.path.name}: {error}") from error

    def _only_one_for(self, task: str) -> str:
        if not self.policies:
            reasons = "; ".join(self.refused.values())
            raise PolicyError(f"no usable bundle in {self.directory}: {reasons}")
        fitting = [name for name in self.names if task in ("", self.policies[name].task)]
        if not fitting:
            raise PolicyError(
                f"no policy for task {task}: the policies are {', '.join(self.names)}"
            )
        if len(fitting) > 1 and task not in fitting:
            which = f"for task {task}" if task else "and no task"
            raise PolicyError(
                f"{len(fitting)} policies {which}: say which of {', '.join(fitting)} starts, with "
                "the parameter `policy`"
            )
        return task if task in fitting else fitting[0]

    def _require_fit(self, bundle: Bundle) -> None:
        reference = self._reference
        if reference is not None:
            bundle.require(
                observation=reference.observation,
                action=reference.action,
                control_step=reference.control_step,
            )
