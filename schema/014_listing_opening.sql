-- When trading opens, read from the notice's text.
ALTER TABLE listing_events ADD COLUMN IF NOT EXISTS opening_at TIMESTAMP_NS;
