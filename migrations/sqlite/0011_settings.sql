-- Who changed which of the live settings. The broker's bucket has the values in force; this is the record of the changes.
CREATE TABLE settings_changes (
    id       BLOB NOT NULL PRIMARY KEY,
    -- As in the bucket: plugin.<instance>, mode.
    key      TEXT NOT NULL,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    -- What was changed from what to what: [{"key", "old", "new"}]. Never a secret.
    changes  TEXT NOT NULL,
    -- Proposed before the bucket is written: one that stays so was cut off, and the bucket tells whether it came that far.
    outcome  TEXT NOT NULL CHECK (outcome IN ('proposed', 'written', 'refused')),
    -- The bucket's, once written.
    revision INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX settings_changes_by_key ON settings_changes (key, at);

-- Which of the live settings each process has in force.
CREATE TABLE settings_applied (
    key      TEXT NOT NULL,
    process  TEXT NOT NULL,
    -- The bucket's; 0 is none.
    revision INTEGER NOT NULL,
    -- The newest that it knows, whether it is in force or not.
    newest   INTEGER NOT NULL,
    -- Why a newer revision is not in force.
    problem  TEXT,
    -- The process gave a sign then.
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (key, process)
) STRICT, WITHOUT ROWID;

-- The newest live settings that a process had in force: what it begins with when newer ones do not do.
CREATE TABLE settings_good (
    key      TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    value    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
