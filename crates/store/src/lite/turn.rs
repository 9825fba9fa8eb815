//! Attempts at an agent: started, resumed, known by the agent's run.

use serde_json::json;
use sqlx::SqliteConnection;

use super::{batch, hex, now, now_micros, write};
use crate::{
    Fenced, ResumeTurn, StartTurn, StoreError,
    decode::count,
    holding::{if_any_hold, kept_back},
    operation::{Each, in_order, index},
    queue::first_pending,
    turns::{RunSeen, not_open, not_started},
};

pub(crate) const LOOK_START: &str = concat!(
    "-- start turn: look
SELECT j.key + 1 AS n, m.state, CASE WHEN m.id = ",
    first_pending!("c.id", "c.head"),
    " AND NOT ",
    if_any_hold!(
        kept_back!(lite, "m", "(SELECT p.user_id FROM profiles p WHERE p.id = m.profile_id)", "c.agent", now!()),
        "FALSE"
    ),
    " THEN m.attempts END AS attempts,
       t.attempt AS again, c.agent_conversation
FROM json_each($1) j
JOIN conversations c
    ON c.id = unhex(j.value ->> 'conversation') AND c.epoch = j.value ->> 'epoch' AND c.owner IS NOT NULL
LEFT JOIN messages m ON m.id = unhex(j.value ->> 'message') AND m.conversation_id = c.id
LEFT JOIN turns t
    ON t.id = unhex(j.value ->> 'turn') AND t.message_id = m.id AND t.epoch = c.epoch AND t.state = 'started'"
);

pub(crate) const COUNT: &str = "-- count attempts
UPDATE messages SET state = 'processing', attempts = j.value ->> 'attempts'
FROM json_each($1) j WHERE messages.id = unhex(j.value ->> 'message')";

pub(crate) const START: &str = "-- start turn
INSERT INTO turns (id, conversation_id, message_id, attempt, epoch, worker, state, agent_conversation, started_at)
SELECT unhex(value ->> 'turn'), unhex(value ->> 'conversation'), unhex(value ->> 'message'), value ->> 'attempts',
       value ->> 'epoch', value ->> 'worker', 'started', value ->> 'agent_conversation', value ->> 'now'
FROM json_each($1)";

#[derive(sqlx::FromRow)]
struct Look {
    n: i64,
    state: Option<String>,
    attempts: Option<i64>,
    again: Option<i64>,
    agent_conversation: Option<String>,
}

pub(crate) async fn start(
    conn: &mut SqliteConnection,
    items: &[StartTurn],
) -> Result<Vec<Each<Fenced<u32>>>, StoreError> {
    let now = now_micros(conn).await?;
    let wishes = batch(items, |i| {
        json!({"turn": hex(i.turn.0), "conversation": hex(i.conversation.0), "epoch": i.epoch,
               "message": hex(i.message.0)})
    });
    let looks: Vec<Look> = sqlx::query_as(LOOK_START).bind(wishes).fetch_all(&mut *conn).await?;
    let mut rows = Vec::new();
    let mut answers = Vec::new();
    for look in looks {
        let Some(item) = index(look.n).and_then(|n| items.get(n)) else { continue };
        // A turn that is already there under the same epoch was written by a call whose answer got lost.
        let attempts = look.again.or(look.attempts.map(|attempts| attempts + 1));
        if look.again.is_none() && look.attempts.is_some() {
            rows.push(json!({
                "turn": hex(item.turn.0), "conversation": hex(item.conversation.0), "message": hex(item.message.0),
                "attempts": attempts, "epoch": item.epoch, "worker": item.worker.as_str(),
                "agent_conversation": look.agent_conversation, "now": now,
            }));
        }
        let refusal = || not_started(item.message, look.state.as_deref());
        answers.push((look.n, done(attempts, refusal)));
    }
    write(conn, COUNT, rows.clone()).await?;
    write(conn, START, rows).await?;
    Ok(in_order(items.len(), answers, || Ok(Fenced::LeaseLost)))
}

fn done(attempts: Option<i64>, refusal: impl FnOnce() -> StoreError) -> Each<Fenced<u32>> {
    attempts.ok_or_else(refusal).and_then(|attempts| Ok(Fenced::Done(count(attempts)?)))
}

pub(crate) const LOOK_RESUME: &str = "-- resume turn: look
SELECT j.key + 1, lower(hex(m.id)), m.attempts + NOT t.handed_over, m.id = t.message_id
FROM json_each($1) j
JOIN conversations c
    ON c.id = unhex(j.value ->> 'conversation') AND c.epoch = j.value ->> 'epoch' AND c.owner IS NOT NULL
LEFT JOIN turns t ON t.id = unhex(j.value ->> 'turn') AND t.conversation_id = c.id AND t.state = 'started'
LEFT JOIN turn_messages s ON s.turn_id = t.id
LEFT JOIN messages m ON m.id = COALESCE(s.message_id, t.message_id) AND m.state = 'processing'";

