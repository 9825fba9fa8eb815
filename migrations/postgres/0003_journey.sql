-- What happened and is told by no other row: append-only, never updated. `core/src/journal.rs` has the kinds, and which
-- of them are rows of other tables.
CREATE TABLE events (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              bigint NOT NULL,
    kind            text NOT NULL,
    message_id      uuid,
    -- Set when it concerns every message of the conversation: its lease, its pauses.
    conversation_id uuid,
    response_id     uuid,
    -- The worker, the plugin process or the person whose doing it was.
    actor           text,
    epoch           bigint,
    detail          jsonb
);
-- An event of a message alone, which is most of them, costs one entry in these two.
CREATE INDEX events_message ON events (message_id, id) WHERE message_id IS NOT NULL;
CREATE INDEX events_conversation ON events (conversation_id, at) WHERE conversation_id IS NOT NULL;

-- When the next attempt was due after this one.
ALTER TABLE deliveries ADD COLUMN not_before bigint;
