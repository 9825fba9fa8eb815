//! Messages that are not let in, the limits of what one person may say, codes of strangers, and rules.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{
    EventKind, MessageId, MessageState, ResponseId, Timestamp, UserId,
    access::{Allowance, Rate, Reason, RuleKind, Suppression},
    route::Scope,
};
use broca_store::{
    Accepted, Admission, AuditLimits, Claimed, Delivery, NewMessage, NewRule, OwedKind, PairingState, PairingTerms,
    PersonChange, RuleSource, Stage,
};
use futures::future::join_all;
use serde_json::json;

use crate::{
    home::{Home, instance, says, wish, worker},
    on_both,
    replay::{apply, item, plan, stage_of},
};

on_both!(
    what_is_suppressed_takes_no_place_in_the_queue,
    a_batch_of_both_kinds_keeps_both_orders,
    a_suppressed_message_comes_back_at_the_tail,
    no_text_is_kept_where_none_is_to_be,
    limits_are_kept_exactly_by_two_processes,
    a_message_that_comes_twice_counts_once,
    a_stranger_gets_one_code_at_a_time,
    codes_are_limited,
    a_code_is_approved_once_and_can_be_revoked,
    rules_replace_each_other_and_raise_the_version,
    people_are_deactivated_and_come_back,
    instructions_go_along_with_what_waits,
);

fn keep_out(reason: Reason, message: NewMessage) -> NewMessage {
    let admission = Admission::Suppressed { suppression: Suppression::of(reason), keep_text: true };
    NewMessage { admission, ..message }
}

fn within(per_minute: u32, burst: u32, daily_cap: Option<u32>, message: NewMessage) -> NewMessage {
    let allowance = Allowance { rate: Some(Rate { per_minute, burst }), daily_cap };
    NewMessage { admission: Admission::Within { allowance, keep_text: true }, ..message }
}

fn stranger(person: &str, terms: PairingTerms) -> NewMessage {
    let suppression = Suppression::of(Reason::NotPaired);
    let admission = Admission::AskPairing { suppression, keep_text: true, terms };
    NewMessage { admission, ..says(person, "let me in") }
}

async fn suppressed(home: &Home, message: NewMessage) -> (MessageId, Reason) {
    match home.store.ingest(message).await.unwrap() {
        Accepted::Suppressed { message, suppression, .. } => (message, suppression.reason),
        other => panic!("{other:?}"),
    }
}

async fn is_sound(home: &Home) {
    let limits = AuditLimits { overdue: Duration::from_secs(60), max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
}

async fn what_is_suppressed_takes_no_place_in_the_queue(home: Home) {
    let message = keep_out(Reason::Ignored, says("alice", "psst"));
    let (id, reason) = suppressed(&home, message.clone()).await;
    assert_eq!((id, reason), (message.id, Reason::Ignored));
    let record = home.store.message(id).await.unwrap().unwrap();
    assert_eq!(record.state, MessageState::Suppressed);
    assert_eq!((record.class.as_deref(), record.text.as_str()), (Some("ignored"), "psst"));
    assert_eq!(record.reason.as_deref(), Some("the sender is on the ignore list"));
    assert_eq!(record.finished_at, Some(record.received_at));
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.outbox, counts.pending_conversations), (0, 0));
    assert_eq!(home.number("SELECT tail FROM conversations").await, 0);
    assert!(matches!(home.store.claim(wish(id, &worker("w"))).await.unwrap(), Claimed::Idle));
    is_sound(&home).await;

    // The same event again is the same message; a message that is let in is the first of its queue.
    let again = NewMessage { id: MessageId::new(), ..message };
    assert!(matches!(home.store.ingest(again).await.unwrap(), Accepted::Duplicate { message } if message == id));
    let (let_in, _) = home.accept(says("alice", "hello")).await;
    assert_eq!(home.store.message(let_in).await.unwrap().unwrap().seq, 1);
    let lease = home.hold(let_in, &worker("w")).await;
    assert_eq!(lease.pending.iter().map(|pending| pending.id).collect::<Vec<_>>(), [let_in]);
    // One comes while a worker holds the conversation: the end of the turn still finds nothing left.
    suppressed(&home, keep_out(Reason::Denied, says("alice", "psst again"))).await;
    let turn = home.start(&lease, &worker("w")).await;
    let finish = crate::home::answered(&lease, turn, ResponseId::new(), "hi");
    assert!(crate::home::done(home.store.finish(finish).await.unwrap()).released);
    is_sound(&home).await;

    let journey = home.store.journey(id).await.unwrap().unwrap();
    let kinds: Vec<_> = journey.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Accepted, EventKind::Suppressed]);
    assert!(!journey.events[0].detail.contains_key("place"), "{:?}", journey.events[0]);
    assert_eq!(journey.events[1].class.as_deref(), Some("ignored"));
}

