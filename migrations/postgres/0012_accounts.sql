-- Platform accounts: which process talks to each of them. An account is its owner's until `lease_until`, and then
-- whoever's asks first. `place` names the owner's process among those of one machine, so that its death is seen there.
CREATE TABLE accounts (
    platform    text NOT NULL,
    account     text NOT NULL,
    instance    text NOT NULL,
    owner       text NOT NULL,
    place       text,
    epoch       bigint NOT NULL,
    lease_until bigint NOT NULL,
    PRIMARY KEY (platform, account)
);
