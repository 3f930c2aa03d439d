-- The last look at the board that did not show it; with detected_at the bracket of its appearance.
ALTER TABLE listing_events ADD COLUMN IF NOT EXISTS last_absent_at TIMESTAMP_NS;
