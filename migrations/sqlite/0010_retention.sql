-- Messages that were removed before their time was over in which a platform may report an event again. `key` is made of
-- the instance and the event's id, and tells neither.
CREATE TABLE past_messages (
    key        BLOB NOT NULL PRIMARY KEY,
    message_id BLOB NOT NULL,
    until      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX past_messages_until ON past_messages (until);

-- That somebody had a person's data deleted. Nothing here tells whose, unless one has the id that the user had.
CREATE TABLE forgotten (
    id                  BLOB NOT NULL PRIMARY KEY,
    -- Made of the user's id.
    person              BLOB NOT NULL UNIQUE,
    actor               TEXT NOT NULL,
    reason              TEXT,
    begun_at            INTEGER NOT NULL,
    -- Null while there may be something left to delete.
    done_at             INTEGER,
    -- How many rows of each kind.
    counts              TEXT NOT NULL DEFAULT '{}',
    -- What the agents still have: their names, and their own ids of the conversations.
    agent_conversations TEXT NOT NULL DEFAULT '[]'
) STRICT, WITHOUT ROWID;

-- A plan's items are found by their message when that is to go.
CREATE INDEX replay_items_message ON replay_items (message_id);
