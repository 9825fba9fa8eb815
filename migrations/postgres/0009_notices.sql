-- An answer, or what a person is told instead of one: that their message failed, or was passed over. A notice has no turn,
-- is no dead letter when it cannot be delivered, and never brings another notice.
ALTER TABLE responses ADD COLUMN kind text NOT NULL DEFAULT 'answer' CHECK (kind IN ('answer', 'notice'));

-- Messages in a row that failed by their conversation's own fault, since one was answered or its hold was released.
ALTER TABLE conversations ADD COLUMN failures bigint NOT NULL DEFAULT 0;

-- What a plan does with what waits; null is a plan of replays.
ALTER TABLE replay_plans ADD COLUMN act jsonb;

-- What was done by a plan that replays nothing.
ALTER TABLE replay_items DROP CONSTRAINT replay_items_outcome_check;
ALTER TABLE replay_items ADD CONSTRAINT replay_items_outcome_check CHECK (outcome IN ('replayed', 'done', 'skipped'));

-- The plan that paces a backlog by this hold.
ALTER TABLE holds ADD COLUMN plan_id uuid;
