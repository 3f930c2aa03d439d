"""Trade ids in 8 or 16 bytes; C only."""
