-- What operators did, whichever way they came: written before anything is done, and told how it ended afterwards.
-- A row that stayed 'begun' is one whose process died in the middle.
CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,
    at         bigint NOT NULL,
    ended_at   bigint,
    actor      text NOT NULL,
    via        text NOT NULL CHECK (via IN ('cli', 'mcp', 'http')),
    operation  text NOT NULL,
    -- Without texts and secrets, like everything below.
    request    jsonb NOT NULL,
    reason     text,
    outcome    text NOT NULL CHECK (outcome IN ('begun', 'done', 'failed', 'refused')),
    error      text,
    before     jsonb,
    after      jsonb,
    -- The ids of what it was about, each with a blank before and behind it.
    subjects   text NOT NULL
);

-- What a caller of the HTTP and MCP servers shows. The token itself is told once and kept by nobody.
CREATE TABLE api_tokens (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    hash         bytea NOT NULL,
    access       text NOT NULL CHECK (access IN ('read', 'operate', 'admin')),
    contents     boolean NOT NULL,
    created_at   bigint NOT NULL,
    created_by   text NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    revoked_by   text,
    last_used_at bigint
);
CREATE UNIQUE INDEX api_tokens_hash ON api_tokens (hash);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL;

-- What a caller was shown and may now do, once.
CREATE TABLE confirmations (
    hash       bytea PRIMARY KEY,
    actor      text NOT NULL,
    operation  text NOT NULL,
    request    bytea NOT NULL,
    ceiling    bigint NOT NULL,
    expires_at bigint NOT NULL
);
