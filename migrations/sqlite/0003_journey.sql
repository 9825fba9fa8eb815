-- What happened and is told by no other row: append-only, never updated. `core/src/journal.rs` has the kinds, and which
-- of them are rows of other tables.
CREATE TABLE events (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    at              INTEGER NOT NULL,
    kind            TEXT NOT NULL,
    message_id      BLOB,
    -- Set when it concerns every message of the conversation: its lease, its pauses.
    conversation_id BLOB,
    response_id     BLOB,
    -- The worker, the plugin process or the person whose doing it was.
    actor           TEXT,
    epoch           INTEGER,
    detail          TEXT
) STRICT;
CREATE INDEX events_message ON events (message_id, id) WHERE message_id IS NOT NULL;
CREATE INDEX events_conversation ON events (conversation_id, at) WHERE conversation_id IS NOT NULL;

-- When the next attempt was due after this one.
ALTER TABLE deliveries ADD COLUMN not_before INTEGER;
