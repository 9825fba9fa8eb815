use std::{num::NonZeroU32, time::Duration};

use broca_core::{
    MessageId, MessageState, OutboxId, ResponseId, ResponseKind, ResponseState, TurnId, TurnState,
    agent::{Failure, FailureClass},
};
use broca_store::{
    AuditLimits, Claimed, DeliveryEnd, EndTurn, Fenced, Finish, FinishDelivery, Finished, HoldSubject, IfFailed, Lease,
    LetterFilter, MessageEnd, NewResponse, OwedKind, Stage, StoreError,
};

use crate::{
    bursts::{accept, end_of, ended, joint_of, sound},
    home::{Home, TTL, done, ends, failed, failure, says, silent, start_of, worker},
    on_both,
    replay::{apply, item, plan, stage_of},
    walk::Walk,
};

on_both!(
    a_notice_is_owed_with_its_dead_letter,
    a_notice_is_told_in_the_journey,
    a_notice_that_fails_is_no_dead_letter,
    a_replay_takes_a_notice_back,
    so_many_failures_in_a_row_are_a_quarantine,
    an_answer_and_a_release_count_anew,
    several_that_fail_together_are_one_failure_and_one_notice,
    what_is_on_hold_already_is_not_quarantined,
);

fn told(text: &str) -> IfFailed {
    let notice = Some(NewResponse { id: ResponseId::new(), text: text.to_owned() });
    IfFailed { notice, quarantine_after: None }
}

fn counted(after: u32) -> IfFailed {
    IfFailed { notice: None, quarantine_after: NonZeroU32::new(after) }
}

/// A message that failed, with its notice.
async fn notice(home: &Home, person: &str) -> (MessageId, ResponseId) {
    let (me, (message, _)) = (worker("w"), home.accept(says(person, "hi")).await);
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let if_failed = told("sorry");
    let notice = if_failed.notice.as_ref().unwrap().id;
    done(home.store.finish(Finish { if_failed, ..ends(&lease, Some(turn), failed()) }).await.unwrap());
    (message, notice)
}

async fn a_notice_is_owed_with_its_dead_letter(home: Home) {
    let (message, notice) = notice(&home, "alice").await;
    let record = home.store.message(message).await.unwrap().unwrap();
    let responses: Vec<_> = record.responses.iter().map(|r| (r.id, r.kind, r.state, r.text.as_str())).collect();
    assert_eq!(responses, [(notice, ResponseKind::Notice, ResponseState::Pending, "sorry")]);
    assert_eq!((record.state, record.finished_at), (MessageState::Failed, Some(record.responses[0].created_at)));
    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    let owed: Vec<_> = owed.iter().filter(|owed| owed.what != OwedKind::Wake).collect();
    assert_eq!(owed.len(), 2, "the letter and the notice: {owed:?}");
    let note = owed.iter().find(|owed| owed.id == OutboxId(notice.0)).unwrap();
    assert_eq!((&note.what, note.text.as_str(), note.message), (&OwedKind::Response(notice), "sorry", message));
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.responses.len(), counts.notices["pending"]), (0, 1), "a notice is no answer");

    // What does not fail brings none, whatever is said for that case.
    let (other, _) = home.accept(says("bob", "hi")).await;
    let (me, lease) = (worker("w"), home.hold(other, &worker("w")).await);
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(Finish { if_failed: told("sorry"), ..ends(&lease, Some(turn), silent()) }).await.unwrap());
    let record = home.store.message(other).await.unwrap().unwrap();
    assert_eq!((record.state, record.responses.len()), (MessageState::Completed, 0));
    let limits = AuditLimits { overdue: TTL, max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
}

async fn a_notice_is_told_in_the_journey(home: Home) {
    let (me, host) = (worker("w"), worker("p"));
    let mut walk = Walk::begin(&home, says("alice", "hi")).await;
    let if_failed = told("sorry");
    let notice = if_failed.notice.as_ref().unwrap().id;
    walk.turn(&me, |lease, turn| Finish { if_failed, ..ends(lease, Some(turn), failed()) }).await;
    home.store.outbox_done(OutboxId(notice.0)).await.unwrap();
    walk.step().await;
    walk.deliver(notice, &host, DeliveryEnd::Delivered(broca_core::Receipt::of("991"))).await;
    let lines = walk.lines();
    assert_eq!(
        lines[5..],
        [
            "turn_dead by w e1 #1 (unavailable)",
            "failed (unavailable)",
            "notice_owed",
            "dead_letter_published",
            "answer_published",
            "delivery_begun by p #1",
            "delivered by p #1",
        ],
        "{lines:#?}"
    );
    let of_notice = walk.told.iter().filter(|event| event.detail.contains_key("notice"));
    assert!(of_notice.clone().count() == 4 && of_notice.into_iter().all(|event| event.response_id == Some(notice)));
}