async fn a_batch_of_both_kinds_keeps_both_orders(home: Home) {
    let message = |n: usize| {
        let message = NewMessage { scope: Scope::Agent, ..says(&format!("p{}", n % 3), &format!("{n}")) };
        if n.is_multiple_of(2) { message } else { keep_out(Reason::Denied, message) }
    };
    for batch in [0..10, 10..21] {
        home.store.ingest_many(batch.map(message).collect()).await.unwrap();
    }
    let order = |state: &str| {
        format!(
            "SELECT count(*) FROM messages a JOIN messages b ON CAST(a.text AS INTEGER) < CAST(b.text AS INTEGER)
        WHERE a.state = '{state}' AND b.state = '{state}' AND a.seq >= b.seq"
        )
    };
    assert_eq!(home.number(&order("received")).await + home.number(&order("suppressed")).await, 0);
    assert_eq!(home.number("SELECT tail FROM conversations").await, 11);
    assert_eq!(home.number("SELECT max(seq) FROM messages WHERE state = 'received'").await, 11);
    assert_eq!(home.number("SELECT aside FROM conversations").await, 10);
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE state = 'suppressed' AND seq < 0").await, 10);
    assert_eq!(home.store.counts().await.unwrap().outbox, 11);
    is_sound(&home).await;
}

async fn a_suppressed_message_comes_back_at_the_tail(home: Home) {
    let (first, _) = home.accept(says("alice", "hello")).await;
    let (kept_out, _) = suppressed(&home, keep_out(Reason::NotAllowed, says("alice", "let me in"))).await;
    let items = vec![item(&stage_of(&home, kept_out, Stage::Turn).await)];
    let plan = plan(&home.store, items).await;
    assert_eq!(apply(&home.store, plan).await, [None]);
    let record = home.store.message(kept_out).await.unwrap().unwrap();
    assert_eq!((record.state, record.seq, record.class), (MessageState::Received, 2, None));
    let lease = home.hold(first, &worker("w")).await;
    assert_eq!(lease.pending.iter().map(|pending| pending.id).collect::<Vec<_>>(), [first, kept_out]);
    let journey = home.store.journey(kept_out).await.unwrap().unwrap();
    let kinds: Vec<_> = journey.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds[..3], [EventKind::Accepted, EventKind::Suppressed, EventKind::Replayed]);
    assert_eq!(journey.events[1].class.as_deref(), Some("not_allowed"), "what it was kept out for is still told");
    is_sound(&home).await;
}

async fn no_text_is_kept_where_none_is_to_be(home: Home) {
    let message = says("alice", "a secret");
    let suppression = Suppression::of(Reason::NotAllowed);
    let message = NewMessage { admission: Admission::Suppressed { suppression, keep_text: false }, ..message };
    let (id, _) = suppressed(&home, message).await;
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE text = ''").await, 1);
    // What is not there cannot be said to an agent.
    let items = vec![item(&stage_of(&home, id, Stage::Turn).await)];
    let plan = plan(&home.store, items).await;
    let skipped = apply(&home.store, plan).await;
    assert!(skipped[0].as_deref().is_some_and(|reason| reason.contains("its text was not kept")), "{skipped:?}");
    assert_eq!(home.store.message(id).await.unwrap().unwrap().state, MessageState::Suppressed);
}

