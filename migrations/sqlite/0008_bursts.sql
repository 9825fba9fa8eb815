-- Several messages said to the agent in one turn. The turn's own `message_id` is the first of them; an ordinary turn,
-- of one message, has no rows here.
CREATE TABLE turn_messages (
    turn_id    BLOB NOT NULL REFERENCES turns (id) ON DELETE CASCADE,
    message_id BLOB NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- Its place in the turn, from 1.
    ord        INTEGER NOT NULL,
    -- The number of the attempt at this message.
    attempt    INTEGER NOT NULL,
    PRIMARY KEY (turn_id, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX turn_messages_message ON turn_messages (message_id);

ALTER TABLE turns ADD COLUMN messages INTEGER NOT NULL DEFAULT 1;

-- What waits up to this place becomes one turn, whatever its route says.
ALTER TABLE conversations ADD COLUMN join_until INTEGER NOT NULL DEFAULT 0;
-- When it equals `not_before`: parked so that more messages can come, and any wake may look whether enough have.
ALTER TABLE conversations ADD COLUMN window_until INTEGER NOT NULL DEFAULT 0;

-- A mention or a question, as its plugin says: a burst ends with it.
ALTER TABLE messages ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
-- The agent has its text by a turn that was stopped.
ALTER TABLE messages ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;
-- How often its turn was stopped for a later message.
ALTER TABLE messages ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
-- Somebody asked to have its turn stopped: the turn's end has to say so.
ALTER TABLE messages ADD COLUMN stopping INTEGER NOT NULL DEFAULT 0;

-- Turns that somebody wants stopped, for whoever runs them. A row goes in the transaction that ends the turn.
CREATE TABLE stops (
    message_id      BLOB NOT NULL PRIMARY KEY,
    conversation_id BLOB NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('cancel', 'interrupt')),
    reason          TEXT NOT NULL,
    asked_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
