"""Building a Debian system: choose packages, fetch them, unpack them, write down the result.

1. the suite's index, its signature checked                    archive, release, index
2. the packages that are needed                                resolve
3. all of them fetched at once, and the kernel                 download, kernels
4. their files into a layer, dpkg's database, the settings     unpack, dpkg, configure
5. modules and tools into a second layer
6. what a machine needs to know, as one small file             guest
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from maquina.errors import NetworkError
from maquina.images import dpkg
from maquina.images.archive import Archive, Tools, Trust, find_archive
from maquina.images.cache import Cache
from maquina.images.catalog import ARCHITECTURE, RECIPE, SMALL, Request, remembered
from maquina.images.configure import configure, is_configured, keeps
from maquina.images.deb import Deb
from maquina.images.download import Downloader
from maquina.images.guest import MODULES, Guest, Kernel
from maquina.images.index import Package
from maquina.images.kernels import (
    DISK,
    NETWORK,
    SMALL_SUITES,
    Found,
    fetch_kernel,
    fetch_modules,
    find_kernel,
)
from maquina.images.mirrors import find_updates, write_apt_settings
from maquina.images.progress import Progress
from maquina.images.resolve import Resolver
from maquina.images.sources import read_configuration
from maquina.images.unpack import Unpacked, Unpacker
from maquina.storage.layers.writer import LayerWriter

# What a system has besides Debian's essential and required packages.
DEFAULT_PACKAGES = ("apt", "ca-certificates", "iproute2", "python3")
BUSYBOX = "busybox-static"


def bootstrap(cache: Cache, wanted: Request, progress: Progress, refresh: bool) -> Guest:
    """Build what was asked for, reusing every part that is the same as before."""
    configuration = read_configuration()
    trust = Trust(configuration, (Path(wanted.keyring),) if wanted.keyring else ())
    with (
        cache.held("guests", f"{wanted.key}.json", progress),
        Downloader(configuration, progress) as downloader,
    ):
        done = None if refresh else remembered(cache, wanted.key)
        if done is not None:  # by the run that held the lock
            return done
        tools = Tools(cache, downloader, progress)
        archive = find_archive(tools, wanted.suite, ARCHITECTURE, trust, wanted.mirror)
        choice = _choose(archive, wanted.packages)
        with ThreadPoolExecutor(1, thread_name_prefix="kernel") as beside:
            kernel = beside.submit(_kernel, tools, archive, wanted, trust)
            try:
                system = _system(tools, archive, choice, trust)
                guest = _guest(cache, archive, system, *kernel.result())
            except BaseException:
                downloader.stop()
                raise
        path = cache.path("guests", f"{wanted.key}.json")
        draft = path.with_suffix(".draft")
        draft.write_text(guest.dump(cache.root))
        draft.rename(path)
    return guest


Modules = dict[str, tuple[Path, ...]]


def _guest(
    cache: Cache, archive: Archive, system: Path, kernel: Kernel, modules: Modules
) -> Guest:
    return Guest(
        name=f"Debian {archive.suite}",
        architecture=archive.architecture,
        layers=(system, _modules_layer(cache, modules)),
        kernel=kernel,
        modules=modules[NETWORK],
        disk_modules=modules[DISK],
        busybox=_busybox(cache, archive),
    )


def _kernel(
    tools: Tools, system: Archive, wanted: Request, trust: Trust
) -> tuple[Kernel, Modules]:
    """The kernel and its modules, in the cache. NetworkError if there are none."""
    found = _find_kernel(tools, system, wanted, trust)
    return fetch_kernel(tools.cache, found), fetch_modules(tools.cache, found)


def _find_kernel(tools: Tools, system: Archive, wanted: Request, trust: Trust) -> Found:
    """The newest kernel of the suites to look in. NetworkError if they have none."""
    suites = SMALL_SUITES if wanted.kernel == SMALL else (wanted.kernel,)
    for suite in suites:
        archive = system
        if suite != system.suite:
            mirror = wanted.mirror or system.mirror
            archive = find_archive(tools, suite, ARCHITECTURE, trust, mirror)
        found = find_kernel(archive)
        if found is not None:
            return found
    raise NetworkError(
        f"the mirror has no {ARCHITECTURE} kernel in {' or '.join(suites)}",
        "name a suite that has one with --kernel, or another mirror",
    )


@dataclass(frozen=True)
class _Choice:
    """The packages of a system; those in `base` are in every one."""

    packages: list[Package]
    base: frozenset[str]


def _choose(archive: Archive, extra: Sequence[str]) -> _Choice:
    resolver = Resolver(archive.index())
    resolver.add([*archive.index().required(), *DEFAULT_PACKAGES])
    base = frozenset(resolver.chosen)
    resolver.add(extra)
    return _Choice(list(resolver.chosen.values()), base)


def _system(tools: Tools, archive: Archive, choice: _Choice, trust: Trust) -> Path:
    """The layer of an unpacked system."""
    archives = [archive, *find_updates(tools, archive, trust)]
    key = _key([package.sha256 for package in choice.packages], archives, trust)
    cache, name = tools.cache, f"{archive.suite}-{key}"
    with cache.making("layers", name, archive.progress) as draft:
        if draft is not None:
            debs = archive.fetch_all(choice.packages, f"packages of {archive.suite}")
            with LayerWriter(draft) as writer:
                _write_system(writer, debs, choice.base, archive)
                write_apt_settings(writer, archives, trust.configuration)
                writer.finish().close()
    return cache.path("layers", name)


def _write_system(
    writer: LayerWriter, debs: list[Deb], base: frozenset[str], archive: Archive
) -> None:
    unpacker = Unpacker(writer, keeps)
    unpacked: list[Unpacked] = []
    # Links like /bin come with base-files; whatever is written before it would lie beside them.
    debs = sorted(debs, key=lambda deb: deb.name != "base-files")
    with archive.progress.task("unpacking", len(debs), "packages") as task:
        for deb in debs:
            unpacked.append(unpacker.unpack(deb))
            task.advance(1)
    unpacked.sort(key=dpkg.package_name)
    configure(writer, unpacker.kept)
    names = {dpkg.package_name(each): "postinst" in each.control for each in unpacked}
    done = {name for name, has in names.items() if is_configured(name, has, name in base)}
    existing = {path for each in unpacked for path in each.paths}
    dpkg.write_alternatives(writer, dpkg.alternatives(unpacked), existing)
    dpkg.write_database(writer, archive.architecture, unpacked, done)


def _modules_layer(cache: Cache, modules: Modules) -> Path:
    """A small layer with kernel modules and the orders to load them."""
    name = f"modules-{modules[NETWORK][0].parent.name}"
    with cache.making("layers", name) as draft:
        if draft is not None:
            with LayerWriter(draft) as writer:
                for purpose, order in ((NETWORK, "order"), (DISK, "order.disk")):
                    for path in modules[purpose]:
                        writer.file(f"{MODULES}/{path.name}", path.read_bytes(), 0o644)
                    lines = "".join(f"{path.name}\n" for path in modules[purpose])
                    writer.file(f"{MODULES}/{order}", lines.encode(), 0o644)
                writer.finish().close()
    return cache.path("layers", name)


def _busybox(cache: Cache, archive: Archive) -> Path:
    """The static busybox of a suite, as a host file."""
    package = archive.index().get(BUSYBOX)
    name = f"busybox-{package.version.replace(':', '.')}-{archive.architecture}"
    with cache.making("tools", name, archive.progress) as draft:
        if draft is not None:
            draft.mkdir()
            with archive.fetch(package).data() as tar:
                for member in tar:
                    if member.isreg() and member.name.endswith("bin/busybox"):
                        stream = tar.extractfile(member)
                        assert stream is not None
                        (draft / "busybox").write_bytes(stream.read())
    return cache.path("tools", name) / "busybox"


def _key(hashes: list[str], archives: list[Archive], trust: Trust) -> str:
    """Names a system by everything that is in it."""
    sources = [(each.mirror, each.suite) for each in archives]
    settings = sorted(trust.configuration.settings.items())
    text = json.dumps([RECIPE, sorted(hashes), sources, settings])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