async fn limits_are_kept_exactly_by_two_processes(home: Home) {
    let other = home.another().await;
    // One a minute comes back while the test runs, at the most.
    let say =
        |n: usize| within(1, 10, None, says(if n.is_multiple_of(2) { "flood" } else { "other" }, &format!("{n}")));
    let one = join_all((0..100).map(|n| home.store.ingest(say(n))));
    let two = join_all((100..200).map(|n| other.ingest(say(n))));
    let (one, two) = tokio::join!(one, two);
    let mut outcomes = BTreeMap::new();
    for accepted in one.into_iter().chain(two) {
        let outcome = match accepted.unwrap() {
            Accepted::New { .. } => "let in",
            Accepted::Suppressed { suppression, .. } => suppression.reason.as_str(),
            Accepted::Duplicate { .. } => "duplicate",
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    assert_eq!(outcomes, BTreeMap::from([("let in", 20), ("rate_limited", 180)]));
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE state = 'received'").await, 20);
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE class = 'rate_limited'").await, 180);
    is_sound(&home).await;
    // Time gives back what it gives, by the database's clock.
    home.sql("UPDATE access_counters SET at = at - 120000000").await;
    let mut let_in = 0;
    for n in 200..205 {
        let accepted = home.store.ingest(within(1, 10, None, says("flood", &format!("{n}")))).await.unwrap();
        let_in += usize::from(matches!(accepted, Accepted::New { .. }));
    }
    assert_eq!(let_in, 2);
    // A cap of the day, and the day after.
    home.sql("UPDATE access_counters SET at = at - 86400000000").await;
    let capped = |n: usize| within(1_000, 1_000, Some(15), says("flood", &format!("{n}")));
    let (_, reason) = {
        for n in 300..303 {
            home.accept(capped(n)).await;
        }
        suppressed(&home, capped(303)).await
    };
    assert_eq!(reason, Reason::DailyCap);
    home.sql("UPDATE access_counters SET day = day - 1").await;
    home.accept(capped(304)).await;
}

async fn a_message_that_comes_twice_counts_once(home: Home) {
    let other = home.another().await;
    let messages: Vec<_> = (0..40).map(|n| within(1, 20, None, says("alice", &format!("{n}")))).collect();
    let again = |message: &NewMessage| NewMessage { id: MessageId::new(), ..message.clone() };
    let one = join_all(messages.iter().map(|message| home.store.ingest(again(message))));
    let two = join_all(messages.iter().rev().map(|message| other.ingest(again(message))));
    tokio::join!(one, two);
    assert_eq!(home.number("SELECT count(*) FROM messages").await, 40);
    assert_eq!(home.number("SELECT count(*) FROM messages WHERE state = 'received'").await, 20);
    assert_eq!(home.number("SELECT count FROM access_counters").await, 20);
}

async fn a_stranger_gets_one_code_at_a_time(home: Home) {
    let asked = home.store.ingest(stranger("eve", PairingTerms::default())).await.unwrap();
    let Accepted::Suppressed { message, suppression, notice: Some(notice) } = asked else { panic!("{asked:?}") };
    assert_eq!(suppression.reason, Reason::NotPaired);
    let open = home.store.open_pairings().await.unwrap();
    assert_eq!((open.len(), open[0].message_id, open[0].state), (1, message, PairingState::Open));
    assert!(notice.text.contains(&open[0].code), "{}", notice.text);
    let OwedKind::Response(response) = notice.what else { panic!("{notice:?}") };
    // The notice is an answer like any other: owed to the broker, and delivered once.
    let due = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|owed| (owed.id, owed.text.as_str())).collect::<Vec<_>>(),
        [(notice.id, notice.text.as_str())]
    );
    let host = worker("out-cli");
    let dispatch = home.go(response, &host).await;
    assert_eq!((dispatch.message, dispatch.response.text.as_str()), (message, notice.text.as_str()));
    assert!(matches!(home.begin(response, &host).await, Delivery::Settle(_) | Delivery::Wait { .. }));
    is_sound(&home).await;

    let again = home.store.ingest(stranger("eve", PairingTerms::default())).await.unwrap();
    assert!(matches!(again, Accepted::Suppressed { notice: None, .. }), "{again:?}");
    let elsewhere = NewMessage { instance: "other".parse().unwrap(), ..stranger("eve", PairingTerms::default()) };
    let elsewhere = home.store.ingest(elsewhere).await.unwrap();
    assert!(matches!(elsewhere, Accepted::Suppressed { notice: Some(_), .. }), "{elsewhere:?}");
    // A code that is too old is followed by another one.
    home.sql("UPDATE pairings SET expires_at = 1").await;
    let later = home.store.ingest(stranger("eve", PairingTerms::default())).await.unwrap();
    assert!(matches!(later, Accepted::Suppressed { notice: Some(_), .. }), "{later:?}");
}

