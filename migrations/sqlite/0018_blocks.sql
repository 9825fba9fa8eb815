-- The memory block that an agent's server keeps of a person, where the agent's settings ask for one. `agent` is the
-- server's address and its own id of the agent. Without a user it is to be deleted there.
CREATE TABLE user_blocks (
    block   TEXT NOT NULL PRIMARY KEY,
    agent   TEXT NOT NULL,
    user_id BLOB,
    -- Another one of the same person took its place: it is attached no more, and goes with the person.
    retired INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX user_blocks_live ON user_blocks (user_id, agent) WHERE NOT retired;
CREATE INDEX user_blocks_owed ON user_blocks (agent) WHERE user_id IS NULL;

-- Who may have a block attached to an agent: one turn, until it is over, or whoever cleans up, until `until`.
CREATE TABLE block_leases (
    agent    TEXT NOT NULL PRIMARY KEY,
    holder   BLOB NOT NULL,
    until    INTEGER NOT NULL,
    -- What may be attached there, and the agent's conversations whose prompts may have it.
    attached TEXT NOT NULL
) STRICT, WITHOUT ROWID;
