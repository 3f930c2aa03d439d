"""Benchmarks; each prints one JSON line per case. Run as ``python -m bench.bench_daemon``."""
