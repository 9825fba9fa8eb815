-- The codes by which somebody shows that two accounts are theirs, as hashes: a code is told once, and used once.
CREATE TABLE link_codes (
    hash       uuid PRIMARY KEY,
    profile_id uuid NOT NULL,
    expires_at bigint NOT NULL
);
CREATE INDEX link_codes_profile ON link_codes (profile_id);

-- The wrong codes that somebody wrote since then.
CREATE TABLE link_tries (
    profile_id uuid PRIMARY KEY,
    since      bigint NOT NULL,
    wrong      bigint NOT NULL
);

-- The scope keys of people who became one with another: what was said in such a conversation is that person's.
CREATE TABLE past_users (
    scope_key text PRIMARY KEY,
    user_id   uuid NOT NULL
);
CREATE INDEX past_users_user ON past_users (user_id);

-- Some act in a chat.
ALTER TABLE audit_log DROP CONSTRAINT audit_log_via_check;
ALTER TABLE audit_log ADD CONSTRAINT audit_log_via_check CHECK (via IN ('cli', 'mcp', 'http', 'chat'));
