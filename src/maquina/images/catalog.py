"""Debian, from a mirror to a guest that boots: the front door of this package.

A request that was answered before is answered from one small file, without the network and without
anything heavy being imported; only then `bootstrap` does the work.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import FormatError, UsageError
from maquina.images.cache import Cache
from maquina.images.guest import Guest
from maquina.images.progress import SILENT, Progress

DEFAULT_SUITE = "trixie"
SMALL = "small"  # the kernel of the suite that has it in a package of its own
ARCHITECTURE = "riscv64"
RECIPE = 3  # counts the changes to what is built: systems of another recipe are not reused
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")  # Debian Policy 5.6.1: suites and packages alike


@dataclass(frozen=True)
class Request:
    """What was asked for, in a form that is equal when the answer is."""

    suite: str
    packages: tuple[str, ...]
    kernel: str
    mirror: str | None
    keyring: str | None

    @property
    def key(self) -> str:
        """A name for the answer."""
        words = [RECIPE, ARCHITECTURE, self.suite, self.packages, self.kernel]
        text = json.dumps([*words, self.mirror, self.keyring])
        return f"{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def debian(  # noqa: PLR0913, PLR0917  each is an option of the command line
    suite: str | None = None,
    packages: Iterable[str] = (),
    kernel: str = SMALL,
    mirror: str | None = None,
    keyring: Path | str | None = None,
    progress: Progress = SILENT,
    refresh: bool = False,
) -> Guest:
    """A Debian system with these packages besides the default ones.

    `suite` is a release that has riscv64 (trixie, forky, sid). `kernel` is "small" or a suite
    whose newest kernel is wanted. `mirror` is the URL of an archive; without it the host's apt
    configuration says. `keyring` is a file of keys to believe instead of the host's. `refresh`
    asks the mirror for what is new even if an answer is at hand.

    UsageError for a name that cannot be one, ImageError for an unknown package, NetworkError,
    SignatureError, HostError. Whatever happens, nothing half-made is left where it is looked for.
    """
    wanted = Request(
        suite or DEFAULT_SUITE,
        tuple(sorted(set(packages))),
        kernel,
        mirror,
        str(Path(keyring).resolve()) if keyring else None,
    )
    for name in (wanted.suite, wanted.kernel, *wanted.packages):
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not a name in Debian", "use a name such as trixie")
    cache = Cache.of_user()
    guest = None if refresh else remembered(cache, wanted.key)
    if guest is None:
        from maquina.images.bootstrap import bootstrap

        guest = bootstrap(cache, wanted, progress, refresh)
    return guest


def remembered(cache: Cache, key: str) -> Guest | None:
    """The answer given before, if all its files are still there."""
    path = cache.path("guests", f"{key}.json")
    try:
        guest = Guest.load(path.read_text(), cache.root)
    except (OSError, FormatError):
        return None
    if not all(each.exists() for each in guest.paths()):
        return None
    for each in (path, *guest.paths()):
        cache.touch(*each.relative_to(cache.root).parts[:2])
    return guest
