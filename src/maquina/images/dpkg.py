"""dpkg's database in a fresh system, as dpkg would have written it (dpkg(1), deb-triggers(5)).

    var/lib/dpkg/status          a stanza for each package
    var/lib/dpkg/info/           its file list and control files
    var/lib/dpkg/triggers/       who wants to know when a path or a name is touched
    var/lib/dpkg/alternatives/   what update-alternatives has chosen

Packages are recorded as `installed` when `configure` has done what their scripts would do, else as
`unpacked`: dpkg then runs their scripts the next time it or apt is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from maquina.images.sources import paragraphs
from maquina.images.unpack import Unpacked
from maquina.storage.layers.writer import LayerWriter

ADMIN = "var/lib/dpkg"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
_INTEREST = re.compile(r"^\s*interest(-noawait|-await)?\s+(\S+)", re.MULTILINE)
_ALTERNATIVE = re.compile(
    r"update-alternatives\s+((?:[^\n;&|]|\\\n)*?--install(?:\\\n|[^\n;&|])+)"
)


@dataclass(frozen=True)
class Choice:
    """One program that can stand for a name: `slaves` are links that go with it."""

    name: str
    link: str
    path: str
    priority: int
    slaves: dict[str, tuple[str, str]] = field(default_factory=dict)


def write_database(
    writer: LayerWriter, architecture: str, packages: Iterable[Unpacked], installed: set[str]
) -> None:
    """Write the database of these packages; those named in `installed` count as configured."""
    packages = list(packages)
    for folder in ("", "/info", "/alternatives", "/parts", "/triggers", "/updates"):
        writer.directory(ADMIN + folder, 0o755)
    stanzas = [status_stanza(package, installed) for package in packages]
    files = {
        "status": "\n".join(stanzas), "available": "", "diversions": "", "statoverride": "",
        "lock": "", "lock-frontend": "", "arch-native": architecture + "\n",
        "info/format": "1\n", "triggers/Unincorp": "", "triggers/Lock": "",
    }  # fmt: skip
    for name, text in (files | _triggers(packages)).items():
        writer.file(f"{ADMIN}/{name}", text.encode(), 0o640 if "lock" in name else 0o644)
    for package in packages:
        _write_info(writer, package)


def package_name(package: Unpacked) -> str:
    return _fields(package).get("package", "")


def status_stanza(package: Unpacked, installed: set[str]) -> str:
    """The control fields with dpkg's own: the state, and what configuration files looked like."""
    state = "installed" if package_name(package) in installed else "unpacked"
    text = package.control["control"].decode(errors="replace").strip("\n")
    first, _, rest = text.partition("\n")
    lines = [first, f"Status: install ok {state}", rest]
    if package.conffiles:
        sums = [f" {path} {md5}" for path, md5 in package.conffiles.items() if md5]
        lines += ["Conffiles:", *sums]
    return "\n".join(lines) + "\n"


def alternatives(packages: Iterable[Unpacked]) -> dict[str, list[Choice]]:
    """What the packages' scripts register in plain words, by name, best first.

    A script that computes its alternatives is not understood; dpkg runs it when it configures the
    package.
    """
    found: dict[str, list[Choice]] = {}
    for package in packages:
        script = package.control.get("postinst", b"").decode(errors="replace")
        for match in _ALTERNATIVE.finditer(script):
            choice = _choice(match[1].replace("\\\n", " ").split())
            if choice and choice.path not in [each.path for each in found.get(choice.name, [])]:
                found.setdefault(choice.name, []).append(choice)
    return {name: sorted(c, key=lambda each: -each.priority) for name, c in found.items()}


def write_alternatives(
    writer: LayerWriter, choices: dict[str, list[Choice]], existing: set[str]
) -> None:
    """The links of the best choices, and the records that let update-alternatives go on."""
    writer.directory("etc/alternatives", 0o755)
    for name, all_choices in choices.items():
        usable = [each for each in all_choices if _merged(each.path) in existing]
        if not usable:
            continue
        best = usable[0]
        links = {name: (best.link, best.path), **best.slaves}
        for slave, (link, path) in links.items():
            if _merged(path) in existing:
                writer.symlink(link, f"/etc/alternatives/{slave}")
                writer.symlink(f"etc/alternatives/{slave}", path)
        writer.file(f"{ADMIN}/alternatives/{name}", _record(usable).encode(), 0o644)


def _choice(words: list[str]) -> Choice | None:
    """The arguments of update-alternatives, if nothing in them is computed."""
    words = [word.strip("\"'") for word in words]
    at = words.index("--install")
    if len(words) < at + 5 or not words[at + 4].isdigit():
        return None
    link, name, path, priority = words[at + 1 : at + 5]
    slaves, rest = {}, words[at + 5 :]
    while len(rest) >= 4 and rest[0] == "--slave":
        slaves[rest[2]] = (rest[1], rest[3])
        rest = rest[4:]
    plain = [link, name, path, *slaves, *(part for pair in slaves.values() for part in pair)]
    if any("$" in word or "`" in word for word in plain) or not path.startswith("/"):
        return None
    return Choice(name, link, path, int(priority), slaves)


def _record(choices: list[Choice]) -> str:
    """The format of update-alternatives' own files: links first, then each choice."""
    slaves: dict[str, str] = {}
    for choice in choices:
        slaves |= {slave: link for slave, (link, _) in choice.slaves.items()}
    lines = ["auto", choices[0].link]
    for slave, link in sorted(slaves.items()):
        lines += [slave, link]
    lines.append("")
    for choice in sorted(choices, key=lambda each: each.path):
        lines += [choice.path, str(choice.priority)]
        lines += [choice.slaves.get(slave, ("", ""))[1] for slave in sorted(slaves)]
    return "\n".join([*lines, "", ""])


def _merged(path: str) -> str:
    """Where a path is in a file system whose /bin, /sbin and /lib are in /usr."""
    return "/usr" + path if path.startswith(("/bin/", "/sbin/", "/lib/")) else path


def _fields(package: Unpacked) -> dict[str, str]:
    return next(paragraphs(package.control["control"].decode(errors="replace")), {})


def _qualified(package: Unpacked) -> str:
    """The name that dpkg's files go by: packages for several architectures carry theirs."""
    fields = _fields(package)
    name = fields.get("package", "")
    return f"{name}:{fields['architecture']}" if fields.get("multi-arch") == "same" else name


def _write_info(writer: LayerWriter, package: Unpacked) -> None:
    name = f"{ADMIN}/info/{_qualified(package)}"
    writer.file(f"{name}.list", "".join(f"{path}\n" for path in package.paths).encode(), 0o644)
    for member, data in package.control.items():
        if member != "control" and "/" not in member:
            writer.file(f"{name}.{member}", data, 0o755 if member in _SCRIPTS else 0o644)


def _triggers(packages: Iterable[Unpacked]) -> dict[str, str]:
    """Files of the triggers directory, by path below the administrative one."""
    by_file: dict[str, str] = {"triggers/File": ""}
    for package in packages:
        text = package.control.get("triggers", b"").decode(errors="replace")
        for kind, trigger in _INTEREST.findall(text):
            who = _qualified(package) + ("/noawait" if kind == "-noawait" else "")
            if trigger.startswith("/"):
                by_file["triggers/File"] += f"{trigger} {who}\n"
            else:
                path = f"triggers/{trigger}"
                by_file[path] = by_file.get(path, "") + f"{who}\n"
    return by_file
