-- Several messages said to the agent in one turn. The turn's own `message_id` is the first of them; an ordinary turn,
-- of one message, has no rows here.
CREATE TABLE turn_messages (
    turn_id    uuid NOT NULL,
    message_id uuid NOT NULL,
    -- Its place in the turn, from 1.
    ord        bigint NOT NULL,
    -- The number of the attempt at this message.
    attempt    bigint NOT NULL,
    PRIMARY KEY (turn_id, message_id)
);
CREATE INDEX turn_messages_message ON turn_messages (message_id);

ALTER TABLE turns ADD COLUMN messages bigint NOT NULL DEFAULT 1;

ALTER TABLE conversations
    -- What waits up to this place becomes one turn, whatever its route says.
    ADD COLUMN join_until   bigint NOT NULL DEFAULT 0,
    -- When it equals `not_before`: parked so that more messages can come, and any wake may look whether enough have.
    ADD COLUMN window_until bigint NOT NULL DEFAULT 0;

ALTER TABLE messages
    -- A mention or a question, as its plugin says: a burst ends with it.
    ADD COLUMN urgent      boolean NOT NULL DEFAULT false,
    -- The agent has its text by a turn that was stopped.
    ADD COLUMN heard       boolean NOT NULL DEFAULT false,
    -- How often its turn was stopped for a later message.
    ADD COLUMN interrupted bigint NOT NULL DEFAULT 0,
    -- Somebody asked to have its turn stopped: the turn's end has to say so.
    ADD COLUMN stopping    boolean NOT NULL DEFAULT false;

-- Turns that somebody wants stopped, for whoever runs them. A row goes in the transaction that ends the turn.
CREATE TABLE stops (
    message_id      uuid PRIMARY KEY,
    conversation_id uuid NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('cancel', 'interrupt')),
    reason          text NOT NULL,
    asked_at        bigint NOT NULL
);
