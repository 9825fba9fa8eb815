//! What people and operators look at, from the first page to one far behind.

use std::time::Duration;

use broca_core::{ConversationId, MessageId, PlanId, Timestamp, UserId};
use broca_store::{
    ActFilter, AuditLimits, BacklogFilter, ClosedLetters, ConversationFilter, ExportFilter, HoldSubject, LetterFilter,
    RetentionPolicy, Store, TargetFilter, UserFilter,
};

use super::database::Database;

pub(super) const STATEMENTS: &[&str] = &[
    "dead letters",
    "copies of closed letters",
    "audit log",
    "users",
    "conversations of a user",
    "people",
    "stages of a message",
    "messages between",
    "export: page",
    "holds",
    "holds: open",
    "hold: open one",
    "dead targets",
    "access: list",
    "access: all rules",
    "pairings: open",
    "pairings",
    "plan: next item",
    "backlog",
    "retention: walk",
    "retention: verdict",
    "retention: events",
    "retention: old acts",
    "retention: old codes",
    "audit unanswered",
    "audit hold-lost",
];

const PAGE: u32 = 51;
const DAY: Duration = Duration::from_secs(86_400);
pub(super) const LIMITS: AuditLimits = AuditLimits { overdue: DAY, max_age: Some(DAY) };

pub(super) async fn everything(store: &Store, database: &Database) {
    letters(store).await;
    acts(store).await;
    people(store, database).await;
    messages(store, database).await;
    records(store).await;
    what_waits(store).await;
    what_goes(store).await;
    store.audit_recent(&LIMITS, DAY / 12).await.unwrap();
}

async fn letters(store: &Store) {
    let filter = LetterFilter::default();
    let mut after = None;
    for _ in 0..2 {
        let page = store.letters(&filter, after, PAGE).await.unwrap();
        assert_eq!(page.len(), PAGE as usize);
        after = page.last().map(broca_store::Letter::cursor);
    }
    let since = store.now().await.unwrap().micros() - 20 * 86_400_000_000;
    let until = Some(Timestamp(since + 3_600_000_000));
    let filter = LetterFilter { since: Some(Timestamp(since)), until, closed: ClosedLetters::With, ..filter };
    store.letters(&filter, None, PAGE).await.unwrap();
    store.copies_of_closed_letters(Duration::ZERO, PAGE).await.unwrap();
}

async fn acts(store: &Store) {
    let page = store.acts(&ActFilter::default(), None, PAGE).await.unwrap();
    let before = page.last().map(|act| act.id);
    store.acts(&ActFilter::default(), before, PAGE).await.unwrap();
    // Nobody of that name: it is looked for among those of the hour alone.
    let now = store.now().await.unwrap().micros();
    let since = Some(Timestamp(now - 20 * 86_400_000_000));
    let until = since.map(|at| Timestamp(at.micros() + 3_600_000_000));
    let filter = ActFilter { actor: Some("nobody".to_owned()), since, until, ..ActFilter::default() };
    assert!(store.acts(&filter, None, PAGE).await.unwrap().is_empty());
}

async fn people(store: &Store, database: &Database) {
    let page = store.users(&UserFilter::default(), None, PAGE).await.unwrap();
    store.users(&UserFilter::default(), page.last().map(|user| user.id), PAGE).await.unwrap();
    let user = UserId(database.id("SELECT user_id FROM profiles WHERE platform_user_id = '7'").await);
    store.user(user).await.unwrap();
    store.messages_of_user(user).await.unwrap();
    store.conversations_of_user(user).await.unwrap();
    let filter = ConversationFilter::default();
    let page = store.conversations(&filter, None, PAGE).await.unwrap();
    store.conversations(&filter, page.next, PAGE).await.unwrap();
    store.conversations(&ConversationFilter { user: Some(user), ..filter }, None, PAGE).await.unwrap();
    store.people(None, "7").await.unwrap();
    store.people(Some("telegram"), "7").await.unwrap();
    store.forget_look(user).await.unwrap();
    store.access_state(0).await.unwrap();
}

async fn messages(store: &Store, database: &Database) {
    let message = MessageId(database.id("SELECT id FROM messages WHERE state = 'failed' LIMIT 1").await);
    store.message(message).await.unwrap();
    store.standing(message).await.unwrap();
    store.stages_of(message).await.unwrap();
    let last = MessageId(uuid::Uuid::max());
    store.messages_between(message, last, 10).await.unwrap();
    let conversation = Some(ConversationId(database.id("SELECT conversation_id FROM messages LIMIT 1").await));
    let mut after = None;
    for filter in [ExportFilter::default(), ExportFilter { conversation, ..ExportFilter::default() }] {
        after = store.export_page(&filter, after, PAGE).await.unwrap().next;
    }
}

async fn records(store: &Store) {
    let after = store.open_holds(None, PAGE).await.unwrap().last().map(|hold| hold.id);
    store.open_holds(after, PAGE).await.unwrap();
    let after = store.holds(None, PAGE).await.unwrap().last().map(|hold| hold.id);
    store.holds(after, PAGE).await.unwrap();
    store.open_hold(&HoldSubject::Agent("main".to_owned())).await.unwrap();
    let targets = store.dead_targets(&TargetFilter::default(), None, PAGE).await.unwrap();
    let after = targets.last().map(broca_store::DeadTarget::cursor);
    store.dead_targets(&TargetFilter::default(), after.as_ref(), PAGE).await.unwrap();
    let after = store.some_access_rules(None, None, PAGE).await.unwrap().last().map(|rule| rule.id);
    store.some_access_rules(None, after, PAGE).await.unwrap();
    let after = store.all_access_rules(None, None, PAGE).await.unwrap().last().map(|rule| rule.id);
    store.all_access_rules(None, after, PAGE).await.unwrap();
    store.open_pairings().await.unwrap();
    store.pairings(PAGE).await.unwrap();
    store.live_changes("mode", PAGE).await.unwrap();
    store.plan(PlanId(uuid::Uuid::nil())).await.unwrap();
    store.replay_next("00000000-0000-7000-8000-000000000001".parse().unwrap(), "somebody").await.unwrap();
}

async fn what_waits(store: &Store) {
    let filter = BacklogFilter::default();
    store.backlog(&filter).await.unwrap();
    store.waiting_conversations(&filter, PAGE).await.unwrap();
    store.waiting_messages(&filter, PAGE).await.unwrap();
    store.pace().await.unwrap();
    store.counts().await.unwrap();
    store.kept().await.unwrap();
    store.turns_under_way().await.unwrap();
    store.workers_in_turn().await.unwrap();
}

async fn what_goes(store: &Store) {
    let policy = RetentionPolicy {
        messages: Some(30 * DAY),
        dead_letters: Some(30 * DAY),
        open_dead_letters: None,
        max_messages: Some(20_000),
        events: Some(7 * DAY),
        records: Some(30 * DAY),
        audit: Some(30 * DAY),
        dedupe: 7 * DAY,
    };
    let cuts = store.retention_cuts(&policy).await.unwrap();
    let chosen = store.retention_choose(&cuts, None, 200).await.unwrap();
    store.retention_remove(&cuts, &chosen.going).await.unwrap();
    let step = store.retention_events(&cuts, 0, 200).await.unwrap();
    store.retention_remove_events(&step.going).await.unwrap();
    store.retention_records(&cuts).await.unwrap();
    store.retention_remove_records(&cuts).await.unwrap();
}
