-- Messages that were accepted and not let in: they stand at places of their own, before all others, where no queue looks.
ALTER TABLE conversations ADD COLUMN aside INTEGER NOT NULL DEFAULT 0;

-- Who may talk, as operators say while everything runs. A rule that was taken back stays, with who did it. `who` is the
-- platform's id of somebody (telegram/7, or 7 on any platform) or a user name (telegram/@alice).
CREATE TABLE access_rules (
    id         BLOB NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('allow', 'deny', 'ignore', 'admin')),
    who        TEXT NOT NULL CHECK (who <> ''),
    -- NULL is every instance.
    instance   TEXT,
    reason     TEXT,
    source     TEXT NOT NULL CHECK (source IN ('operator', 'import', 'pairing')),
    actor      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    removed_at INTEGER,
    removed_by TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX access_rules_open ON access_rules (who, COALESCE(instance, '')) WHERE removed_at IS NULL;

-- Raised by whatever changes the rules or who is active, so that a process knows when its copy is old.
CREATE TABLE access_version (
    one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO access_version (one, version) VALUES (1, 1);

-- What somebody said lately through an instance that has a limit.
CREATE TABLE access_counters (
    instance         TEXT NOT NULL,
    platform_user_id TEXT NOT NULL,
    -- Millionths of a message that may still be said at `at`; -1 of somebody new.
    tokens           INTEGER NOT NULL,
    at               INTEGER NOT NULL,
    -- Days since the epoch, and the messages let in on that day.
    day              INTEGER NOT NULL,
    count            INTEGER NOT NULL,
    PRIMARY KEY (instance, platform_user_id)
) STRICT, WITHOUT ROWID;

-- The codes that strangers were given.
CREATE TABLE pairings (
    id               BLOB NOT NULL PRIMARY KEY,
    code             TEXT NOT NULL UNIQUE,
    instance         TEXT NOT NULL,
    platform         TEXT NOT NULL,
    platform_user_id TEXT NOT NULL,
    username         TEXT,
    -- The message that it was asked for with.
    message_id       BLOB NOT NULL,
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    approved_at      INTEGER,
    approved_by      TEXT,
    revoked_at       INTEGER,
    revoked_by       TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX pairings_person ON pairings (instance, platform_user_id, created_at);
CREATE INDEX pairings_open ON pairings (instance, expires_at) WHERE approved_at IS NULL AND revoked_at IS NULL;

-- Who deactivated a person, when and why.
ALTER TABLE users ADD COLUMN inactive_at INTEGER;
ALTER TABLE users ADD COLUMN inactive_by TEXT;
ALTER TABLE users ADD COLUMN inactive_reason TEXT;
CREATE INDEX users_inactive ON users (id) WHERE NOT is_active;

-- A person's custom instructions once more, where a worker reads them with the rest of a profile (`users.custom_instructions`).
ALTER TABLE profiles ADD COLUMN instructions TEXT;