async fn codes_are_limited(home: Home) {
    let terms = PairingTerms { max_open: 5, per_day: 2, ..PairingTerms::default() };
    for n in 0..20 {
        suppressed(&home, stranger(&format!("p{n}"), terms)).await;
    }
    assert_eq!(home.store.open_pairings().await.unwrap().len(), 5);
    assert_eq!(home.number("SELECT count(*) FROM responses").await, 5);
    for _ in 0..5 {
        home.sql("UPDATE pairings SET expires_at = 1").await;
        suppressed(&home, stranger("p0", terms)).await;
    }
    assert_eq!(home.number("SELECT count(*) FROM pairings WHERE platform_user_id = 'p0'").await, 2);
}

async fn a_code_is_approved_once_and_can_be_revoked(home: Home) {
    suppressed(&home, stranger("eve", PairingTerms::default())).await;
    let code = home.store.open_pairings().await.unwrap().remove(0).code;
    assert_eq!(home.store.approve_pairing("NOSUCHCD", "op").await.unwrap(), None);
    home.sql("UPDATE pairings SET expires_at = expires_at - 7200000000").await;
    let (was, _) = home.store.approve_pairing(&code, "op").await.unwrap().unwrap();
    assert_eq!(was, PairingState::Expired);
    assert!(home.store.access_rules().await.unwrap().is_empty());
    home.sql("UPDATE pairings SET expires_at = expires_at + 7200000000").await;
    let other = home.another().await;
    let (one, two) = tokio::join!(home.store.approve_pairing(&code, "op"), other.approve_pairing(&code, "op2"));
    let mut was = [one, two].map(|answer| answer.unwrap().unwrap().0);
    was.sort_by_key(|state| *state == PairingState::Approved);
    assert_eq!(was, [PairingState::Open, PairingState::Approved]);
    let rules = home.store.access_rules().await.unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!((rules[0].kind, rules[0].who.to_string().as_str()), (RuleKind::Allow, "cli/eve"));
    assert_eq!((rules[0].instance.clone(), rules[0].source.as_str()), (Some(instance()), "pairing"));
    let (was, after) = home.store.revoke_pairing(&code, "op").await.unwrap().unwrap();
    assert_eq!((was, after.state), (PairingState::Approved, PairingState::Revoked));
    assert!(home.store.access_rules().await.unwrap().is_empty());
    let (was, _) = home.store.approve_pairing(&code, "op").await.unwrap().unwrap();
    assert_eq!(was, PairingState::Revoked);
}

fn rule(kind: RuleKind, who: &str) -> NewRule {
    NewRule {
        kind,
        who: who.parse().unwrap(),
        instance: None,
        reason: Some("a test".to_owned()),
        source: RuleSource::Operator,
        actor: "op".to_owned(),
        life: None,
    }
}

