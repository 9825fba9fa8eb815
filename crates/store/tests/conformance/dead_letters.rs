use std::time::Duration;

use broca_core::{Instance, MessageId};
use broca_store::{ClosedLetters, DeliveryEnd, Letter, LetterFilter, Stage};

use crate::{
    home::{Home, done, ends, failed, failure, instance, says, worker},
    on_both,
    replay::{ME, apply, fails, item, plan, stage_of, undeliverable},
};

on_both!(
    letters_are_both_stages_newest_first,
    letters_are_found_by_what_they_are,
    pages_go_on_where_the_last_one_ended,
    a_resolved_letter_is_listed_no_more,
    a_letter_that_fails_again_is_another_one,
    copies_of_closed_letters_are_purged_once,
);

async fn ids(home: &Home, filter: LetterFilter) -> Vec<MessageId> {
    home.store.letters(&filter, None, 100).await.unwrap().iter().map(|letter| letter.message_id).collect()
}

async fn open(home: &Home) -> Vec<Letter> {
    home.store.letters(&LetterFilter::default(), None, 100).await.unwrap()
}

async fn letters_are_both_stages_newest_first(home: Home) {
    let first = fails(&home, "alice", "hi").await;
    let (second, response) = undeliverable(&home, "bob", DeliveryEnd::Dead(failure())).await;
    let (third, _) = undeliverable(&home, "carol", DeliveryEnd::Unknown(failure())).await;
    home.answer("dora", "fine").await;
    // SQLite's clock has milliseconds.
    home.sql(&format!("UPDATE messages SET finished_at = finished_at - 20000 WHERE id = {}", home.id(first.0))).await;
    home.sql(&format!("UPDATE responses SET finished_at = finished_at - 10000 WHERE id = {}", home.id(response.0)))
        .await;
    let letters = open(&home).await;
    let seen: Vec<_> = letters.iter().map(|l| (l.message_id, l.stage, l.state.as_str())).collect();
    assert_eq!(
        seen,
        [(third, Stage::Delivery, "unknown"), (second, Stage::Delivery, "dead"), (first, Stage::Turn, "failed")]
    );
    let delivery = &letters[1];
    assert_eq!((delivery.response_id, delivery.answer.as_deref()), (Some(response), Some("re: hi")));
    assert_eq!((delivery.platform_user_id.as_str(), delivery.attempts, delivery.replays), ("bob", 1, 0));
    let turn = &letters[2];
    assert_eq!((turn.class.as_deref(), turn.reason.as_deref()), (Some("unavailable"), Some("nobody answered")));
    assert_eq!((turn.agent.as_str(), turn.route.as_str(), turn.seq), ("default", "default", 1));
    assert_eq!((&turn.instance, turn.text.as_str(), turn.closed.is_none()), (&instance(), "hi", true));
    let stages = home.store.stages_of(second).await.unwrap();
    assert_eq!(
        stages.iter().map(|s| (s.stage, s.state.as_str())).collect::<Vec<_>>(),
        [(Stage::Turn, "completed"), (Stage::Delivery, "dead")]
    );
    assert!(home.store.stages_of(MessageId::new()).await.unwrap().is_empty());
}

async fn letters_are_found_by_what_they_are(home: Home) {
    let alice = fails(&home, "alice", "My 100% \"odd\" question").await;
    let (bob, _) = undeliverable(&home, "bob", DeliveryEnd::Dead(failure())).await;
    let letters = open(&home).await;
    let of = |message| letters.iter().find(|l| l.message_id == message).unwrap();
    let (at, conversation) = (of(alice).failed_at.unwrap(), of(alice).conversation_id);
    home.sql(&format!("UPDATE responses SET finished_at = {} + 1000", at.micros())).await;
    let later = broca_core::Timestamp(at.micros() + 1);

    let some = |text: &str| Some(text.to_owned());
    let any = LetterFilter::default;
    let other: Instance = "other".parse().unwrap();
    let cases: [(LetterFilter, &[MessageId]); 18] = [
        (any(), &[bob, alice]),
        (LetterFilter { instance: Some(instance()), ..any() }, &[bob, alice]),
        (LetterFilter { instance: Some(other), ..any() }, &[]),
        (LetterFilter { platform: some("cli"), ..any() }, &[bob, alice]),
        (LetterFilter { platform: some("telegram"), ..any() }, &[]),
        (LetterFilter { agent: some("default"), ..any() }, &[bob, alice]),
        (LetterFilter { agent: some("none"), ..any() }, &[]),
        (LetterFilter { user: some("alice"), ..any() }, &[alice]),
        (LetterFilter { conversation: Some(conversation), ..any() }, &[alice]),
        (LetterFilter { class: some("unavailable"), ..any() }, &[bob, alice]),
        (LetterFilter { class: some("blocked"), ..any() }, &[]),
        (LetterFilter { stage: Some(Stage::Delivery), ..any() }, &[bob]),
        (LetterFilter { since: Some(later), ..any() }, &[bob]),
        (LetterFilter { until: Some(later), ..any() }, &[alice]),
        (LetterFilter { contains: some("100% \"ODD"), ..any() }, &[alice]),
        (LetterFilter { contains: some("RE: H"), ..any() }, &[bob]),
        (LetterFilter { contains: some("100_"), ..any() }, &[]),
        (LetterFilter { user: some("alice"), stage: Some(Stage::Delivery), ..any() }, &[]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(ids(&home, filter.clone()).await, wanted, "{filter:?}");
    }
}

async fn pages_go_on_where_the_last_one_ended(home: Home) {
    for n in 0..7 {
        fails(&home, "alice", &n.to_string()).await;
    }
    // As if they had failed together: the ids decide.
    home.sql("UPDATE messages SET finished_at = 5 WHERE seq > 2").await;
    let all: Vec<_> = open(&home).await.iter().map(|letter| letter.message_id).collect();
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = home.store.letters(&LetterFilter::default(), after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.cursor().to_string().parse().unwrap());
        paged.extend(page.iter().map(|letter| letter.message_id));
    }
    assert_eq!(paged, all);
    assert_eq!(paged.len(), 7);
}

