-- What counts against a budget counts from the last replay. The attempts themselves rise for ever: they are history.
ALTER TABLE messages
    ADD COLUMN replays         bigint NOT NULL DEFAULT 0,
    ADD COLUMN attempts_before bigint NOT NULL DEFAULT 0,
    ADD COLUMN replayed_at     bigint,
    -- The place it was accepted at, once a replay gave it another.
    ADD COLUMN first_seq       bigint;

ALTER TABLE responses
    ADD COLUMN replays         bigint NOT NULL DEFAULT 0,
    ADD COLUMN attempts_before bigint NOT NULL DEFAULT 0,
    ADD COLUMN replayed_at     bigint;

-- Dead letters, and what is between two attempts. What never failed has no class, and these indexes cost it nothing:
-- neither its key nor its condition changes on the way.
CREATE INDEX messages_failing ON messages (received_at) WHERE class IS NOT NULL;
CREATE INDEX responses_failing ON responses (created_at) WHERE class IS NOT NULL;

-- A dead letter that somebody has dealt with. `subject_id` is the message's (stage turn) or the answer's (stage
-- delivery), `round` how often that had been replayed when it failed: should it fail again, that is another letter.
CREATE TABLE letters_closed (
    subject_id uuid NOT NULL,
    round      bigint NOT NULL,
    stage      text NOT NULL CHECK (stage IN ('turn', 'delivery')),
    message_id uuid NOT NULL,
    how        text NOT NULL CHECK (how IN ('resolved', 'replayed')),
    actor      text NOT NULL,
    note       text,
    closed_at  bigint NOT NULL,
    -- Its copy in the dead-letter stream is gone.
    purged_at  bigint,
    PRIMARY KEY (subject_id, round)
);
CREATE INDEX letters_closed_copies ON letters_closed (closed_at) WHERE purged_at IS NULL;

-- Exactly what an operator saw and may now replay.
CREATE TABLE replay_plans (
    id         uuid PRIMARY KEY,
    actor      text NOT NULL,
    -- What was asked for.
    asked      jsonb NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL
);

CREATE TABLE replay_items (
    plan_id     uuid NOT NULL REFERENCES replay_plans (id),
    -- The order in which they are replayed.
    n           bigint NOT NULL,
    message_id  uuid NOT NULL,
    response_id uuid,
    stage       text NOT NULL CHECK (stage IN ('turn', 'delivery')),
    -- How often it had been replayed when the plan was made.
    round       bigint NOT NULL,
    -- What the message is to say from now on.
    text        text,
    outcome     text CHECK (outcome IN ('replayed', 'skipped')),
    reason      text,
    applied_at  bigint,
    PRIMARY KEY (plan_id, n)
);

-- Every replay that was made, with what it overwrote.
CREATE TABLE replays (
    message_id  uuid NOT NULL,
    -- Set by a replay of stage delivery.
    response_id uuid,
    stage       text NOT NULL CHECK (stage IN ('turn', 'delivery')),
    plan_id     uuid NOT NULL,
    actor       text NOT NULL,
    was_state   text NOT NULL,
    class       text,
    reason      text,
    -- The place in the conversation before, and the attempts until then.
    was_seq     bigint NOT NULL,
    attempts    bigint NOT NULL,
    -- What the message said before it was edited.
    was_text    text,
    replayed_at bigint NOT NULL
);
CREATE INDEX replays_message ON replays (message_id);
