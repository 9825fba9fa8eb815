-- The codes by which somebody shows that two accounts are theirs, as hashes: a code is told once, and used once.
CREATE TABLE link_codes (
    hash       BLOB NOT NULL PRIMARY KEY,
    profile_id BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX link_codes_profile ON link_codes (profile_id);

-- The wrong codes that somebody wrote since then.
CREATE TABLE link_tries (
    profile_id BLOB NOT NULL PRIMARY KEY,
    since      INTEGER NOT NULL,
    wrong      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The scope keys of people who became one with another: what was said in such a conversation is that person's.
CREATE TABLE past_users (
    scope_key TEXT NOT NULL PRIMARY KEY,
    user_id   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX past_users_user ON past_users (user_id);

-- The same with another way: some act in a chat.
CREATE TABLE acts (
    id         BLOB NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    ended_at   INTEGER,
    actor      TEXT NOT NULL,
    via        TEXT NOT NULL CHECK (via IN ('cli', 'mcp', 'http', 'chat')),
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
INSERT INTO acts SELECT * FROM audit_log;
DROP TABLE audit_log;
ALTER TABLE acts RENAME TO audit_log;