async fn a_notice_that_fails_is_no_dead_letter(home: Home) {
    let (message, notice) = notice(&home, "alice").await;
    let host = worker("p");
    let dispatch = home.go(notice, &host).await;
    assert_eq!(dispatch.response.kind, ResponseKind::Notice);
    let end = DeliveryEnd::Dead(Failure::new(FailureClass::Rejected, "no"));
    let finish = FinishDelivery { response: notice, host, attempt: 1, end };
    let Fenced::Done(finished) = home.store.finish_delivery(finish).await.unwrap() else { panic!("it was lost") };
    assert_eq!(finished.owed, None);
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(record.responses[0].state, ResponseState::Dead, "which everybody may see");
    let letters = home.store.letters(&LetterFilter::default(), None, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.stage).collect::<Vec<_>>(), [Stage::Turn]);
    assert_eq!(home.store.stages_of(message).await.unwrap().len(), 1, "it cannot be replayed by itself");
    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    let letters = owed.iter().filter(|owed| matches!(owed.what, OwedKind::DeadLetter { .. })).count();
    assert_eq!(letters, 1, "the message's own");
    assert_eq!(home.store.workload().await.unwrap().failed_deliveries, 0);
}

async fn a_replay_takes_a_notice_back(home: Home) {
    let (message, notice) = notice(&home, "alice").await;
    let letter = stage_of(&home, message, Stage::Turn).await;
    let plan = plan(&home.store, vec![item(&letter)]).await;
    assert_eq!(apply(&home.store, plan).await, [None]);
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(record.responses[0].state, ResponseState::Suppressed, "nobody had begun to deliver it");
    // It fails again, and that is said once more.
    let (me, lease) = (worker("w"), home.hold(message, &worker("w")).await);
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(Finish { if_failed: told("again"), ..ends(&lease, Some(turn), failed()) }).await.unwrap());
    let record = home.store.message(message).await.unwrap().unwrap();
    let states: Vec<_> = record.responses.iter().map(|r| (r.id == notice, r.state)).collect();
    assert_eq!(states, [(true, ResponseState::Suppressed), (false, ResponseState::Pending)]);
}

/// Ends the first pending message; starts a turn if it is to be answered.
async fn end(home: &Home, lease: &Lease, message: MessageId, after: u32) -> Finished {
    let finish = Finish { message, if_failed: counted(after), ..ends(lease, None, failed()) };
    done(home.store.finish(finish).await.unwrap())
}

async fn so_many_failures_in_a_row_are_a_quarantine(home: Home) {
    let me = worker("w");
    let mut messages = Vec::new();
    for n in 0..5 {
        messages.push(home.accept(says("alice", &n.to_string())).await.0);
    }
    let (other, _) = home.accept(says("bob", "hi")).await;
    let lease = home.hold(messages[0], &me).await;
    assert_eq!(end(&home, &lease, messages[0], 3).await.quarantined, None);
    // What does not count neither adds to it nor takes from it.
    assert_eq!(end(&home, &lease, messages[1], 0).await.quarantined, None);
    assert_eq!(end(&home, &lease, messages[2], 3).await.quarantined, None);
    let last = end(&home, &lease, messages[3], 3).await;
    let hold = home.store.hold(last.quarantined.unwrap()).await.unwrap().unwrap();
    assert_eq!((&hold.subject, hold.actor.as_str()), (&HoldSubject::Conversation(lease.conversation), "broca"));
    assert_eq!(hold.reason, "quarantined after 3 failures in a row: unavailable");
    assert_eq!(home.store.workload().await.unwrap().quarantined, 1);
    assert_eq!(home.store.counts().await.unwrap().quarantined_conversations, 1);

    // The one behind waits in its place, everybody else goes on.
    let waiting = &lease.pending[4];
    assert_eq!(waiting.id, messages[4]);
    let start = broca_store::StartTurn { message: waiting.id, ..start_of(&lease, TurnId::new(), &me) };
    let refused = home.store.start_turn(start).await.unwrap_err();
    assert!(matches!(refused, StoreError::KeptBack(_)), "{refused}");
    home.store.release(lease.conversation, lease.epoch).await.unwrap();
    assert!(matches!(home.claim(messages[4], &me).await, Claimed::OnHold { until: None }));
    home.hold(other, &me).await;
    let journey = home.store.journey(messages[4]).await.unwrap().unwrap();
    let told = journey.events.iter().find(|event| event.kind == broca_core::EventKind::Quarantined).unwrap();
    assert_eq!(told.reason.as_deref(), Some(hold.reason.as_str()));

    home.store.release_hold(hold.id, "cli:me").await.unwrap();
    let lease = home.hold(messages[4], &me).await;
    assert_eq!(lease.pending[0].id, messages[4]);
    assert_eq!(home.number("SELECT max(failures) FROM conversations").await, 0);
}

