-- Times are microseconds since the epoch, always by this clock. Ids are UUID v7, except a conversation's (v5 of its key).
CREATE FUNCTION broca_now() RETURNS bigint
    LANGUAGE sql VOLATILE PARALLEL SAFE
    AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- One person, over all platforms. When they were last active is the latest of their profiles.
CREATE TABLE users (
    id                  uuid PRIMARY KEY,
    display_name        text,
    is_active           boolean NOT NULL DEFAULT true,
    agent_preferences   jsonb NOT NULL DEFAULT '{}',
    custom_instructions text,
    letta_identity_id   text,
    letta_block_id      text,
    created_at          bigint NOT NULL
);

-- One account of a person on one platform.
CREATE TABLE profiles (
    id               uuid PRIMARY KEY,
    user_id          uuid NOT NULL REFERENCES users (id),
    platform         text NOT NULL CHECK (platform <> ''),
    platform_user_id text NOT NULL CHECK (platform_user_id <> ''),
    username         text,
    display_name     text,
    metadata         jsonb NOT NULL DEFAULT '{}',
    created_at       bigint NOT NULL,
    last_active      bigint NOT NULL,
    CONSTRAINT profiles_platform_user UNIQUE (platform, platform_user_id)
);
CREATE INDEX profiles_user ON profiles (user_id);

-- The queue of one conversation and who holds it. `tail` is the place of the last accepted message, `head` that of
-- the last finished one; places may have gaps. The tables below name conversations, messages and profiles without
-- foreign keys: every one of their writes already holds the conversation's row, and the checks' share locks
-- on it would queue up behind that.
CREATE TABLE conversations (
    id                 uuid PRIMARY KEY,
    agent              text NOT NULL CHECK (agent <> ''),
    scope_key          text NOT NULL CHECK (scope_key <> ''),
    tail               bigint NOT NULL,
    head               bigint NOT NULL DEFAULT 0,
    owner              text,
    epoch              bigint NOT NULL DEFAULT 0,
    lease_until        bigint NOT NULL DEFAULT 0,
    -- Parked until then.
    not_before         bigint NOT NULL DEFAULT 0,
    -- When the sweep wakes it, unless it moves before.
    wake_at            bigint NOT NULL,
    agent_conversation text,
    created_at         bigint NOT NULL,
    CONSTRAINT conversations_places CHECK (head <= tail)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX conversations_wake ON conversations (wake_at) WHERE head < tail;

CREATE TABLE messages (
    id              uuid PRIMARY KEY,
    instance        text NOT NULL,
    event_id        text NOT NULL CHECK (event_id <> ''),
    platform        text NOT NULL,
    conversation_id uuid NOT NULL,
    seq             bigint NOT NULL,
    profile_id      uuid NOT NULL,
    route           text NOT NULL,
    chat_id         text,
    is_group        boolean NOT NULL,
    text            text NOT NULL,
    attributes      jsonb NOT NULL,
    trace           text,
    state           text NOT NULL CHECK (state IN
                    ('received', 'processing', 'completed', 'stored', 'suppressed', 'failed', 'cancelled', 'held')),
    attempts        bigint NOT NULL DEFAULT 0,
    class           text,
    reason          text,
    received_at     bigint NOT NULL,
    finished_at     bigint,
    CONSTRAINT messages_event UNIQUE (instance, event_id),
    CONSTRAINT messages_place UNIQUE (conversation_id, seq)
) WITH (fillfactor = 70);
-- A person's history, newest first. No index names `state`: its changes stay on the page.
CREATE INDEX messages_profile ON messages (profile_id, received_at);

-- One attempt to have an agent answer. The id is the idempotency key at the agent.
CREATE TABLE turns (
    id                 uuid PRIMARY KEY,
    conversation_id    uuid NOT NULL,
    message_id         uuid NOT NULL,
    attempt            bigint NOT NULL,
    -- Of the lease and the worker that last worked on it.
    epoch              bigint NOT NULL,
    worker             text NOT NULL,
    state              text NOT NULL CHECK (state IN
                       ('started', 'answered', 'retry', 'dead', 'unknown', 'cancelled')),
    run                text,
    run_seq            bigint NOT NULL DEFAULT 0,
    agent_conversation text,
    -- The worker gave it up in good order; its successor's resumption is no new attempt.
    handed_over        boolean NOT NULL DEFAULT false,
    class              text,
    reason             text,
    usage              jsonb,
    started_at         bigint NOT NULL,
    finished_at        bigint,
    CONSTRAINT turns_attempt UNIQUE (message_id, attempt)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX turns_one_open ON turns (message_id) WHERE state = 'started';

-- The order of delivery within a lane.
CREATE SEQUENCE responses_ord AS bigint;

CREATE TABLE responses (
    id              uuid PRIMARY KEY,
    ord             bigint NOT NULL DEFAULT nextval('responses_ord'),
    message_id      uuid NOT NULL,
    turn_id         uuid,
    conversation_id uuid NOT NULL,
    profile_id      uuid NOT NULL,
    instance        text NOT NULL,
    -- Instance and chat (or profile): answers of one lane are delivered in their order.
    lane            text NOT NULL,
    text            text NOT NULL,
    state           text NOT NULL CHECK (state IN
                    ('pending', 'delivering', 'delivered', 'retry', 'dead', 'unknown', 'suppressed')),
    -- Said apart from `state` so that the index below does not name what changes twice per delivery.
    open            boolean NOT NULL DEFAULT true,
    attempts        bigint NOT NULL DEFAULT 0,
    host            text,
    lease_until     bigint NOT NULL DEFAULT 0,
    not_before      bigint NOT NULL DEFAULT 0,
    receipt         jsonb,
    class           text,
    reason          text,
    created_at      bigint NOT NULL,
    -- Of the current attempt.
    started_at      bigint,
    finished_at     bigint,
    CONSTRAINT responses_turn UNIQUE (turn_id),
    CONSTRAINT responses_open CHECK (open = (state IN ('pending', 'delivering', 'retry')))
) WITH (fillfactor = 70);
CREATE INDEX responses_message ON responses (message_id);
CREATE INDEX responses_lane ON responses (lane, ord) WHERE open;

-- One row per ended delivery attempt.
CREATE TABLE deliveries (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    response_id uuid NOT NULL,
    attempt     bigint NOT NULL,
    host        text NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('delivered', 'retry', 'dead', 'unknown', 'handed_back')),
    class       text,
    reason      text,
    started_at  bigint NOT NULL,
    finished_at bigint NOT NULL
);
CREATE INDEX deliveries_response ON deliveries (response_id);

-- A publish that is still owed to the broker; deleted once the broker confirmed it.
CREATE TABLE outbox (
    id              uuid PRIMARY KEY,
    kind            text NOT NULL CHECK (kind IN ('wake', 'response', 'dead_letter')),
    instance        text NOT NULL,
    message_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    response_id     uuid,
    detail          jsonb,
    created_at      bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
