-- Who changed which of the live settings. The broker's bucket has the values in force; this is the record of the changes.
CREATE TABLE settings_changes (
    id       uuid PRIMARY KEY,
    -- As in the bucket: plugin.<instance>, mode.
    key      text NOT NULL,
    at       bigint NOT NULL,
    actor    text NOT NULL,
    -- What was changed from what to what: [{"key", "old", "new"}]. Never a secret.
    changes  jsonb NOT NULL,
    -- Proposed before the bucket is written: one that stays so was cut off, and the bucket tells whether it came that far.
    outcome  text NOT NULL CHECK (outcome IN ('proposed', 'written', 'refused')),
    -- The bucket's, once written.
    revision bigint
);
CREATE INDEX settings_changes_by_key ON settings_changes (key, at);

-- Which of the live settings each process has in force.
CREATE TABLE settings_applied (
    key      text NOT NULL,
    process  text NOT NULL,
    -- The bucket's; 0 is none.
    revision bigint NOT NULL,
    -- The newest that it knows, whether it is in force or not.
    newest   bigint NOT NULL,
    -- Why a newer revision is not in force.
    problem  text,
    -- The process gave a sign then.
    seen_at  bigint NOT NULL,
    PRIMARY KEY (key, process)
);

-- The newest live settings that a process had in force: what it begins with when newer ones do not do.
CREATE TABLE settings_good (
    key      text PRIMARY KEY,
    revision bigint NOT NULL,
    value    jsonb NOT NULL
);