async fn an_answer_and_a_release_count_anew(home: Home) {
    let me = worker("w");
    for (n, fails) in [true, true, false, true, true, false, true].into_iter().enumerate() {
        let (message, _) = home.accept(says("alice", &n.to_string())).await;
        let lease = home.hold(message, &me).await;
        let turn = home.start(&lease, &me).await;
        let end = if fails { failed() } else { silent() };
        let finish = Finish { if_failed: counted(3), ..ends(&lease, Some(turn), end) };
        assert_eq!(done(home.store.finish(finish).await.unwrap()).quarantined, None, "{n}");
    }
    assert_eq!(home.number("SELECT failures FROM conversations").await, 1);
}

async fn several_that_fail_together_are_one_failure_and_one_notice(home: Home) {
    let me = worker("w");
    for round in 1..=2 {
        let messages = accept(&home, "alice", 3).await;
        let (lease, turn) = (home.hold(messages[0], &me).await, TurnId::new());
        home.store.start_joint(joint_of(&lease, turn, &messages)).await.unwrap();
        let ends = messages.iter().map(|message| (*message, MessageEnd::Failed(failure()))).collect();
        let if_failed = IfFailed { notice: told("sorry").notice, ..counted(2) };
        let end = EndTurn { if_failed, ..end_of(&lease, turn, TurnState::Dead, ends) };
        let ended = ended(home.store.end_turn(end).await.unwrap());
        assert_eq!(ended.quarantined.is_some(), round == 2, "{ended:?}");
        let mut notices = Vec::new();
        for message in &messages {
            notices.push(home.store.message(*message).await.unwrap().unwrap().responses.len());
        }
        assert_eq!(notices, [0, 0, 1], "the last of them has it");
    }
    let holds = home.store.open_holds(None, 10).await.unwrap();
    assert_eq!(holds[0].reason, "quarantined after 2 failures in a row: unavailable");
    sound(&home).await;
    // Answered together, they have another chance.
    home.store.release_hold(holds[0].id, "cli:me").await.unwrap();
    home.sql("UPDATE conversations SET failures = 1").await;
    let messages = accept(&home, "alice", 2).await;
    let (lease, turn) = (home.hold(messages[0], &me).await, TurnId::new());
    home.store.start_joint(joint_of(&lease, turn, &messages)).await.unwrap();
    let ends = messages.iter().map(|message| (*message, MessageEnd::Answered)).collect();
    ended(home.store.end_turn(end_of(&lease, turn, TurnState::Answered, ends)).await.unwrap());
    assert_eq!(home.number("SELECT failures FROM conversations").await, 0);
}

async fn what_is_on_hold_already_is_not_quarantined(home: Home) {
    let me = worker("w");
    let (message, conversation) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let subject = HoldSubject::Conversation(conversation);
    let hold = broca_store::NewHold { subject, reason: "asked".into(), actor: "cli:me".into(), life: None };
    home.store.put_hold(hold).await.unwrap();
    let finish = Finish { if_failed: counted(1), ..ends(&lease, Some(turn), failed()) };
    assert_eq!(done(home.store.finish(finish).await.unwrap()).quarantined, None);
    let holds = home.store.open_holds(None, 10).await.unwrap();
    assert_eq!(holds.iter().map(|hold| hold.reason.as_str()).collect::<Vec<_>>(), ["asked"]);
    assert_eq!(failure().class.as_str(), "unavailable");
}
