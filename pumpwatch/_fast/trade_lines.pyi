"""Reads trades' lines again; C only."""
