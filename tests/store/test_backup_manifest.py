"""Seals, versions and rotation; no file is touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.errors import BackupError, DamagedBackupError
from pumpwatch.store.backup_manifest import (
    BROKEN,
    FORMAT,
    GOOD,
    UNVERIFIED,
    FileCopy,
    Manifest,
    PartitionCopy,
    State,
    TableCopy,
    check_versions,
    differences,
    last_full_ns,
    newest_good,
    plan_rotation,
    seal,
    unseal_manifest,
    unseal_state,
)
from pumpwatch.store.digest import Digest
from pumpwatch.store.partitions import DAY_NS

NOW_NS = 1_000 * DAY_NS


def manifest(**changes: object) -> Manifest:
    file = FileCopy(path="db/x", size_bytes=3, sha256="ab", stored_bytes=2, stored_sha256="cd")
    part = PartitionCopy(name="2026-01-01T00", rows=5, rows_max=5, files=(file,))
    table = TableCopy(name="trades", folder="trades~6", files=(file,), partitions=(part,))
    facts: dict[str, object] = {
        "format": FORMAT, "name": "20260131T031000Z", "created_ns": NOW_NS,
        "server_version": "9.3.4", "schema_version": 11, "was_held": True, "spool_position": "7:1",
        "key": "", "files": (file,), "tables": (table,), **changes,
    }  # fmt: skip
    return Manifest(**facts)  # type: ignore[arg-type]


def state(age_days: float, kind: str = GOOD) -> State:
    created_ns = NOW_NS - int(age_days * DAY_NS)
    return State(name=f"{kind}{created_ns}", state=kind, created_ns=created_ns)


def test_what_is_sealed_comes_back() -> None:
    assert unseal_manifest(seal(manifest()), "here") == manifest()
    assert unseal_state(seal(state(1)), "here") == state(1)


@given(st.data())
def test_any_changed_byte_breaks_the_seal(data: st.DataObject) -> None:
    sealed = bytearray(seal(manifest()))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedBackupError, match="here: damaged"):
        unseal_manifest(bytes(sealed), "here")


def test_a_manifest_of_another_format_is_not_guessed_at() -> None:
    with pytest.raises(BackupError, match="format 99, this PumpWatch reads 1"):
        unseal_manifest(seal(manifest(format=99)), "here")


def test_versions() -> None:
    check_versions(manifest(), "9.3.4", 11)
    check_versions(manifest(), "9.3.4", 12)
    with pytest.raises(BackupError, match=r"made by QuestDB 9\.3\.4, this PumpWatch runs 9\.4\.0"):
        check_versions(manifest(), "9.4.0", 11)
    with pytest.raises(BackupError, match="schema version 11, this PumpWatch knows 10"):
        check_versions(manifest(), "9.3.4", 10)


states = st.lists(
    st.builds(state, st.floats(-1, 40), st.sampled_from([GOOD, GOOD, UNVERIFIED, BROKEN])),
    unique_by=lambda one: one.name,
)


@given(states, st.integers(1, 40))
def test_rotation_keeps_the_newest_good_one_and_every_young_one(
    found: list[State], keep_days: int
) -> None:
    gone = set(plan_rotation(found, NOW_NS, keep_days))
    best = newest_good(found)
    assert best is None or best.name not in gone
    for one in found:
        is_young = one.created_ns >= NOW_NS - keep_days * DAY_NS
        if one.state == GOOD and is_young:
            assert one.name not in gone
        if one.state == GOOD and one is not best and not is_young:
            assert one.name in gone
    bad = [one for one in found if one.state != GOOD and one.name not in gone]
    assert len(bad) <= 1
    if bad and best:
        assert bad[0].created_ns >= best.created_ns


def test_eight_failures_leave_the_only_good_one() -> None:
    found = [state(9), *(state(8 - number, BROKEN) for number in range(8))]
    assert sorted(plan_rotation(found, NOW_NS, 7)) == sorted(one.name for one in found[1:-1])


def test_the_last_full_test_is_remembered_when_its_backup_is_rotated_away() -> None:
    found: list[State] = []
    full_days = []
    for day in range(91):
        now_ns = NOW_NS + day * DAY_NS
        last_ns = last_full_ns(found)
        is_due = now_ns >= last_ns + 30 * DAY_NS
        full_days += [day] if is_due else []
        found.append(
            State(
                name=f"d{day}", state=GOOD, created_ns=now_ns, earlier_full_ns=last_ns,
                full_verified_ns=now_ns if is_due else 0,
            )
        )  # fmt: skip
        gone = plan_rotation(found, now_ns, 7)
        found = [one for one in found if one.name not in gone]
    assert full_days == [0, 30, 60, 90]


def test_differences_name_the_partition() -> None:
    digest = Digest(rows=5, min_ns=1, max_ns=2, checksum="0a")
    part = PartitionCopy(name="2026-01-01T00", rows=5, rows_max=5, files=(), digest=digest)
    assert differences(part, digest, "trades") == []
    other = Digest(rows=5, min_ns=1, max_ns=2, checksum="0b")
    assert differences(part, other, "trades")[0].startswith("trades 2026-01-01T00: ")
    moving = PartitionCopy(name="2026-01-01T01", rows=5, rows_max=9, files=())
    assert differences(moving, Digest(rows=7, min_ns=1, max_ns=2, checksum="0b"), "trades") == []
    assert differences(moving, Digest(rows=4, min_ns=1, max_ns=2, checksum="0b"), "trades")
    assert differences(moving, Digest(rows=10, min_ns=1, max_ns=2, checksum="0b"), "trades")
