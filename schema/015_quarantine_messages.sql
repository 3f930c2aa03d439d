-- A row stands for all messages of its kind and minute, raw is the first of them; before: for one.
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS messages LONG;
