-- Why a conversation waits until `not_before`, unless it is for the next attempt at a message that failed: its agent's
-- endpoint is not asked (endpoint), all the turns that its agent may have are taken (slot), or no such agent is
-- configured (agent). Of no meaning once that time is over or somebody claims it.
ALTER TABLE conversations ADD COLUMN parked text CHECK (parked IN ('endpoint', 'slot', 'agent'));
-- `wake_at` has an index already, so this one costs what does not wait nothing.
CREATE INDEX conversations_parked ON conversations (agent, wake_at) WHERE parked IS NOT NULL;

-- What its plugin allows a message, where that is not what its route says: `max_attempts`, `max_age_s`.
ALTER TABLE messages ADD COLUMN budget jsonb;

-- The breakers, one row for each endpoint that ever failed. `core/src/breaker.rs` says what moves them.
CREATE TABLE endpoints (
    endpoint    text PRIMARY KEY,
    state       text NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    -- Since it last answered.
    failures    bigint NOT NULL,
    -- Since it was last closed: each time for longer.
    openings    bigint NOT NULL,
    opened_at   bigint,
    open_until  bigint NOT NULL,
    -- Half open: the worker that has the one turn which is let through, and until when it must give a sign.
    probe       text,
    probe_until bigint NOT NULL,
    -- Why it last failed.
    class       text,
    reason      text
);

-- The worker processes, by their own signs of life.
CREATE TABLE workers (
    id          text PRIMARY KEY,
    host        text NOT NULL,
    pid         bigint NOT NULL,
    version     text NOT NULL,
    slots       bigint NOT NULL,
    in_use      bigint NOT NULL,
    draining    boolean NOT NULL,
    started_at  bigint NOT NULL,
    seen_at     bigint NOT NULL,
    -- Without another sign it counts as dead from then on.
    alive_until bigint NOT NULL
);

-- The turns under way of agents and endpoints that may have so many at a time.
CREATE TABLE turn_slots (
    conversation_id uuid PRIMARY KEY,
    agent           text NOT NULL,
    endpoint        text,
    worker          text NOT NULL,
    -- Longer than the conversation's lease, so that whoever takes over from a dead worker finds the slot taken for it.
    until           bigint NOT NULL
);
