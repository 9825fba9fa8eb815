-- The platform messages that were sent of an answer which takes several; a platform that takes it in one leaves this null.
ALTER TABLE responses ADD COLUMN parts TEXT;

-- Chats and people that their platform takes nothing for: the bot is blocked, the chat is gone. Answers to them end
-- without asking the platform, until one of them writes, an operator says so, or it is time to see again.
CREATE TABLE dead_targets (
    -- As in `responses`.
    lane       TEXT PRIMARY KEY,
    instance   TEXT NOT NULL,
    profile_id BLOB NOT NULL,
    chat_id    TEXT,
    class      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    since      INTEGER NOT NULL,
    -- When the platform was last asked: whoever wrote after that is alive.
    asked_at   INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    -- From then on, the platform is asked again.
    probe_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
