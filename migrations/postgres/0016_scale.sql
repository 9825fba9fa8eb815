-- When it became a dead letter, of what is one; nothing else pays for the index on it. What was not let in has a class, too,
-- and is in neither. (The table is written anew: some seconds for a million messages, while nothing else has it.)
ALTER TABLE messages ADD COLUMN failed_at bigint
    GENERATED ALWAYS AS (CASE WHEN state = 'failed' THEN finished_at END) STORED;
ALTER TABLE responses ADD COLUMN failed_at bigint
    GENERATED ALWAYS AS (CASE WHEN kind = 'answer' AND state IN ('dead', 'unknown') THEN finished_at END) STORED;
DROP INDEX messages_failing;
DROP INDEX responses_failing;
CREATE INDEX messages_failed ON messages (failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX responses_failed ON responses (failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX letters_closed_message ON letters_closed (message_id);

-- Attempts are found by their answer alone: one index does for both.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_pkey;
ALTER TABLE deliveries ADD PRIMARY KEY (response_id, id);
DROP INDEX deliveries_response;

-- When an open hold ends, or ended: a backlog's pace is a hold for each conversation.
CREATE INDEX holds_ends ON holds (COALESCE(released_at, expires_at, 9223372036854775807)) WHERE settled_at IS NULL;
CREATE INDEX holds_open_ids ON holds (id) WHERE settled_at IS NULL;
CREATE INDEX dead_targets_since ON dead_targets (since, lane);
-- Somebody by their id on whichever platform.
CREATE INDEX profiles_platform_user_id ON profiles (platform_user_id);
-- How many conversations have work; without it, a third of them is assumed, and joins begin at the wrong end.
CREATE STATISTICS conversations_with_work ON (head < tail) FROM conversations;
