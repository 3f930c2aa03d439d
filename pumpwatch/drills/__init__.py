"""Faults on purpose: simulator, daemon and a real database, and what must hold all the same."""
