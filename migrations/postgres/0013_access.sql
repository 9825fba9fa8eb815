-- Messages that were accepted and not let in: they stand at places of their own, before all others, where no queue looks.
ALTER TABLE conversations ADD COLUMN aside bigint NOT NULL DEFAULT 0;

-- Who may talk, as operators say while everything runs. A rule that was taken back stays, with who did it. `who` is the
-- platform's id of somebody (telegram/7, or 7 on any platform) or a user name (telegram/@alice).
CREATE TABLE access_rules (
    id         uuid PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('allow', 'deny', 'ignore', 'admin')),
    who        text NOT NULL CHECK (who <> ''),
    -- NULL is every instance.
    instance   text,
    reason     text,
    source     text NOT NULL CHECK (source IN ('operator', 'import', 'pairing')),
    actor      text NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    removed_at bigint,
    removed_by text
);
CREATE UNIQUE INDEX access_rules_open ON access_rules (who, (COALESCE(instance, ''))) WHERE removed_at IS NULL;

-- Raised by whatever changes the rules or who is active, so that a process knows when its copy is old.
CREATE TABLE access_version (
    one     bigint PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL
);
INSERT INTO access_version (one, version) VALUES (1, 1);

-- What somebody said lately through an instance that has a limit.
CREATE TABLE access_counters (
    instance         text NOT NULL,
    platform_user_id text NOT NULL,
    -- Millionths of a message that may still be said at `at`; -1 of somebody new.
    tokens           bigint NOT NULL,
    at               bigint NOT NULL,
    -- Days since the epoch, and the messages let in on that day.
    day              bigint NOT NULL,
    count            bigint NOT NULL,
    PRIMARY KEY (instance, platform_user_id)
) WITH (fillfactor = 70);

-- The codes that strangers were given.
CREATE TABLE pairings (
    id               uuid PRIMARY KEY,
    code             text NOT NULL UNIQUE,
    instance         text NOT NULL,
    platform         text NOT NULL,
    platform_user_id text NOT NULL,
    username         text,
    -- The message that it was asked for with.
    message_id       uuid NOT NULL,
    created_at       bigint NOT NULL,
    expires_at       bigint NOT NULL,
    approved_at      bigint,
    approved_by      text,
    revoked_at       bigint,
    revoked_by       text
);
CREATE INDEX pairings_person ON pairings (instance, platform_user_id, created_at);
CREATE INDEX pairings_open ON pairings (instance, expires_at) WHERE approved_at IS NULL AND revoked_at IS NULL;

-- Who deactivated a person, when and why.
ALTER TABLE users ADD COLUMN inactive_at bigint;
ALTER TABLE users ADD COLUMN inactive_by text;
ALTER TABLE users ADD COLUMN inactive_reason text;
CREATE INDEX users_inactive ON users (id) WHERE NOT is_active;

-- A person's custom instructions once more, where a worker reads them with the rest of a profile (`users.custom_instructions`).
ALTER TABLE profiles ADD COLUMN instructions text;