async fn a_resolved_letter_is_listed_no_more(home: Home) {
    let message = fails(&home, "alice", "hi").await;
    let (other, _) = undeliverable(&home, "bob", DeliveryEnd::Unknown(failure())).await;
    for letter in open(&home).await {
        assert!(home.store.resolve_letter(&letter, ME, Some("seen to")).await.unwrap());
        assert!(!home.store.resolve_letter(&letter, "else", None).await.unwrap(), "once");
    }
    assert!(open(&home).await.is_empty());
    let only = LetterFilter { closed: ClosedLetters::Only, ..LetterFilter::default() };
    let mut closed = home.store.letters(&only, None, 10).await.unwrap();
    closed.sort_by_key(|letter| letter.message_id);
    assert_eq!(closed.iter().map(|l| l.message_id).collect::<Vec<_>>(), [message, other]);
    let end = closed[0].closed.as_ref().unwrap();
    assert_eq!((end.how.as_str(), end.actor.as_str(), end.note.as_deref()), ("resolved", ME, Some("seen to")));
    // Resolving changes nothing of what happened, and does not stand in the way of a replay.
    assert_eq!(closed[0].state, "failed");
    let plan = plan(&home.store, vec![item(&closed[0])]).await;
    assert_eq!(apply(&home.store, plan).await, [None]);
    assert_eq!(ids(&home, LetterFilter { closed: ClosedLetters::With, ..LetterFilter::default() }).await, [other]);
}

async fn a_letter_that_fails_again_is_another_one(home: Home) {
    let me = worker("w");
    let message = fails(&home, "alice", "hi").await;
    let letter = open(&home).await.remove(0);
    home.store.resolve_letter(&letter, ME, None).await.unwrap();
    let again = plan(&home.store, vec![item(&letter)]).await;
    apply(&home.store, again).await;
    assert!(open(&home).await.is_empty());
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    let letters = open(&home).await;
    assert_eq!(letters.iter().map(|l| (l.replays, l.attempts, l.seq)).collect::<Vec<_>>(), [(1, 2, 1)]);
}

async fn copies_of_closed_letters_are_purged_once(home: Home) {
    let copies = || home.store.copies_of_closed_letters(Duration::ZERO, 10);
    let message = fails(&home, "alice", "hi").await;
    let (undelivered, _) = undeliverable(&home, "bob", DeliveryEnd::Dead(failure())).await;
    assert!(copies().await.unwrap().is_empty());
    for letter in open(&home).await {
        home.store.resolve_letter(&letter, ME, None).await.unwrap();
    }
    assert!(copies().await.unwrap().is_empty(), "the copies are still owed to the broker");
    home.sql("DELETE FROM outbox").await;
    assert!(home.store.copies_of_closed_letters(Duration::from_secs(60), 10).await.unwrap().is_empty());
    let found = copies().await.unwrap();
    let mut subjects: Vec<_> = found.iter().filter_map(|copy| copy.subject.clone()).collect();
    subjects.sort();
    assert_eq!(subjects, [format!("broca.dlq.delivery.cli.{undelivered}"), format!("broca.dlq.turn.cli.{message}")]);
    for copy in found {
        home.store.copy_purged(copy).await.unwrap();
    }
    assert!(copies().await.unwrap().is_empty());
    let only = LetterFilter { closed: ClosedLetters::Only, ..LetterFilter::default() };
    assert!(ids(&home, only).await.is_empty());
    let with = LetterFilter { closed: ClosedLetters::With, ..LetterFilter::default() };
    assert_eq!(ids(&home, with).await.len(), 2, "the rows stay");

    // A message that was replayed and failed again has a newer copy under the same subject.
    let (replayed, _) = home.accept(says("carol", "hi")).await;
    for _ in 0..2 {
        let me = worker("w");
        let lease = home.hold(replayed, &me).await;
        let turn = home.start(&lease, &me).await;
        done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
        let letter = stage_of(&home, replayed, Stage::Turn).await;
        if letter.replays == 0 {
            let plan = plan(&home.store, vec![item(&letter)]).await;
            assert_eq!(apply(&home.store, plan).await, [None]);
        }
    }
    home.sql("DELETE FROM outbox").await;
    let found = copies().await.unwrap();
    assert_eq!(found.iter().map(|copy| (copy.message, &copy.subject)).collect::<Vec<_>>(), [(replayed, &None)]);
}
