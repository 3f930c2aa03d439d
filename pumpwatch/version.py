"""The version, from the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("pumpwatch")
except PackageNotFoundError:  # a checkout that was never installed
    VERSION = "0+checkout"
