-- What counts against a budget counts from the last replay. The attempts themselves rise for ever: they are history.
ALTER TABLE messages ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN replayed_at INTEGER;
-- The place it was accepted at, once a replay gave it another.
ALTER TABLE messages ADD COLUMN first_seq INTEGER;

ALTER TABLE responses ADD COLUMN replays INTEGER NOT NULL DEFAULT 0;
ALTER TABLE responses ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE responses ADD COLUMN replayed_at INTEGER;

-- Dead letters, and what is between two attempts. What never failed has no class, and these indexes cost it nothing.
CREATE INDEX messages_failing ON messages (received_at) WHERE class IS NOT NULL;
CREATE INDEX responses_failing ON responses (created_at) WHERE class IS NOT NULL;

-- A dead letter that somebody has dealt with. `subject_id` is the message's (stage turn) or the answer's (stage
-- delivery), `round` how often that had been replayed when it failed: should it fail again, that is another letter.
CREATE TABLE letters_closed (
    subject_id BLOB NOT NULL,
    round      INTEGER NOT NULL,
    stage      TEXT NOT NULL CHECK (stage IN ('turn', 'delivery')),
    message_id BLOB NOT NULL,
    how        TEXT NOT NULL CHECK (how IN ('resolved', 'replayed')),
    actor      TEXT NOT NULL,
    note       TEXT,
    closed_at  INTEGER NOT NULL,
    -- Its copy in the dead-letter stream is gone.
    purged_at  INTEGER,
    PRIMARY KEY (subject_id, round)
) STRICT, WITHOUT ROWID;
CREATE INDEX letters_closed_copies ON letters_closed (closed_at) WHERE purged_at IS NULL;

-- Exactly what an operator saw and may now replay.
CREATE TABLE replay_plans (
    id         BLOB NOT NULL PRIMARY KEY,
    actor      TEXT NOT NULL,
    -- What was asked for.
    asked      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE replay_items (
    plan_id     BLOB NOT NULL REFERENCES replay_plans (id),
    -- The order in which they are replayed.
    n           INTEGER NOT NULL,
    message_id  BLOB NOT NULL,
    response_id BLOB,
    stage       TEXT NOT NULL CHECK (stage IN ('turn', 'delivery')),
    -- How often it had been replayed when the plan was made.
    round       INTEGER NOT NULL,
    -- What the message is to say from now on.
    text        TEXT,
    outcome     TEXT CHECK (outcome IN ('replayed', 'skipped')),
    reason      TEXT,
    applied_at  INTEGER,
    PRIMARY KEY (plan_id, n)
) STRICT, WITHOUT ROWID;

-- Every replay that was made, with what it overwrote.
CREATE TABLE replays (
    message_id  BLOB NOT NULL,
    -- Set by a replay of stage delivery.
    response_id BLOB,
    stage       TEXT NOT NULL CHECK (stage IN ('turn', 'delivery')),
    plan_id     BLOB NOT NULL,
    actor       TEXT NOT NULL,
    was_state   TEXT NOT NULL,
    class       TEXT,
    reason      TEXT,
    -- The place in the conversation before, and the attempts until then.
    was_seq     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    -- What the message said before it was edited.
    was_text    TEXT,
    replayed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX replays_message ON replays (message_id);
