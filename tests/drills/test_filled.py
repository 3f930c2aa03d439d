"""A volume that is filled for a drill, while others write to it."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from pumpwatch.drills.disk import BALLAST, PAGE_BYTES, filled

MIB = 1024 * 1024
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free_mib", "taken_mib"), [(50, 40), (7, 7)])
def test_it_is_filled_to_its_share_or_as_far_as_others_leave_room(
    free_mib: int, taken_mib: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def allocate(fd: int, offset: int, size: int) -> None:
        nonlocal taken
        assert offset == taken
        if taken + size > free_mib * MIB:  # less than was told when it was asked
            raise OSError(errno.ENOSPC, "No space left on device")
        taken += size

    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(100 * MIB, 50 * MIB, 50 * MIB))
    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with filled(tmp_path, 0.9):
        assert (tmp_path / BALLAST).exists()
        assert taken_mib * MIB - PAGE_BYTES < taken <= taken_mib * MIB
    assert not (tmp_path / BALLAST).exists()
