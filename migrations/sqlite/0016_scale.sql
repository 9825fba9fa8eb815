-- When it became a dead letter, of what is one; nothing else pays for the index on it. What was not let in has a class, too,
-- and is in neither.
ALTER TABLE messages ADD COLUMN failed_at INTEGER
    GENERATED ALWAYS AS (CASE WHEN state = 'failed' THEN finished_at END) VIRTUAL;
ALTER TABLE responses ADD COLUMN failed_at INTEGER
    GENERATED ALWAYS AS (CASE WHEN kind = 'answer' AND state IN ('dead', 'unknown') THEN finished_at END) VIRTUAL;
DROP INDEX messages_failing;
DROP INDEX responses_failing;
CREATE INDEX messages_failed ON messages (failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX responses_failed ON responses (failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX letters_closed_message ON letters_closed (message_id);

-- When an open hold ends, or ended: a backlog's pace is a hold for each conversation.
CREATE INDEX holds_ends ON holds (COALESCE(released_at, expires_at, 9223372036854775807)) WHERE settled_at IS NULL;
CREATE INDEX holds_open_ids ON holds (id) WHERE settled_at IS NULL;
CREATE INDEX dead_targets_since ON dead_targets (since, lane);
-- Somebody by their id on whichever platform.
CREATE INDEX profiles_platform_user_id ON profiles (platform_user_id);
