-- Fills an empty database with `fill.messages` messages of ninety days: several platforms, one very busy person, one
-- conversation of everybody, some spam, few failures, little that waits. Everything is of this one seed.
SELECT setseed(0.5);

-- A UUID v7 of a time and a number.
CREATE FUNCTION pg_temp.v7(at bigint, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(at / 1000), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid
$$;

CREATE TEMP TABLE size AS
SELECT current_setting('fill.messages')::bigint AS messages, current_setting('fill.messages')::bigint / 20 AS people,
       broca_now() AS now, 90 * 86400000000 AS span;

INSERT INTO users (id, display_name, created_at)
SELECT pg_temp.v7(now - span + k, k), 'Person ' || k, now - span + k FROM size, generate_series(1, people) AS k;

CREATE TEMP TABLE who AS
SELECT k, pg_temp.v7(now - span + k, k) AS user_id, pg_temp.v7(now - span + k, k + 1000000000) AS id,
       (ARRAY ['telegram', 'telegram', 'telegram-2', 'webchat', 'webhook'])[1 + k % 5] AS instance,
       (ARRAY ['telegram', 'telegram', 'telegram', 'webchat', 'webhook'])[1 + k % 5] AS platform
FROM size, generate_series(1, people) AS k;

INSERT INTO profiles (id, user_id, platform, platform_user_id, username, display_name, created_at, last_active)
SELECT id, user_id, platform, k::text, 'user' || k, 'Person ' || k, now - span + k, now FROM who, size;

-- What becomes of each message, by a number below 10000: see the CASE below.
CREATE TEMP TABLE plan AS
SELECT n, now - span + span / messages * n AS at, who.*,
       CASE WHEN n % 20 = 0 THEN 'agent:main' WHEN n % 100 < 8 THEN 'chat:' || instance || '/-' || k % 50
            ELSE 'profile:' || platform || '/' || k END AS scope,
       CASE WHEN n > messages - messages / 500 THEN 'open' WHEN dice < 300 THEN 'spam' WHEN dice < 340 THEN 'failed'
            WHEN dice < 350 THEN 'undelivered' WHEN dice < 450 THEN 'stored' WHEN dice < 460 THEN 'cancelled'
            WHEN dice < 462 THEN 'held' ELSE 'answered' END AS fate
FROM size CROSS JOIN LATERAL (
    SELECT n, CASE WHEN random() < 0.02 THEN 1 ELSE 1 + floor(random() * people)::bigint END AS k,
           floor(random() * 10000)::int AS dice
    FROM generate_series(1, messages) AS n
) d JOIN who USING (k);

CREATE TEMP TABLE laid AS
SELECT p.*, pg_temp.v7(at, n) AS message, md5(scope)::uuid AS conversation,
       row_number() OVER (PARTITION BY scope ORDER BY fate = 'spam' DESC, fate = 'open', n)
           - CASE WHEN fate = 'spam' THEN 1000000000000 ELSE 0 END AS seq,
       CASE WHEN scope LIKE 'chat:%' THEN '-' || k % 50 END AS chat
FROM plan p;

INSERT INTO messages (id, instance, event_id, platform, conversation_id, seq, profile_id, route, chat_id, is_group, text,
                      attributes, state, attempts, class, reason, received_at, finished_at)
SELECT message, instance, n::text, platform, conversation, seq, id, 'default', chat, chat IS NOT NULL,
       'what somebody wrote, ' || n || repeat(' and went on writing', 5), '{"reply_to": 7}',
       CASE fate WHEN 'open' THEN 'received' WHEN 'spam' THEN 'suppressed' WHEN 'undelivered' THEN 'completed'
                 WHEN 'answered' THEN 'completed' ELSE fate END,
       CASE WHEN fate IN ('open', 'spam', 'held') THEN 0 ELSE 1 END,
       CASE fate WHEN 'spam' THEN 'denied' WHEN 'failed' THEN 'refused' WHEN 'cancelled' THEN 'operator' END,
       CASE WHEN fate IN ('spam', 'failed', 'cancelled') THEN 'the reason' END,
       at, CASE WHEN fate NOT IN ('open', 'held') THEN at + 2000000 END
FROM laid ORDER BY n;

INSERT INTO conversations (id, agent, scope_key, tail, head, wake_at, created_at, agent_conversation, aside)
SELECT conversation, 'default', scope, last, CASE WHEN open > 0 THEN last - open ELSE last END, now + 3600000000, first,
       'conv-' || conversation, aside
FROM (SELECT conversation, scope, GREATEST(max(seq), 0) AS last, count(*) FILTER (WHERE fate = 'open') AS open,
             count(*) FILTER (WHERE fate = 'spam') AS aside, min(at) AS first
      FROM laid GROUP BY conversation, scope) c, size;

INSERT INTO turns (id, conversation_id, message_id, attempt, epoch, worker, state, run, agent_conversation, class, reason,
                   started_at, finished_at)
SELECT pg_temp.v7(at, n + 1), conversation, message, 1, 1, 'worker-1', CASE fate WHEN 'failed' THEN 'dead' ELSE 'answered' END,
       'run-' || n, 'conv-' || conversation, CASE fate WHEN 'failed' THEN 'refused' END,
       CASE fate WHEN 'failed' THEN 'the reason' END, at + 1000, at + 2000000
FROM laid WHERE fate IN ('answered', 'undelivered', 'failed') ORDER BY n;

INSERT INTO responses (id, message_id, turn_id, conversation_id, profile_id, instance, lane, text, state, open, attempts,
                       receipt, class, reason, created_at, started_at, finished_at)
SELECT pg_temp.v7(at + 2000000, n + 2), message, pg_temp.v7(at, n + 1), conversation, id, instance,
       instance || '/' || COALESCE(chat, id::text), 'what was answered to ' || n || repeat(' at some length', 10),
       CASE WHEN fate = 'undelivered' THEN 'dead' WHEN n > messages - messages / 250 THEN 'retry' ELSE 'delivered' END,
       fate = 'answered' AND n > messages - messages / 250, 1, '{"platform_message_ids": ["1"]}',
       CASE fate WHEN 'undelivered' THEN 'blocked' END, CASE fate WHEN 'undelivered' THEN 'the reason' END,
       at + 2000000, at + 2001000, at + 2100000
FROM laid, size WHERE fate IN ('answered', 'undelivered') ORDER BY n;

INSERT INTO deliveries (response_id, attempt, host, outcome, class, reason, started_at, finished_at)
SELECT id, 1, 'out-' || instance, CASE state WHEN 'dead' THEN 'dead' WHEN 'retry' THEN 'retry' ELSE 'delivered' END, class, reason,
       started_at, created_at + 100000
FROM responses ORDER BY created_at;

INSERT INTO events (at, kind, message_id, conversation_id, actor, epoch, detail)
SELECT at + e.after, e.kind, CASE WHEN e.of_message THEN message END, CASE WHEN NOT e.of_message THEN conversation END, e.actor,
       e.epoch, e.detail::jsonb
FROM laid CROSS JOIN (VALUES
    (1000, 'wake_published', true, NULL, NULL, NULL), (2000, 'claimed', false, 'worker-1', 1, '{"ttl": 25000000}'),
    (2000000, 'answer_published', true, NULL, NULL, NULL)) AS e (after, kind, of_message, actor, epoch, detail)
WHERE fate IN ('answered', 'undelivered', 'failed', 'stored') ORDER BY n, e.after;

INSERT INTO letters_closed (subject_id, round, stage, message_id, how, actor, closed_at)
SELECT message, 0, 'turn', message, 'resolved', 'somebody', at + 3600000000 FROM laid WHERE fate = 'failed' AND n % 2 = 0;

INSERT INTO dead_targets (lane, instance, profile_id, class, reason, since, asked_at, failures, probe_at)
SELECT instance || '/' || id, instance, id, 'blocked', 'the reason', now - k, now - k, 1, now + 3600000000
FROM who, size WHERE k % 25 = 0;

INSERT INTO holds (id, kind, subject, reason, actor, created_at, expires_at, released_at, released_by, settled_at)
SELECT pg_temp.v7(at, n), 'user', replace(user_id::text, '-', ''), 'the reason', 'somebody', at, NULL,
       CASE WHEN n < messages * 0.9 THEN at + 1 END, CASE WHEN n < messages * 0.9 THEN 'somebody' END,
       CASE WHEN n < messages * 0.9 THEN at + 2 END
FROM (SELECT DISTINCT ON (user_id) * FROM laid WHERE n % 200 = 0 ORDER BY user_id) l, size;
UPDATE messages SET held_by = (SELECT id FROM holds WHERE settled_at IS NULL LIMIT 1) WHERE state = 'held';

INSERT INTO audit_log (id, at, ended_at, actor, via, operation, request, outcome, subjects)
SELECT pg_temp.v7(at, n), at, at + 1000, 'somebody', 'cli', CASE WHEN n % 1000 = 0 THEN 'replay.apply' ELSE 'letter.resolve' END,
       '{}', 'done', ' ' || message || ' '
FROM laid WHERE n % 20 = 0 ORDER BY n;

INSERT INTO access_counters (instance, platform_user_id, tokens, at, day, count)
SELECT instance, k::text, 1000000, now - k * 1000000, 1, 1 FROM who, size;

INSERT INTO access_rules (id, kind, who, source, actor, created_at, removed_at, removed_by)
SELECT pg_temp.v7(now - k, k), 'deny', platform || '/' || k, 'operator', 'somebody', now - k, CASE WHEN k % 2 = 0 THEN now END,
       CASE WHEN k % 2 = 0 THEN 'somebody' END
FROM who, size WHERE k % 20 = 0;

INSERT INTO pairings (id, code, instance, platform, platform_user_id, message_id, created_at, expires_at)
SELECT pg_temp.v7(at, n), 'CODE-' || n, instance, platform, k::text, message, at, at + 3600000000
FROM laid WHERE fate = 'spam' AND n % 2 = 0;

INSERT INTO replay_plans (id, actor, asked, created_at, expires_at)
SELECT pg_temp.v7(at, n), 'somebody', '{}', at, at + 3600000000 FROM laid WHERE n % 2000 = 0;
INSERT INTO replay_items (plan_id, n, message_id, stage, round, outcome, applied_at)
SELECT pg_temp.v7(at, n), 1, message, 'turn', 0, 'replayed', at FROM laid WHERE n % 2000 = 0;
-- One great plan, half of it done.
INSERT INTO replay_plans (id, actor, asked, created_at, expires_at)
SELECT '00000000-0000-7000-8000-000000000001', 'somebody', '{}', now, now + 3600000000 FROM size;
INSERT INTO replay_items (plan_id, n, message_id, stage, round, outcome, applied_at)
SELECT '00000000-0000-7000-8000-000000000001', row_number() OVER (ORDER BY l.n), message, 'turn', 0,
       CASE WHEN l.n < messages / 2 THEN 'replayed' END, CASE WHEN l.n < messages / 2 THEN now END
FROM laid l, size WHERE fate = 'failed';

INSERT INTO outbox (id, kind, instance, message_id, conversation_id, created_at)
SELECT message, 'wake', instance, message, conversation, at FROM laid WHERE fate = 'open';

DROP TABLE size, who, plan, laid;
