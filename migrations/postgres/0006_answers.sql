-- The platform messages that were sent of an answer which takes several; a platform that takes it in one leaves this null.
ALTER TABLE responses ADD COLUMN parts jsonb;

-- Chats and people that their platform takes nothing for: the bot is blocked, the chat is gone. Answers to them end
-- without asking the platform, until one of them writes, an operator says so, or it is time to see again.
CREATE TABLE dead_targets (
    -- As in `responses`.
    lane       text PRIMARY KEY,
    instance   text NOT NULL,
    profile_id uuid NOT NULL,
    chat_id    text,
    class      text NOT NULL,
    reason     text NOT NULL,
    since      bigint NOT NULL,
    -- When the platform was last asked: whoever wrote after that is alive.
    asked_at   bigint NOT NULL,
    failures   bigint NOT NULL,
    -- From then on, the platform is asked again.
    probe_at   bigint NOT NULL
);
