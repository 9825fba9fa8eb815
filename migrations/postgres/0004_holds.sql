-- What an operator (or Broca itself) keeps back for a while. A hold is open until `settled_at`: once it has ended, by
-- hand or by its time, what it took out of the queues goes back first, and only then is it over.
CREATE TABLE holds (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL CHECK (kind IN ('conversation', 'agent', 'user', 'instance', 'route')),
    -- The 32 hexadecimal digits of a conversation or of a user; the name of an agent, an instance or a route.
    subject     text NOT NULL CHECK (subject <> ''),
    reason      text NOT NULL,
    actor       text NOT NULL,
    created_at  bigint NOT NULL,
    expires_at  bigint,
    released_at bigint,
    released_by text,
    settled_at  bigint
);
CREATE UNIQUE INDEX holds_open ON holds (kind, subject) WHERE settled_at IS NULL;
CREATE INDEX holds_subject ON holds (kind, subject, created_at);

-- The hold that took a message out of its queue; set exactly while its state is `held`.
ALTER TABLE messages ADD COLUMN held_by uuid;
CREATE INDEX messages_held ON messages (held_by, conversation_id) WHERE held_by IS NOT NULL;
