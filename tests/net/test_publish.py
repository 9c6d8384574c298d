from __future__ import annotations

import socket
from pathlib import Path

import pytest

from maquina.errors import HostError, UsageError
from maquina.net import publish
from maquina.net.publish import Publication, listen, parse_publication


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", Publication("127.0.0.1", 8080, 80, "tcp")),
        ("8080:80/tcp", Publication("127.0.0.1", 8080, 80, "tcp")),
        ("0.0.0.0:5353:53/udp", Publication("0.0.0.0", 5353, 53, "udp")),
        ("[::1]:8080:80", Publication("::1", 8080, 80, "tcp")),
        ("0:22", Publication("127.0.0.1", 0, 22, "tcp")),
    ],
)
def test_publications_are_read_and_shown(text: str, expected: Publication) -> None:
    assert parse_publication(text) == expected
    assert parse_publication(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "80", ":80", "80:", "a:b", "8080:80/sctp", "8080:80/", "1:2:3", "localhost:1:2",
        "::1:80:80", "70000:80", "80:0", "80:65536", "-1:80", "9" * 5000 + ":80", "1:2:3:4",
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error_with_a_remedy(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_publication(text)
    assert error.value.remedy


def test_a_privileged_port_names_the_first_free_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forbid(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "start").write_text("1024\n")
    monkeypatch.setattr(publish, "UNPRIVILEGED_START", tmp_path / "start")
    monkeypatch.setattr(socket.socket, "bind", forbid)
    with pytest.raises(HostError, match=r"port 80 of 127\.0\.0\.1 is privileged.*1024"):
        listen(Publication("127.0.0.1", 80, 80))


def test_ports_are_bound_where_they_were_asked_for() -> None:
    for address in ("127.0.0.1", "::1"):
        for transport in ("tcp", "udp"):
            with listen(Publication(address, 0, 80, transport)) as sock:
                assert sock.getsockname()[0] == address
