"""What an upgrade changes and wants before; the kept jar; where a restored symbol stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch.config import Config
from pumpwatch.errors import BackupError, UsageError
from pumpwatch.release import INSTALLED, Release, keep_jar, note_release, read_release
from pumpwatch.restored import Stand, edge_of, read_mark
from pumpwatch.store.backup_manifest import State
from pumpwatch.store.backup_restore import RESTORED_FILE
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import HOUR_NS
from pumpwatch.store.server import ensure_passwords
from pumpwatch.upgrade_verb import changes_of, check, judge_backup, rotate
from tests.store.upkeep import NOW_NS, FixedClock, ListSink, config_of

OLD = Release(version="0.1", schema_version=3, server_version="9.3.4")
NEW = Release(version="0.2", schema_version=4, server_version="9.3.5")


def good(age_h: float) -> State:
    at_ns = NOW_NS - int(age_h * HOUR_NS)
    return State(name="20260309T031000Z", state="good", created_ns=at_ns, verified_ns=at_ns)


def test_schema_and_server_count_as_changes() -> None:
    assert changes_of(OLD, OLD) == []
    assert changes_of(OLD, NEW) == ["schema 3 becomes 4", "QuestDB 9.3.4 becomes 9.3.5"]


@pytest.mark.parametrize(
    ("changes", "backup", "wants", "state"),
    [
        ([], None, True, "ok"),
        (["schema"], None, True, "fail"),
        (["schema"], None, False, "warn"),
        (["schema"], good(23.9), True, "ok"),
        (["schema"], good(24.1), True, "fail"),
        (["schema"], good(24.1), False, "warn"),
    ],
)
def test_a_change_wants_a_backup_of_today(
    changes: list[str], backup: State | None, wants: bool, state: str
) -> None:
    found = judge_backup(changes, backup, NOW_NS, wants_backup=wants)
    assert found.state == state
    assert ("--no-backup" in found.text) == (state == "fail")


async def test_a_release_is_noted_once_and_a_change_is_an_operation(tmp_path: Path) -> None:
    config, sink = Config(data_dir=tmp_path), ListSink()
    operations = OperationLog(sink, FixedClock())
    await note_release(config, operations)
    assert read_release(tmp_path) == INSTALLED
    await note_release(config, operations)
    assert sink.lines == []
    (tmp_path / "release.json").write_text(
        '{"version": "0.0", "schema_version": 1, "server_version": "9.3.4"}'
    )
    await note_release(config, operations)
    assert len(sink.lines) == 1
    assert "PumpWatch 0.0, schema 1" in sink.lines[0]


def test_check_asks_for_what_is_missing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert [finding.state for finding in check(config, wants_backup=True)] == ["ok"]
    (tmp_path / "release.json").write_text(
        '{"version": "0.0", "schema_version": 1, "server_version": "9.3.4"}'
    )
    found = {finding.name: finding for finding in check(config, wants_backup=True)}
    assert found["backup"].state == "fail"
    assert "there is no good backup" in found["backup"].text


def test_the_old_jar_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    assert keep_jar(tmp_path, "9.0.0") is None
    jar = tmp_path / "m2/org/questdb/questdb/9.0.0/questdb-9.0.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"jar")
    kept = keep_jar(tmp_path, "9.0.0")
    assert kept is not None
    jar.unlink()
    assert keep_jar(tmp_path, "9.0.0") == kept
    assert kept.read_bytes() == b"jar"


def test_without_a_daemon_the_next_start_takes_new_passwords(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    before = ensure_passwords(config)
    assert rotate(config) == [config.questdb.password_file, config.questdb.readonly_password_file]
    after = ensure_passwords(config)
    assert not set(before) & set(after)


def test_an_external_database_is_not_ours_to_change(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    external = Config(
        data_dir=tmp_path,
        questdb=type(config.questdb)(
            mode="external", http_url="http://127.0.0.1:9000", pg_host="127.0.0.1", pg_port=8812
        ),
    )
    with pytest.raises(UsageError, match="not ours"):
        rotate(external)


def test_where_a_restored_symbol_stands() -> None:
    stand = Stand(last_ns=5, sequence_number=41, received_ns=6)
    assert edge_of("BTCUSDT", stand, counts_up=True).next_id == 42
    assert edge_of("BTCUSDT", stand, counts_up=False).next_id == 0
    assert edge_of("BTCUSDT", None, counts_up=True).last_ns == 0


def test_a_mark_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    assert read_mark(tmp_path) is None
    (tmp_path / RESTORED_FILE).write_text("{")
    with pytest.raises(BackupError, match="since when trades are missing"):
        read_mark(tmp_path)
