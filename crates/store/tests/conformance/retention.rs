//! What is over for long enough goes, with everything that hangs on it; nothing else does.

use std::time::Duration;

use broca_core::{ActId, MessageId, ResponseId, Timestamp, TurnId, TurnState, WorkerId};
use broca_store::{
    Accepted, ActOutcome, AuditLimits, ClosedLetters, DeliveryEnd, FinishDelivery, LetterFilter, MessageEnd, NewAct,
    NewMessage, NewPlan, NewPlanItem, Removed, RetentionPolicy, Stage, Store, Via,
};

use crate::{
    bursts::{accept, end_of, ended, joint_of},
    home::{Home, done, ends, failed, failure, says, silent, worker},
    on_both,
};

on_both!(
    what_is_over_goes_with_all_that_hangs_on_it,
    what_is_not_over_stays,
    a_dead_letter_stays_until_somebody_dealt_with_it,
    an_open_plan_keeps_what_it_names,
    an_answer_that_is_open_keeps_its_message,
    a_removed_event_is_still_known,
    the_oldest_go_first,
    a_turn_of_several_goes_with_the_last_of_them,
    the_walk_ends_where_messages_are_too_young,
    old_steps_and_records_go,
    what_operators_did_and_codes_and_counters_go,
    a_walk_goes_on_behind_its_cursor,
    nothing_that_names_a_message_is_left_out,
);

const DAY: Duration = Duration::from_secs(86_400);

fn policy() -> RetentionPolicy {
    RetentionPolicy {
        messages: Some(Duration::ZERO),
        dead_letters: None,
        open_dead_letters: None,
        max_messages: None,
        events: None,
        records: None,
        audit: None,
        dedupe: Duration::ZERO,
    }
}

