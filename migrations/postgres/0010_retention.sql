-- Messages that were removed before their time was over in which a platform may report an event again. `key` is made of
-- the instance and the event's id, and tells neither.
CREATE TABLE past_messages (
    key        uuid PRIMARY KEY,
    message_id uuid NOT NULL,
    until      bigint NOT NULL
);
CREATE INDEX past_messages_until ON past_messages (until);

-- That somebody had a person's data deleted. Nothing here tells whose, unless one has the id that the user had.
CREATE TABLE forgotten (
    id                  uuid PRIMARY KEY,
    -- Made of the user's id.
    person              uuid NOT NULL UNIQUE,
    actor               text NOT NULL,
    reason              text,
    begun_at            bigint NOT NULL,
    -- Null while there may be something left to delete.
    done_at             bigint,
    -- How many rows of each kind.
    counts              jsonb NOT NULL DEFAULT '{}',
    -- What the agents still have: their names, and their own ids of the conversations.
    agent_conversations jsonb NOT NULL DEFAULT '[]'
);

-- A plan's items are found by their message when that is to go.
CREATE INDEX replay_items_message ON replay_items (message_id);
