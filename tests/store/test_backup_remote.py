"""Copies elsewhere: a folder, and S3 as moto speaks it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer

from pumpwatch.errors import BackupError, DamagedBackupError
from pumpwatch.store import backup_remote
from pumpwatch.store.backup_manifest import (
    FORMAT,
    GOOD,
    FileCopy,
    Manifest,
    State,
    seal,
)
from pumpwatch.store.backup_objects import Objects, Stored, Wanted, make_key, unpack
from pumpwatch.store.backup_remote import MANIFEST_FILE, STATE_FILE, Remote

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server on a free port of 127.0.0.1 with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    endpoint = f"http://127.0.0.1:{port}"
    httpx.put(f"{endpoint}/backups").raise_for_status()
    yield endpoint
    server.stop()


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/far%20away"
    environment = {
        "AWS_ENDPOINT_URL": request.getfixturevalue("s3"),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://backups/{tmp_path.name}"


def put(objects: Objects, tmp_path: Path, data: bytes) -> Stored:
    (tmp_path / "file").write_bytes(data)
    return objects.put(tmp_path / "file")


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_objects_go_there_once_and_come_back(url: str, tmp_path: Path, is_encrypted: bool) -> None:
    key = make_key(tmp_path / "key") if is_encrypted else None
    objects, remote = Objects(tmp_path / "here", key), Remote(url)
    data = os.urandom(9 * MIB)  # in parts
    stored = put(objects, tmp_path, data)
    sizes = remote.sizes()
    assert sizes == {}
    assert remote.upload_object(objects, stored.sha256, sizes)
    assert not remote.upload_object(objects, stored.sha256, sizes)
    assert not Remote(url).upload_object(objects, stored.sha256, remote.sizes())
    assert list(remote.sizes().values()) == [stored.stored_bytes]
    objects.path(stored.sha256).unlink()
    wanted = Wanted(stored.sha256, stored.size_bytes, stored.stored_sha256)
    unpack(remote.source(objects), key, wanted, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


def test_an_object_that_was_cut_is_sent_again(url: str, tmp_path: Path) -> None:
    objects, remote = Objects(tmp_path / "here", None), Remote(url)
    stored = put(objects, tmp_path, os.urandom(100_000))
    key = objects.relative(stored.sha256)
    half = tmp_path / "half"
    half.write_bytes(objects.path(stored.sha256).read_bytes()[:50_000])
    remote._put(key, half)
    assert remote.upload_object(objects, stored.sha256, remote.sizes())
    assert remote.sizes() == {key: stored.stored_bytes}


def test_what_arrives_changed_is_refused_and_taken_away(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, remote = Objects(tmp_path / "here", None), Remote(url)
    stored = put(objects, tmp_path, b"content")
    real = remote._put

    def garble(key: str, path: Path) -> None:
        (tmp_path / "garbled").write_bytes(bytes(path.stat().st_size))
        real(key, tmp_path / "garbled")

    monkeypatch.setattr(remote, "_put", garble)
    with pytest.raises(BackupError, match="is not what was sent; it was taken away"):
        remote.upload_object(objects, stored.sha256, {})
    assert remote.sizes() == {}


def test_an_object_that_is_missing_there_is_damage(url: str, tmp_path: Path) -> None:
    objects = Objects(tmp_path / "here", None)
    with pytest.raises(DamagedBackupError, match="is not there"):
        unpack(Remote(url).source(objects), None, Wanted("ab" * 32, 1, ""), tmp_path / "out")


def test_states_and_rotation(url: str, tmp_path: Path) -> None:
    objects, remote = Objects(tmp_path / "here", None), Remote(url)
    kept, gone = (put(objects, tmp_path, text) for text in (b"kept", b"gone"))
    for stored, name in ((kept, "20260102T000000Z"), (gone, "20260101T000000Z")):
        remote.upload_object(objects, stored.sha256, {})
        upload(remote, tmp_path, name, stored)
    # An upload that was cut has no state yet, and one that was garbled is left out.
    (tmp_path / MANIFEST_FILE).write_bytes(b"x")
    remote.upload_file("20260103T000000Z", tmp_path / MANIFEST_FILE)
    (tmp_path / STATE_FILE).write_bytes(b"x")
    remote.upload_file("20260104T000000Z", tmp_path / STATE_FILE)
    assert [state.name for state in remote.states()] == ["20260101T000000Z", "20260102T000000Z"]
    remote.remove_backup("20260101T000000Z")
    assert remote.sweep(["20260102T000000Z"]) == 1
    assert list(remote.sizes()) == [objects.relative(kept.sha256)]
    assert [state.name for state in remote.states()] == ["20260102T000000Z"]


def upload(remote: Remote, tmp_path: Path, name: str, stored: Stored) -> None:
    file = FileCopy(
        path="db/x", size_bytes=stored.size_bytes, sha256=stored.sha256,
        stored_bytes=stored.stored_bytes, stored_sha256=stored.stored_sha256,
    )  # fmt: skip
    manifest = Manifest(
        format=FORMAT, name=name, created_ns=1, server_version="9.3.4", schema_version=11,
        was_held=True, spool_position="", key="", files=(file,), tables=(),
    )  # fmt: skip
    (tmp_path / MANIFEST_FILE).write_bytes(seal(manifest))
    remote.upload_file(name, tmp_path / MANIFEST_FILE)
    (tmp_path / STATE_FILE).write_bytes(seal(State(name=name, state=GOOD, created_ns=1)))
    remote.upload_file(name, tmp_path / STATE_FILE)


def test_a_store_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_remote, "RETRIES_MAX", 0)
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(BackupError, match=r"s3://nowhere/x: cannot be listed"):
        Remote("s3://nowhere/x").sizes()
