"""Builds one C extension for every pumpwatch/_fast/*.pyx; everything else is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

TRACE = os.environ.get("PUMPWATCH_TRACE") == "1"  # line coverage of the C code, slow
MACROS = [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")] if TRACE else []
DIRECTIVES = {
    "language_level": "3",
    "binding": True,
    "embedsignature": True,
    "wraparound": False,
    "boundscheck": TRACE,
    "initializedcheck": TRACE,
    "linetrace": TRACE,
    "cdivision": True,  # C's division: no zero check on the road, where divisors are constants
    "auto_pickle": False,
    "autotestdict": False,
}
# The cursor's pieces are small and called everywhere: gcc's own limit leaves half of them as calls.
OPTIMIZE = os.environ.get("PUMPWATCH_OPTIMIZE", "-O3")  # -O1: a build for a sanitizer, sooner done
COMPILE = [OPTIMIZE, "-fno-strict-aliasing", "-finline-limit=2000"]
FAST = Path("pumpwatch/_fast")

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"pumpwatch._fast.{source.stem}",
                [str(source)],
                extra_compile_args=COMPILE,
                define_macros=MACROS,
            )
            for source in sorted(FAST.glob("*.pyx"))
        ],
        compiler_directives=DIRECTIVES,
        build_dir="build/cython",
        nthreads=os.cpu_count() or 1,
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
