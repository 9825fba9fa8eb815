-- Times are microseconds since the epoch, always by the database's clock. Ids are UUID v7 as 16 bytes, except a
-- conversation's (v5 of its key).

-- One person, over all platforms. When they were last active is the latest of their profiles.
CREATE TABLE users (
    id                  BLOB NOT NULL PRIMARY KEY,
    display_name        TEXT,
    is_active           INTEGER NOT NULL DEFAULT 1,
    agent_preferences   TEXT NOT NULL DEFAULT '{}',
    custom_instructions TEXT,
    letta_identity_id   TEXT,
    letta_block_id      TEXT,
    created_at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One account of a person on one platform.
CREATE TABLE profiles (
    id               BLOB NOT NULL PRIMARY KEY,
    user_id          BLOB NOT NULL REFERENCES users (id),
    platform         TEXT NOT NULL CHECK (platform <> ''),
    platform_user_id TEXT NOT NULL CHECK (platform_user_id <> ''),
    username         TEXT,
    display_name     TEXT,
    metadata         TEXT NOT NULL DEFAULT '{}',
    created_at       INTEGER NOT NULL,
    last_active      INTEGER NOT NULL,
    UNIQUE (platform, platform_user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX profiles_user ON profiles (user_id);

-- The queue of one conversation and who holds it. `tail` is the place of the last accepted message, `head` that of
-- the last finished one; places may have gaps.
CREATE TABLE conversations (
    id                 BLOB NOT NULL PRIMARY KEY,
    agent              TEXT NOT NULL CHECK (agent <> ''),
    scope_key          TEXT NOT NULL CHECK (scope_key <> ''),
    tail               INTEGER NOT NULL,
    head               INTEGER NOT NULL DEFAULT 0,
    owner              TEXT,
    epoch              INTEGER NOT NULL DEFAULT 0,
    lease_until        INTEGER NOT NULL DEFAULT 0,
    -- Parked until then.
    not_before         INTEGER NOT NULL DEFAULT 0,
    -- When the sweep wakes it, unless it moves before.
    wake_at            INTEGER NOT NULL,
    agent_conversation TEXT,
    created_at         INTEGER NOT NULL,
    CHECK (head <= tail)
) STRICT, WITHOUT ROWID;
CREATE INDEX conversations_wake ON conversations (wake_at) WHERE head < tail;

CREATE TABLE messages (
    id              BLOB NOT NULL PRIMARY KEY,
    instance        TEXT NOT NULL,
    event_id        TEXT NOT NULL CHECK (event_id <> ''),
    platform        TEXT NOT NULL,
    conversation_id BLOB NOT NULL REFERENCES conversations (id),
    seq             INTEGER NOT NULL,
    profile_id      BLOB NOT NULL REFERENCES profiles (id),
    route           TEXT NOT NULL,
    chat_id         TEXT,
    is_group        INTEGER NOT NULL,
    text            TEXT NOT NULL,
    attributes      TEXT NOT NULL,
    trace           TEXT,
    state           TEXT NOT NULL CHECK (state IN
                    ('received', 'processing', 'completed', 'stored', 'suppressed', 'failed', 'cancelled', 'held')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    class           TEXT,
    reason          TEXT,
    received_at     INTEGER NOT NULL,
    finished_at     INTEGER,
    UNIQUE (instance, event_id),
    UNIQUE (conversation_id, seq)
) STRICT;
-- A person's history, newest first.
CREATE INDEX messages_profile ON messages (profile_id, received_at);

-- One attempt to have an agent answer. The id is the idempotency key at the agent.
CREATE TABLE turns (
    id                 BLOB NOT NULL PRIMARY KEY,
    conversation_id    BLOB NOT NULL REFERENCES conversations (id),
    message_id         BLOB NOT NULL REFERENCES messages (id),
    attempt            INTEGER NOT NULL,
    -- Of the lease and the worker that last worked on it.
    epoch              INTEGER NOT NULL,
    worker             TEXT NOT NULL,
    state              TEXT NOT NULL CHECK (state IN
                       ('started', 'answered', 'retry', 'dead', 'unknown', 'cancelled')),
    run                TEXT,
    run_seq            INTEGER NOT NULL DEFAULT 0,
    agent_conversation TEXT,
    -- The worker gave it up in good order; its successor's resumption is no new attempt.
    handed_over        INTEGER NOT NULL DEFAULT 0,
    class              TEXT,
    reason             TEXT,
    usage              TEXT,
    started_at         INTEGER NOT NULL,
    finished_at        INTEGER,
    UNIQUE (message_id, attempt)
) STRICT;
CREATE UNIQUE INDEX turns_one_open ON turns (message_id) WHERE state = 'started';

CREATE TABLE responses (
    -- The order of delivery within a lane.
    ord             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              BLOB NOT NULL UNIQUE,
    message_id      BLOB NOT NULL REFERENCES messages (id),
    turn_id         BLOB UNIQUE,
    conversation_id BLOB NOT NULL,
    profile_id      BLOB NOT NULL,
    instance        TEXT NOT NULL,
    -- Instance and chat (or profile): answers of one lane are delivered in their order.
    lane            TEXT NOT NULL,
    text            TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN
                    ('pending', 'delivering', 'delivered', 'retry', 'dead', 'unknown', 'suppressed')),
    open            INTEGER NOT NULL DEFAULT 1,
    attempts        INTEGER NOT NULL DEFAULT 0,
    host            TEXT,
    lease_until     INTEGER NOT NULL DEFAULT 0,
    not_before      INTEGER NOT NULL DEFAULT 0,
    receipt         TEXT,
    class           TEXT,
    reason          TEXT,
    created_at      INTEGER NOT NULL,
    -- Of the current attempt.
    started_at      INTEGER,
    finished_at     INTEGER,
    CHECK (open = (state IN ('pending', 'delivering', 'retry')))
) STRICT;
CREATE INDEX responses_message ON responses (message_id);
CREATE INDEX responses_lane ON responses (lane, ord) WHERE open;

-- One row per ended delivery attempt.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY,
    response_id BLOB NOT NULL REFERENCES responses (id),
    attempt     INTEGER NOT NULL,
    host        TEXT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('delivered', 'retry', 'dead', 'unknown', 'handed_back')),
    class       TEXT,
    reason      TEXT,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL
) STRICT;
CREATE INDEX deliveries_response ON deliveries (response_id);

-- A publish that is still owed to the broker; deleted once the broker confirmed it.
CREATE TABLE outbox (
    id              BLOB NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL CHECK (kind IN ('wake', 'response', 'dead_letter')),
    instance        TEXT NOT NULL,
    message_id      BLOB NOT NULL,
    conversation_id BLOB NOT NULL,
    response_id     BLOB,
    detail          TEXT,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