/// The item, and one of its turn's messages: its id, its attempts with this one, and whether it is the first.
type Resumed = (i64, Option<String>, Option<i64>, Option<bool>);

/// Before the next one overwrites it.
pub(crate) const RESUMED: &str = "-- resume turn: journal
INSERT INTO events (at, kind, message_id, actor, epoch, detail)
SELECT j.value ->> 'now', 'turn_resumed', COALESCE(s.message_id, t.message_id), j.value ->> 'worker', j.value ->> 'epoch',
       json_object('turn', j.value ->> 'name', 'from', t.worker, 'from_epoch', t.epoch,
                   'handed_over', json(iif(t.handed_over, 'true', 'false')))
FROM json_each($1) j CROSS JOIN turns t ON t.id = unhex(j.value ->> 'turn')
LEFT JOIN turn_messages s ON s.turn_id = t.id";

pub(crate) const RESUME: &str = "-- resume turn
UPDATE turns SET epoch = j.value ->> 'epoch', worker = j.value ->> 'worker', handed_over = 0
FROM json_each($1) j WHERE turns.id = unhex(j.value ->> 'turn')";

pub(crate) async fn resume(
    conn: &mut SqliteConnection,
    items: &[ResumeTurn],
) -> Result<Vec<Each<Fenced<u32>>>, StoreError> {
    let now = now_micros(conn).await?;
    let wishes =
        batch(items, |i| json!({"turn": hex(i.turn.0), "conversation": hex(i.conversation.0), "epoch": i.epoch}));
    let looks: Vec<Resumed> = sqlx::query_as(LOOK_RESUME).bind(wishes).fetch_all(&mut *conn).await?;
    let mut rows = Vec::new();
    let mut turns = Vec::new();
    for (n, message, attempts, first) in &looks {
        let Some(item) = index(*n).and_then(|n| items.get(n)) else { continue };
        if attempts.is_some() {
            rows.push(json!({"message": message, "attempts": attempts}));
        }
        if attempts.is_some() && *first == Some(true) {
            turns.push(json!({"turn": hex(item.turn.0), "name": item.turn, "epoch": item.epoch,
                              "worker": item.worker.as_str(), "now": now}));
        }
    }
    write(conn, COUNT, rows).await?;
    write(conn, RESUMED, turns.clone()).await?;
    write(conn, RESUME, turns).await?;
    let firsts = looks.into_iter().filter(|(.., first)| *first != Some(false));
    let answers = firsts.map(|(n, _, attempts, _)| (n, done(attempts, || not_open("the turn to resume"))));
    Ok(in_order(items.len(), answers, || Ok(Fenced::LeaseLost)))
}

pub(crate) const LOOK_RUN: &str = "-- record run: look
SELECT j.key + 1, CASE WHEN t.state = 'started' THEN 1 END
FROM json_each($1) j
JOIN turns t ON t.id = unhex(j.value ->> 'turn')
JOIN conversations c ON c.id = t.conversation_id AND c.epoch = j.value ->> 'epoch' AND c.owner IS NOT NULL";

/// Before the next one makes it old news.
pub(crate) const RUN_KNOWN: &str = "-- record run: journal
INSERT INTO events (at, kind, message_id, actor, epoch, detail)
SELECT j.value ->> 'now', 'run_known', COALESCE(s.message_id, t.message_id), c.owner, j.value ->> 'epoch',
       json_object('turn', j.value ->> 'name', 'run', j.value ->> 'run')
FROM json_each($1) j
CROSS JOIN turns t ON t.id = unhex(j.value ->> 'turn') AND t.run IS NOT j.value ->> 'run'
CROSS JOIN conversations c ON c.id = t.conversation_id
LEFT JOIN turn_messages s ON s.turn_id = t.id";

pub(crate) const RUN: &str = "-- record run
UPDATE turns SET run = j.value ->> 'run' FROM json_each($1) j WHERE turns.id = unhex(j.value ->> 'turn')";

pub(crate) async fn record_run(
    conn: &mut SqliteConnection,
    items: &[RunSeen],
) -> Result<Vec<Each<Fenced<u32>>>, StoreError> {
    let now = now_micros(conn).await?;
    let row = |i: &RunSeen| json!({"turn": hex(i.turn.0), "name": i.turn, "epoch": i.epoch, "run": i.run, "now": now});
    let looks: Vec<(i64, Option<i64>)> = sqlx::query_as(LOOK_RUN).bind(batch(items, row)).fetch_all(&mut *conn).await?;
    let open = looks.iter().filter(|(_, open)| open.is_some());
    let rows = open.filter_map(|(n, _)| index(*n).and_then(|n| items.get(n))).map(row).collect::<Vec<_>>();
    write(conn, RUN_KNOWN, rows.clone()).await?;
    write(conn, RUN, rows).await?;
    let answers = looks.into_iter().map(|(n, open)| (n, done(open, || not_open("the turn of a run"))));
    Ok(in_order(items.len(), answers, || Ok(Fenced::LeaseLost)))
}
