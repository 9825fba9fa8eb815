-- An answer, or what a person is told instead of one: that their message failed, or was passed over. A notice has no turn,
-- is no dead letter when it cannot be delivered, and never brings another notice.
ALTER TABLE responses ADD COLUMN kind TEXT NOT NULL DEFAULT 'answer' CHECK (kind IN ('answer', 'notice'));

-- Messages in a row that failed by their conversation's own fault, since one was answered or its hold was released.
ALTER TABLE conversations ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- What a plan does with what waits; null is a plan of replays.
ALTER TABLE replay_plans ADD COLUMN act TEXT;

-- The same with another outcome: what was done by a plan that replays nothing.
CREATE TABLE plan_items (
    plan_id     BLOB NOT NULL REFERENCES replay_plans (id),
    -- The order in which they are dealt with.
    n           INTEGER NOT NULL,
    message_id  BLOB NOT NULL,
    response_id BLOB,
    stage       TEXT NOT NULL CHECK (stage IN ('turn', 'delivery')),
    -- How often it had been replayed when the plan was made.
    round       INTEGER NOT NULL,
    -- What the message is to say from now on.
    text        TEXT,
    outcome     TEXT CHECK (outcome IN ('replayed', 'done', 'skipped')),
    reason      TEXT,
    applied_at  INTEGER,
    PRIMARY KEY (plan_id, n)
) STRICT, WITHOUT ROWID;
INSERT INTO plan_items SELECT * FROM replay_items;
DROP TABLE replay_items;
ALTER TABLE plan_items RENAME TO replay_items;

-- The plan that paces a backlog by this hold.
ALTER TABLE holds ADD COLUMN plan_id BLOB;
