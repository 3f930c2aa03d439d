"""From the original's JSON store: import, comparison, and the staged move of reads."""
