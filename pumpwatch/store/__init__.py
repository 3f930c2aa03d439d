"""Batches → disk → QuestDB → answers."""
