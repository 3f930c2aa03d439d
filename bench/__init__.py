"""Figures of this machine: each ``python -m bench.bench_x`` prints one JSON line per case."""
