"""The wire → batches."""
