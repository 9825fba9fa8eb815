-- Why a conversation waits until `not_before`, unless it is for the next attempt at a message that failed: its agent's
-- endpoint is not asked (endpoint), all the turns that its agent may have are taken (slot), or no such agent is
-- configured (agent). Of no meaning once that time is over or somebody claims it.
ALTER TABLE conversations ADD COLUMN parked TEXT CHECK (parked IN ('endpoint', 'slot', 'agent'));
CREATE INDEX conversations_parked ON conversations (agent, wake_at) WHERE parked IS NOT NULL;

-- What its plugin allows a message, where that is not what its route says: `max_attempts`, `max_age_s`.
ALTER TABLE messages ADD COLUMN budget TEXT;

-- The breakers, one row for each endpoint that ever failed. `core/src/breaker.rs` says what moves them.
CREATE TABLE endpoints (
    endpoint    TEXT NOT NULL PRIMARY KEY,
    state       TEXT NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    -- Since it last answered.
    failures    INTEGER NOT NULL,
    -- Since it was last closed: each time for longer.
    openings    INTEGER NOT NULL,
    opened_at   INTEGER,
    open_until  INTEGER NOT NULL,
    -- Half open: the worker that has the one turn which is let through, and until when it must give a sign.
    probe       TEXT,
    probe_until INTEGER NOT NULL,
    -- Why it last failed.
    class       TEXT,
    reason      TEXT
) STRICT, WITHOUT ROWID;

-- The worker processes, by their own signs of life.
CREATE TABLE workers (
    id          TEXT NOT NULL PRIMARY KEY,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    version     TEXT NOT NULL,
    slots       INTEGER NOT NULL,
    in_use      INTEGER NOT NULL,
    draining    INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    -- Without another sign it counts as dead from then on.
    alive_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The turns under way of agents and endpoints that may have so many at a time.
CREATE TABLE turn_slots (
    conversation_id BLOB NOT NULL PRIMARY KEY,
    agent           TEXT NOT NULL,
    endpoint        TEXT,
    worker          TEXT NOT NULL,
    -- Longer than the conversation's lease, so that whoever takes over from a dead worker finds the slot taken for it.
    until           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