async fn rules_replace_each_other_and_raise_the_version(home: Home) {
    let state = home.store.access_state(0).await.unwrap();
    assert!(state.changed.unwrap().rules.is_empty());
    let version = state.version;
    assert!(home.store.access_state(version).await.unwrap().changed.is_none());
    let own = NewRule { instance: Some(instance()), ..rule(RuleKind::Allow, "cli/7") };
    let short = NewRule { life: Some(Duration::from_secs(3_600)), ..rule(RuleKind::Ignore, "@Bob") };
    home.store.put_access_rules(vec![rule(RuleKind::Deny, "cli/7"), own, short]).await.unwrap();
    let state = home.store.access_state(version).await.unwrap();
    assert!(state.version > version);
    let kinds: Vec<_> = state.changed.unwrap().rules.iter().map(|(rule, until)| (rule.kind, until.is_some())).collect();
    assert_eq!(kinds, [(RuleKind::Deny, false), (RuleKind::Allow, false), (RuleKind::Ignore, true)]);

    // Two who change their minds at once leave one opinion.
    let other = home.another().await;
    let (one, two) = tokio::join!(
        home.store.put_access_rules(vec![rule(RuleKind::Allow, "cli/7")]),
        other.put_access_rules(vec![rule(RuleKind::Admin, "cli/7")])
    );
    one.and(two).unwrap();
    let of_7 = home.store.access_rules().await.unwrap().into_iter().filter(|rule| rule.who.to_string() == "cli/7");
    assert_eq!(of_7.count(), 2, "one in general, one of the instance");
    let over = home.store.all_access_rules(None, None, 100).await.unwrap().into_iter().filter(|rule| !rule.in_force);
    assert!(over.clone().count() == 2 && over.clone().all(|rule| rule.removed_by.as_deref() == Some("op")));

    home.sql("UPDATE access_rules SET expires_at = 5, created_at = 1 WHERE expires_at IS NOT NULL").await;
    assert!(home.store.access_rules().await.unwrap().iter().all(|rule| rule.kind != RuleKind::Ignore));
    // A rule that has ended by itself makes room, and says when it ended.
    home.store.put_access_rules(vec![rule(RuleKind::Ignore, "@bob")]).await.unwrap();
    let all = home.store.all_access_rules(None, None, 100).await.unwrap();
    assert!(all.iter().any(|rule| rule.removed_at == Some(Timestamp(5))), "{all:?}");

    let remove = |who: &str, kind| home.store.remove_access_rules(None, Some(who.parse().unwrap()), kind, "op");
    assert_eq!(remove("cli/7", Some(RuleKind::Ignore)).await.unwrap(), 0);
    assert_eq!(remove("cli/7", None).await.unwrap(), 2);
    let left = home.store.access_rules().await.unwrap().remove(0);
    assert_eq!(home.store.remove_access_rules(Some(left.id), None, None, "op").await.unwrap(), 1);
    assert!(home.store.access_rules().await.unwrap().is_empty());
}

async fn people_are_deactivated_and_come_back(home: Home) {
    assert_eq!(home.store.set_active(UserId::new(), false, None, "op").await.unwrap(), None);
    let (message, _) = home.accept(says("alice", "hi")).await;
    let user = home.store.message(message).await.unwrap().unwrap().user_id;
    let version = home.store.access_state(0).await.unwrap().version;
    let done = home.store.set_active(user, false, Some("left"), "op").await.unwrap().unwrap();
    assert_eq!((done.is_active, done.changed, done.reason.as_deref()), (false, true, Some("left")));
    let again = home.store.set_active(user, false, Some("again"), "op").await.unwrap().unwrap();
    assert_eq!((again.changed, again.reason.as_deref()), (false, Some("left")));
    let state = home.store.access_state(version).await.unwrap();
    assert_eq!(state.changed.unwrap().inactive, [("cli".to_owned(), "alice".to_owned())]);
    let back = home.store.set_active(user, true, None, "op").await.unwrap().unwrap();
    assert_eq!((back.is_active, back.reason), (true, None));
    assert!(home.store.access_state(state.version).await.unwrap().changed.unwrap().inactive.is_empty());
}

async fn instructions_go_along_with_what_waits(home: Home) {
    let set = |user, instructions: Option<&str>, preferences| PersonChange {
        user,
        instructions: Some(instructions.map(str::to_owned)),
        preferences,
    };
    assert_eq!(home.store.set_person(set(UserId::new(), Some("x"), None)).await.unwrap(), None);
    let (message, _) = home.accept(says("alice", "hi")).await;
    let user = home.store.message(message).await.unwrap().unwrap().user_id;
    let preferences = json!({"language": "fr"});
    let now = home.store.set_person(set(user, Some("be brief"), Some(preferences.clone()))).await.unwrap().unwrap();
    assert_eq!((now.custom_instructions.as_deref(), &now.agent_preferences), (Some("be brief"), &preferences));
    home.accept(says("alice", "again")).await;
    let lease = home.hold(message, &worker("w")).await;
    let told: Vec<_> = lease.pending.iter().map(|pending| pending.instructions.as_deref()).collect();
    assert_eq!(told, [Some("be brief"); 2]);
    let now = home.store.set_person(set(user, None, None)).await.unwrap().unwrap();
    assert_eq!((now.custom_instructions, now.agent_preferences), (None, preferences));
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert!(pending.iter().all(|pending| pending.instructions.is_none()));
}