/// Removes all that a policy removes, a few at a time.
async fn retain(store: &Store, policy: &RetentionPolicy) -> Removed {
    let cuts = store.retention_cuts(policy).await.unwrap();
    let (mut removed, mut after) = (Removed::default(), None);
    loop {
        let chosen = store.retention_choose(&cuts, after, 2).await.unwrap();
        removed += store.retention_remove(&cuts, &chosen.going).await.unwrap();
        match chosen.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut after = 0;
    loop {
        let step = store.retention_events(&cuts, after, 3).await.unwrap();
        removed.events += store.retention_remove_events(&step.going).await.unwrap();
        match step.next {
            Some(next) => after = next,
            None => break,
        }
    }
    removed += store.retention_remove_records(&cuts).await.unwrap();
    removed
}

/// Moves everything that happened until now into the past.
async fn let_pass(home: &Home, days: i64) {
    let micros = days * 86_400_000_000;
    for (table, columns) in [
        ("messages", &["received_at", "finished_at", "replayed_at"][..]),
        ("responses", &["created_at", "started_at", "finished_at", "replayed_at"]),
        ("deliveries", &["started_at", "finished_at"]),
        ("turns", &["started_at", "finished_at"]),
        ("events", &["at"]),
        ("letters_closed", &["closed_at"]),
        ("replay_plans", &["created_at", "expires_at"]),
    ] {
        let moved: Vec<String> = columns.iter().map(|column| format!("{column} = {column} - {micros}")).collect();
        home.sql(&format!("UPDATE {table} SET {}", moved.join(", "))).await;
    }
}

async fn rows(home: &Home, table: &str) -> i64 {
    home.number(&format!("SELECT count(*) FROM {table}")).await
}

async fn deliver(home: &Home, response: ResponseId, end: DeliveryEnd) {
    let host = worker("host");
    let dispatch = home.go(response, &host).await;
    let attempt = dispatch.response.attempt;
    home.store.finish_delivery(FinishDelivery { response, host, attempt, end }).await.unwrap();
}

fn delivered() -> DeliveryEnd {
    DeliveryEnd::Delivered(broca_core::Receipt::default())
}

/// The broker has all that it was owed.
async fn publish(home: &Home) {
    for owed in home.store.outbox_due(Duration::ZERO, 100).await.unwrap() {
        home.store.outbox_done(owed.id).await.unwrap();
    }
}

async fn fail(home: &Home, person: &str, worker: &WorkerId) -> MessageId {
    let (message, _) = home.accept(says(person, "please")).await;
    let lease = home.hold(message, worker).await;
    let turn = home.start(&lease, worker).await;
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    message
}

async fn finish(home: &Home, person: &str) -> MessageId {
    finish_as(home, person, MessageId::new()).await
}

async fn finish_as(home: &Home, person: &str, id: MessageId) -> MessageId {
    let worker = worker("finishes");
    let (message, _) = home.accept(NewMessage { id, ..says(person, "hello") }).await;
    let lease = home.hold(message, &worker).await;
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    message
}

async fn sound(home: &Home) {
    let limits = AuditLimits { overdue: DAY, max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
}

async fn what_is_over_goes_with_all_that_hangs_on_it(home: Home) {
    let response = home.answer("ann", "hello").await;
    deliver(&home, response, delivered()).await;
    publish(&home).await;
    assert!(rows(&home, "events").await > 0);
    let removed = retain(&home.store, &policy()).await;
    assert_eq!((removed.messages, removed.turns, removed.responses, removed.deliveries), (1, 1, 1, 1), "{removed:?}");
    for table in ["messages", "turns", "responses", "deliveries", "events", "outbox"] {
        assert_eq!(rows(&home, table).await, 0, "{table}");
    }
    // Who writes again is the same, and goes on in the same conversation.
    assert_eq!((rows(&home, "users").await, rows(&home, "conversations").await), (1, 1));
    let again = home.answer("ann", "me again").await;
    deliver(&home, again, delivered()).await;
    assert_eq!((rows(&home, "users").await, rows(&home, "conversations").await), (1, 1));
    sound(&home).await;
}

async fn what_is_not_over_stays(home: Home) {
    let young = finish(&home, "ann").await;
    let (waits, _) = home.accept(says("ben", "hello")).await;
    let worker = worker("works");
    let (runs, _) = home.accept(says("cem", "hello")).await;
    let lease = home.hold(runs, &worker).await;
    home.start(&lease, &worker).await;
    let owed = finish(&home, "dea").await;
    for publish in home.store.outbox_due(Duration::ZERO, 100).await.unwrap() {
        if publish.message != owed {
            home.store.outbox_done(publish.id).await.unwrap();
        }
    }
    let removed = retain(&home.store, &RetentionPolicy { messages: Some(DAY), ..policy() }).await;
    assert!(removed.is_nothing(), "{removed:?}");
    let removed = retain(&home.store, &policy()).await;
    assert_eq!(removed.messages, 1, "only what has ended, and owes nothing");
    assert!(home.store.message(young).await.unwrap().is_none());
    for message in [waits, runs, owed] {
        assert!(home.store.message(message).await.unwrap().is_some());
    }
    sound(&home).await;
}

async fn a_dead_letter_stays_until_somebody_dealt_with_it(home: Home) {
    let worker = worker("works");
    let failing = fail(&home, "ann", &worker).await;
    let response = home.answer("ben", "hello").await;
    deliver(&home, response, DeliveryEnd::Dead(failure())).await;
    publish(&home).await;
    let_pass(&home, 30).await;
    assert_eq!(retain(&home.store, &policy()).await.messages, 0, "open letters are kept");
    let trims = RetentionPolicy { max_messages: Some(0), messages: None, ..policy() };
    assert_eq!(retain(&home.store, &trims).await.messages, 0, "also when there are too many");
    let filter = LetterFilter { closed: ClosedLetters::With, ..LetterFilter::default() };
    for letter in home.store.letters(&filter, None, 10).await.unwrap() {
        assert!(home.store.resolve_letter(&letter, "test", None).await.unwrap());
    }
    assert_eq!(retain(&home.store, &policy()).await.messages, 0, "closed ones have an age of their own");
    let letters = RetentionPolicy { dead_letters: Some(DAY), ..policy() };
    assert_eq!(retain(&home.store, &letters).await.messages, 0, "they were closed just now");
    let_pass(&home, 2).await;
    let removed = retain(&home.store, &letters).await;
    assert_eq!((removed.messages, removed.dead_letters, removed.closings), (2, 2, 2));

    fail(&home, "cem", &worker).await;
    publish(&home).await;
    let open = RetentionPolicy { open_dead_letters: Some(DAY), ..policy() };
    assert_eq!(retain(&home.store, &open).await.messages, 0);
    let_pass(&home, 2).await;
    assert_eq!(retain(&home.store, &open).await.messages, 1);
    assert!(home.store.message(failing).await.unwrap().is_none());
    sound(&home).await;
}

async fn an_open_plan_keeps_what_it_names(home: Home) {
    let message = finish(&home, "ann").await;
    publish(&home).await;
    let item = NewPlanItem { message, response: None, stage: Stage::Turn, replays: 0, text: Some("else".into()) };
    let asked = serde_json::Value::Null;
    let plan = NewPlan { actor: "test".into(), asked, life: DAY, act: None, items: vec![item] };
    home.store.make_plan(plan).await.unwrap();
    assert_eq!(retain(&home.store, &policy()).await.messages, 0);
    let_pass(&home, 2).await;
    let removed = retain(&home.store, &policy()).await;
    assert_eq!((removed.messages, removed.plan_items), (1, 1), "an expired one keeps nothing, least of all its text");
}

async fn an_answer_that_is_open_keeps_its_message(home: Home) {
    let waiting = home.answer("ann", "hello").await;
    publish(&home).await;
    let_pass(&home, 30).await;
    assert_eq!(retain(&home.store, &policy()).await.messages, 0);
    // The ids tell when they were made, and that was just now: an age of zero has the walk reach them.
    let week = RetentionPolicy { messages: Some(7 * DAY), open_dead_letters: Some(Duration::ZERO), ..policy() };
    deliver(&home, waiting, delivered()).await;
    assert_eq!(retain(&home.store, &week).await.messages, 0, "it was delivered just now");
    let_pass(&home, 8).await;
    assert_eq!(retain(&home.store, &week).await.messages, 1);
}

async fn a_removed_event_is_still_known(home: Home) {
    let message = says("ann", "once");
    let (first, _) = home.accept(message.clone()).await;
    let worker = worker("works");
    let lease = home.hold(first, &worker).await;
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    publish(&home).await;
    let keeps = RetentionPolicy { dedupe: DAY, ..policy() };
    assert_eq!(retain(&home.store, &keeps).await.messages, 1);
    let again = NewMessage { id: MessageId::new(), ..message };
    let Accepted::Duplicate { message } = home.store.ingest(again.clone()).await.unwrap() else {
        panic!("its platform may repeat it");
    };
    assert_eq!(message, first);
    home.sql("UPDATE past_messages SET until = 1").await;
    assert_eq!(retain(&home.store, &keeps).await.marks, 1);
    assert!(matches!(home.store.ingest(again).await.unwrap(), Accepted::New { .. }));
}

async fn the_oldest_go_first(home: Home) {
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(finish(&home, "ann").await);
        // An id tells no order within a millisecond but for one process.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    publish(&home).await;
    let trims = RetentionPolicy { messages: None, max_messages: Some(3), ..policy() };
    assert_eq!(retain(&home.store, &trims).await.messages, 2);
    for (n, message) in messages.into_iter().enumerate() {
        assert_eq!(home.store.message(message).await.unwrap().is_some(), n >= 2, "{n}");
    }
    assert!(retain(&home.store, &trims).await.is_nothing());
    assert!(home.store.oldest_message().await.unwrap().is_some());
}

/// The ids say where the walk ends, the rows' own times what goes.
async fn the_walk_ends_where_messages_are_too_young(home: Home) {
    let now = home.store.now().await.unwrap().micros();
    let days_ago = |days: i64| MessageId::floor_of(broca_core::Timestamp(now - days * 86_400_000_000));
    let (old, late) = (finish_as(&home, "ann", days_ago(20)).await, finish_as(&home, "ben", days_ago(10)).await);
    publish(&home).await;
    let_pass(&home, 8).await;
    // It was accepted long ago, and ended just now.
    home.sql(&format!("UPDATE messages SET finished_at = {now} WHERE id = {}", home.id(late.0))).await;
    let young = finish(&home, "cem").await;
    publish(&home).await;
    let week = RetentionPolicy { messages: Some(7 * DAY), ..policy() };
    let cuts = home.store.retention_cuts(&week).await.unwrap();
    assert_eq!(home.store.retention_choose(&cuts, None, 9).await.unwrap().going, [old]);
    assert_eq!(retain(&home.store, &week).await.messages, 1);
    for (message, stays) in [(old, false), (late, true), (young, true)] {
        assert_eq!(home.store.message(message).await.unwrap().is_some(), stays);
    }
}

async fn old_steps_and_records_go(home: Home) {
    let ended = finish(&home, "ann").await;
    let (open, _) = home.accept(says("ben", "hello")).await;
    let lease = home.hold(open, &worker("works")).await;
    publish(&home).await;
    home.sql("INSERT INTO events (at, kind, conversation_id) SELECT 1, 'parked', conversation_id FROM messages").await;
    let_pass(&home, 2).await;
    let steps = RetentionPolicy { messages: None, events: Some(DAY), records: Some(DAY), ..policy() };
    let removed = retain(&home.store, &steps).await;
    assert!(removed.events > 2 && removed.messages == 0, "{removed:?}");
    let of = |id: MessageId| format!("SELECT count(*) FROM events WHERE message_id = {}", home.id(id.0));
    assert_eq!(home.number(&of(ended)).await, 0);
    assert!(home.number(&of(open)).await > 0, "what is open keeps its steps");
    assert_eq!(home.number("SELECT count(*) FROM events WHERE message_id IS NULL").await, 0);
    assert!(home.store.journey(ended).await.unwrap().is_some_and(|journey| !journey.events.is_empty()));
    drop(lease);
}

async fn what_operators_did_and_codes_and_counters_go(home: Home) {
    let act = |id| NewAct {
        id,
        actor: "cli:me".to_owned(),
        via: Via::Cli,
        operation: "hold.add".to_owned(),
        request: serde_json::json!({}),
        reason: None,
        outcome: ActOutcome::Begun,
        error: None,
    };
    let old = ActId(MessageId::floor_of(Timestamp(1)).0);
    home.store.begin_act(act(old)).await.unwrap();
    home.sql("UPDATE audit_log SET at = 1").await;
    home.store.begin_act(act(ActId::new())).await.unwrap();
    for (code, expires, approved) in [("OLD", "1", "NULL"), ("USED", "1", "1"), ("OPEN", "9000000000000000", "NULL")] {
        let (id, message) = (home.id(MessageId::new().0), home.id(MessageId::new().0));
        home.sql(&format!(
            "INSERT INTO pairings (id, code, instance, platform, platform_user_id, message_id, created_at, expires_at, approved_at)
             VALUES ({id}, '{code}', 'cli', 'cli', '{code}', {message}, 1, {expires}, {approved})"
        ))
        .await;
    }
    let now = home.store.now().await.unwrap().micros();
    for (person, at) in [("silent", 1), ("chatty", now)] {
        home.sql(&format!("INSERT INTO access_counters VALUES ('cli', '{person}', 0, {at}, 0, 1)")).await;
    }
    let nothing = RetentionPolicy { messages: None, ..policy() };
    let removed = retain(&home.store, &nothing).await;
    assert_eq!((removed.acts, removed.codes, removed.counters), (0, 0, 1), "{removed:?}");
    let some = RetentionPolicy { audit: Some(DAY), records: Some(DAY), ..nothing };
    let cuts = home.store.retention_cuts(&some).await.unwrap();
    let planned = home.store.retention_records(&cuts).await.unwrap();
    let removed = retain(&home.store, &some).await;
    assert_eq!((removed.acts, removed.codes, removed.counters), (1, 1, 0), "{removed:?}");
    assert_eq!(removed, planned);
    assert_eq!((rows(&home, "audit_log").await, rows(&home, "pairings").await), (1, 2));
    assert_eq!(rows(&home, "access_counters").await, 1);
}

async fn a_walk_goes_on_behind_its_cursor(home: Home) {
    for n in 0..5 {
        finish(&home, &format!("p{n}")).await;
    }
    publish(&home).await;
    let cuts = home.store.retention_cuts(&policy()).await.unwrap();
    let first = home.store.retention_choose(&cuts, None, 3).await.unwrap();
    assert_eq!((first.going.len(), first.next), (3, first.going.last().copied()));
    let second = home.store.retention_choose(&cuts, first.next, 3).await.unwrap();
    assert_eq!((second.going.len(), second.next), (2, None));
    // Two who do it at once do it once.
    let another = home.another().await;
    let both =
        tokio::join!(home.store.retention_remove(&cuts, &first.going), another.retention_remove(&cuts, &first.going));
    assert_eq!(both.0.unwrap().messages + both.1.unwrap().messages, 3);
}

async fn a_turn_of_several_goes_with_the_last_of_them(home: Home) {
    let messages = accept(&home, "alice", 3).await;
    let lease = home.hold(messages[0], &worker("w")).await;
    let turn = TurnId::new();
    home.store.start_joint(joint_of(&lease, turn, &messages)).await.unwrap();
    let ends = messages.iter().map(|message| (*message, MessageEnd::Answered)).collect();
    ended(home.store.end_turn(end_of(&lease, turn, TurnState::Answered, ends)).await.unwrap());
    publish(&home).await;
    let_pass(&home, 1).await;
    let cuts = home.store.retention_cuts(&policy()).await.unwrap();
    for stay in (0..3).rev() {
        let going = &messages[..3 - stay];
        home.store.retention_remove(&cuts, going).await.unwrap();
        sound(&home).await;
        let left = i64::try_from(stay).unwrap();
        assert_eq!(home.number("SELECT count(*) FROM turn_messages").await, left);
        assert_eq!(home.number("SELECT count(*) FROM turns").await, left.min(1));
        for message in &messages[going.len()..] {
            let record = home.store.message(*message).await.unwrap().unwrap();
            assert_eq!(record.turns.iter().map(|turn| turn.id).collect::<Vec<_>>(), [turn]);
        }
    }
}

/// A table that names messages, answers or people, and that nobody removes with them, would keep what should be gone.
async fn nothing_that_names_a_message_is_left_out(home: Home) {
    const COLUMNS: &str = "'message_id', 'response_id', 'subject_id', 'profile_id', 'user_id', 'platform_user_id'";
    // Where each goes: with its message (`retention/hanging.rs`), or with its person (`forget/`).
    const KNOWN: [&str; 20] = [
        "access_counters",
        "deliveries",
        "dead_targets",
        "events",
        "letters_closed",
        "link_codes",
        "link_tries",
        "messages",
        "outbox",
        "pairings",
        "past_messages",
        "past_users",
        "profiles",
        "replay_items",
        "replays",
        "responses",
        "stops",
        "turn_messages",
        "turns",
        "user_blocks",
    ];
    let known: Vec<String> = KNOWN.iter().map(|table| format!("'{table}'")).collect();
    let known = known.join(", ");
    let others = if home.is_postgres() {
        format!(
            "SELECT count(DISTINCT table_name) FROM information_schema.columns
             WHERE table_schema = 'public' AND column_name IN ({COLUMNS}) AND table_name NOT IN ({known})"
        )
    } else {
        format!(
            "SELECT count(DISTINCT t.name) FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND c.name IN ({COLUMNS}) AND t.name NOT IN ({known})"
        )
    };
    assert_eq!(home.number(&others).await, 0, "say in store/src/retention or store/src/forget what becomes of it");
}
