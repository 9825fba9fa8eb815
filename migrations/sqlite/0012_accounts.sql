-- Platform accounts: which process talks to each of them. An account is its owner's until `lease_until`, and then
-- whoever's asks first. `place` names the owner's process among those of one machine, so that its death is seen there.
CREATE TABLE accounts (
    platform    TEXT NOT NULL,
    account     TEXT NOT NULL,
    instance    TEXT NOT NULL,
    owner       TEXT NOT NULL,
    place       TEXT,
    epoch       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    PRIMARY KEY (platform, account)
) STRICT, WITHOUT ROWID;
