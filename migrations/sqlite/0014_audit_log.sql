-- What operators did, whichever way they came: written before anything is done, and told how it ended afterwards.
-- A row that stayed 'begun' is one whose process died in the middle.
CREATE TABLE audit_log (
    id         BLOB NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    ended_at   INTEGER,
    actor      TEXT NOT NULL,
    via        TEXT NOT NULL CHECK (via IN ('cli', 'mcp', 'http')),
    operation  TEXT NOT NULL,
    -- Without texts and secrets, like everything below.
    request    TEXT NOT NULL,
    reason     TEXT,
    outcome    TEXT NOT NULL CHECK (outcome IN ('begun', 'done', 'failed', 'refused')),
    error      TEXT,
    before     TEXT,
    after      TEXT,
    -- The ids of what it was about, each with a blank before and behind it.
    subjects   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a caller of the HTTP and MCP servers shows. The token itself is told once and kept by nobody.
CREATE TABLE api_tokens (
    id           BLOB NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL,
    access       TEXT NOT NULL CHECK (access IN ('read', 'operate', 'admin')),
    contents     INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    revoked_by   TEXT,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX api_tokens_hash ON api_tokens (hash);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL;

-- What a caller was shown and may now do, once.
CREATE TABLE confirmations (
    hash       BLOB NOT NULL PRIMARY KEY,
    actor      TEXT NOT NULL,
    operation  TEXT NOT NULL,
    request    BLOB NOT NULL,
    ceiling    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
