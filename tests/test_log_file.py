"""The log file that is put aside when it is full."""

from __future__ import annotations

import stat
from pathlib import Path

import structlog
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch import log
from pumpwatch.log_file import RotatingFile


def files(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("p.log*"), key=lambda p: -int(p.name.removeprefix("p.log.") or 0)
                  if p.name != "p.log" else 1)  # fmt: skip


@given(st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=40)))
def test_whole_lines_in_order_and_never_more_than_allowed(lines: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = RotatingFile(folder / "p.log", bytes_max=100, keep=2)
        for line in lines:
            file.write(line + "\n")
        file.close()
        kept = files(folder)
        text = "".join(path.read_bytes().decode() for path in kept)
        assert "".join(line + "\n" for line in lines).endswith(text)
        assert len(kept) <= 3
        for path in kept:
            lone = path.read_bytes().decode().count("\n") == 1
            assert path.stat().st_size <= 100 or lone


def test_it_goes_on_where_an_earlier_run_ended_and_is_private(tmp_path: Path) -> None:
    for run in range(3):
        file = RotatingFile(tmp_path / "logs" / "p.log", bytes_max=1000, keep=1)
        file.write(f"run {run}\n")
        file.close()
    path = tmp_path / "logs" / "p.log"
    assert path.read_text() == "run 0\nrun 1\nrun 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_events_go_there_as_json(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "p.log", bytes_max=1000, keep=1)
    try:
        log.configure(file)
        structlog.get_logger().warning("gap_confirmed", feed="okx_spot")
    finally:
        log.configure()
        file.close()
    assert '"event":"gap_confirmed","feed":"okx_spot"' in (tmp_path / "p.log").read_text()


def test_a_folder_that_goes_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    file = RotatingFile(folder / "p.log", bytes_max=10, keep=1)
    try:
        log.configure(file)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        for _ in range(3):
            structlog.get_logger().warning("still_here", text="x" * 20)
    finally:
        log.configure()
        file.close()
