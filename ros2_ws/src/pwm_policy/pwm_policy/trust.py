# SPDX-License-Identifier: Apache-2.0
"""Which bundles may run at all: those whose digest is listed, as ``sha256sum`` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from pwm_export.bundle import BundleError

LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")
"""A line of ``sha256sum``: digest, text or binary mode, file name."""


class TrustList:
    """The digests of the bundles that are trusted, by file name.

    The file is read anew for every check, so that a digest taken out of it is refused from then on.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def require(self, file_name: str, digest: str) -> None:
        """Raise :class:`BundleError` unless ``digest`` (hexadecimal) is listed for a file name."""
        listed = self._digests(file_name)
        if digest in listed:
            return
        known = f"there it is listed with {', '.join(sorted(listed))}: the file has changed"
        unknown = "add it with sha256sum if you trust the file"
        raise BundleError(
            f"sha256 {digest} is not trusted by {self.path}; " + (known if listed else unknown)
        )

    def _digests(self, file_name: str) -> set[str]:
        try:
            lines = self.path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"trust list {self.path} cannot be read: {error}") from error
        digests = set()
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            match = LINE.fullmatch(line)
            if match is None:
                raise BundleError(
                    f"trust list {self.path}, line {number}: expected 64 hexadecimal digits, two "
                    "spaces and a file name, as sha256sum writes"
                )
            if Path(match["name"]).name == file_name:
                digests.add(match["digest"])
        return digests
