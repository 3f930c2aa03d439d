"""The C hot path."""
