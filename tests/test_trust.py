"""One context for all connections, read anew when the system's authorities change."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme

from pumpwatch.trust import system_roots, trust_for


@pytest.fixture
def authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's file, with one authority in it."""
    path = tmp_path / "authorities.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return path


def test_all_connections_share_one_context(authorities: Path) -> None:
    first = system_roots("socket")
    assert system_roots("socket") is first
    assert len(first.get_ca_certs()) == 1
    assert first.verify_mode is ssl.CERT_REQUIRED
    assert first.check_hostname


def test_http_and_sockets_have_one_each(authorities: Path) -> None:
    """Httpx writes what it speaks into its context."""
    socket = system_roots("socket")
    assert system_roots("http") is not socket
    assert system_roots("socket") is socket  # the other one has not taken its place


def test_authorities_that_come_later_are_believed(authorities: Path) -> None:
    first = system_roots("socket")
    more = trustme.CA().cert_pem.bytes()
    authorities.write_bytes(authorities.read_bytes() + more)
    os.utime(authorities, ns=(1, 2))  # clocks of file systems are coarse
    second = system_roots("socket")
    assert second is not first
    assert len(second.get_ca_certs()) == 2
    assert len(first.get_ca_certs()) == 1  # connections that are open keep theirs


def test_a_system_without_authorities_believes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert system_roots("http").get_ca_certs() == []


def test_an_address_without_tls_needs_no_authorities(authorities: Path) -> None:
    plain = trust_for("http://127.0.0.1:9000")
    assert plain.get_ca_certs() == []
    assert plain.verify_mode is ssl.CERT_REQUIRED  # and one with TLS would be refused with it
    assert trust_for("https://db.example") is system_roots("http")
