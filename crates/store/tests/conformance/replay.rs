use std::time::Duration;

use broca_core::{MessageId, MessageState, PlanId, ResponseId, ResponseState, TurnState};
use broca_store::{
    Claimed, Delivery, DeliveryEnd, End, Fenced, Finish, FinishDelivery, Letter, NewPlan, NewPlanItem, OwedKind,
    Replayed, Stage, Store,
};
use serde_json::json;

use crate::{
    home::{Home, TTL, answered, done, ends, failed, failure, retry, says, silent, wish, worker},
    on_both,
};

on_both!(
    a_failed_message_gets_a_new_place_and_a_new_budget,
    an_item_is_applied_once,
    two_who_run_a_plan_keep_its_order,
    only_messages_that_have_ended_are_replayed,
    only_answers_that_have_ended_are_replayed,
    a_held_conversation_takes_a_replay_in,
    a_replayed_answer_goes_to_the_end_of_its_lane,
    an_answer_is_not_replayed_behind_a_newer_one,
    a_message_that_is_being_answered_is_left_alone,
    an_edit_keeps_the_original,
    an_old_plan_is_not_applied,
    replays_strand_nothing,
);

pub(crate) const ME: &str = "cli:test";

/// Accepts a message and lets its only attempt fail.
pub(crate) async fn fails(home: &Home, person: &str, text: &str) -> MessageId {
    let (message, _) = home.accept(says(person, text)).await;
    let me = worker("fails");
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    message
}

/// An answer that could not be delivered, and its message.
pub(crate) async fn undeliverable(home: &Home, person: &str, end: DeliveryEnd) -> (MessageId, ResponseId) {
    let response = home.answer(person, "hi").await;
    let host = worker("out");
    let dispatch = home.go(response, &host).await;
    let attempt = dispatch.response.attempt;
    home.store.finish_delivery(FinishDelivery { response, host, attempt, end }).await.unwrap();
    (dispatch.message, response)
}

pub(crate) async fn stage_of(home: &Home, message: MessageId, stage: Stage) -> Letter {
    let stages = home.store.stages_of(message).await.unwrap();
    stages.into_iter().find(|letter| letter.stage == stage).unwrap()
}

pub(crate) fn item(letter: &Letter) -> NewPlanItem {
    NewPlanItem {
        message: letter.message_id,
        response: letter.response_id,
        stage: letter.stage,
        replays: letter.replays,
        text: None,
    }
}

pub(crate) async fn plan(store: &Store, items: Vec<NewPlanItem>) -> PlanId {
    let plan = NewPlan { actor: ME.to_owned(), asked: json!({"ids": items.len()}), life: TTL, act: None, items };
    store.make_plan(plan).await.unwrap()
}

/// Runs a plan to its end; the reasons of what was skipped.
pub(crate) async fn apply(store: &Store, plan: PlanId) -> Vec<Option<String>> {
    let mut reasons = Vec::new();
    loop {
        match store.replay_next(plan, ME).await.unwrap() {
            Replayed::Item(item) => reasons.push(item.reason),
            Replayed::Over => return reasons,
            other => panic!("{other:?}"),
        }
    }
}

async fn replay(home: &Home, message: MessageId, stage: Stage) -> Option<String> {
    let letter = stage_of(home, message, stage).await;
    let plan = plan(&home.store, vec![item(&letter)]).await;
    apply(&home.store, plan).await.pop().unwrap()
}

async fn a_failed_message_gets_a_new_place_and_a_new_budget(home: Home) {
    let me = worker("w");
    let (message, conversation) = home.accept(says("alice", "1")).await;
    for end in [retry(Duration::ZERO), failed()] {
        let lease = home.hold(message, &me).await;
        let turn = home.start(&lease, &me).await;
        done(home.store.finish(ends(&lease, Some(turn), end)).await.unwrap());
    }
    home.answer("alice", "2").await;
    home.sql("UPDATE messages SET received_at = received_at - 900000000000").await;
    home.sql("DELETE FROM outbox").await;

    assert_eq!(replay(&home, message, Stage::Turn).await, None);
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.state, record.seq, record.attempts), (MessageState::Received, 3, 2));
    assert_eq!((record.class, record.reason, record.finished_at), (None, None, None));
    let history: Vec<_> = record.turns.iter().map(|t| (t.attempt, t.state)).collect();
    assert_eq!(history, [(1, TurnState::Retry), (2, TurnState::Dead)]);
    let was = &record.replays[0];
    assert_eq!((was.was_state.as_str(), was.class.as_deref(), was.attempts), ("failed", Some("unavailable"), 2));
    assert_eq!((was.actor.as_str(), was.was_text.as_deref()), (ME, None));

    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    assert_eq!(owed.iter().map(|o| (&o.what, o.message)).collect::<Vec<_>>(), [(&OwedKind::Wake, message)]);
    assert_ne!(owed[0].id.0, message.0, "the broker knows the first wake's id");
    let swept = home.store.wake_due(10, TTL).await.unwrap();
    assert_eq!(
        swept.iter().map(|wake| (wake.conversation, wake.message)).collect::<Vec<_>>(),
        [(conversation, message)]
    );

    let lease = home.hold(message, &me).await;
    let pending = &lease.pending[0];
    assert_eq!((pending.attempts, pending.attempts_before), (2, 2), "nothing of the budget is spent");
    assert!(pending.age < TTL, "its age counts from the replay");
    let turn = home.start(&lease, &me).await;
    let response = ResponseId::new();
    assert!(done(home.store.finish(answered(&lease, turn, response, "at last")).await.unwrap()).released);
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(record.turns.iter().map(|t| t.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((record.state, record.responses.len()), (MessageState::Completed, 1));
}

async fn an_item_is_applied_once(home: Home) {
    let message = fails(&home, "alice", "1").await;
    let letter = stage_of(&home, message, Stage::Turn).await;
    let first = plan(&home.store, vec![item(&letter)]).await;
    let second = plan(&home.store, vec![item(&letter)]).await;
    let other = home.another().await;
    let (a, b) = tokio::join!(apply(&home.store, first), apply(&other, first));
    assert_eq!([a, b].concat(), [None], "one of the two did it");
    assert!(apply(&home.store, first).await.is_empty());
    let skipped = apply(&home.store, second).await;
    assert_eq!(skipped, [Some("it was replayed since the plan was made".to_owned())]);
    assert_eq!(home.number("SELECT count(*) FROM replays").await, 1);
    assert_eq!(home.number("SELECT tail FROM conversations").await, 2);
    let plan = home.store.plan(second).await.unwrap().unwrap();
    assert_eq!((plan.items[0].outcome.as_deref(), plan.actor.as_str()), (Some("skipped"), ME));
    assert!(matches!(home.store.replay_next(PlanId::new(), ME).await.unwrap(), Replayed::Unknown));
    assert!(home.store.plan(PlanId::new()).await.unwrap().is_none());
}

async fn two_who_run_a_plan_keep_its_order(home: Home) {
    let mut items = Vec::new();
    for n in 0..30 {
        let message = fails(&home, "alice", &n.to_string()).await;
        items.push(item(&stage_of(&home, message, Stage::Turn).await));
    }
    let wanted: Vec<_> = items.iter().map(|item| item.message).collect();
    let plan = plan(&home.store, items).await;
    let other = home.another().await;
    let (a, b) = tokio::join!(apply(&home.store, plan), apply(&other, plan));
    assert_eq!((a.len() + b.len(), a.iter().chain(&b).flatten().count()), (30, 0));
    let me = worker("w");
    let lease = home.hold(wanted[0], &me).await;
    let mut order = Vec::new();
    while let Some(message) = home.store.pending(lease.conversation, lease.epoch).await.unwrap().into_iter().next() {
        order.push(message.id);
        let finish = Finish { message: message.id, ..ends(&lease, None, End::Stored) };
        if done(home.store.finish(finish).await.unwrap()).released {
            break;
        }
    }
    assert_eq!(order, wanted);
}

/// Against the table in `broca_core::state`.
async fn only_messages_that_have_ended_are_replayed(home: Home) {
    for from in MessageState::ALL {
        let message = fails(&home, from.as_str(), "hi").await;
        home.sql(&format!("UPDATE messages SET state = '{from}' WHERE id = {}", home.id(message.0))).await;
        let skipped = replay(&home, message, Stage::Turn).await;
        let legal = from.is_terminal() && from.to(MessageState::Received).is_ok();
        assert_eq!(skipped.is_none(), legal, "{from}: {skipped:?}");
        let now = home.store.message(message).await.unwrap().unwrap().state;
        assert_eq!(now, if legal { MessageState::Received } else { *from });
    }
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE tail = 2 AND head = 1").await, 5);
}

async fn only_answers_that_have_ended_are_replayed(home: Home) {
    for from in ResponseState::ALL {
        let (message, response) = undeliverable(&home, from.as_str(), DeliveryEnd::Dead(failure())).await;
        let (open, id) = (if from.is_terminal() { "FALSE" } else { "TRUE" }, home.id(response.0));
        home.sql(&format!("UPDATE responses SET state = '{from}', open = {open} WHERE id = {id}")).await;
        let skipped = replay(&home, message, Stage::Delivery).await;
        let legal = from.is_terminal() && from.to(ResponseState::Pending).is_ok();
        assert_eq!(skipped.is_none(), legal, "{from}: {skipped:?}");
        let now = home.store.message(message).await.unwrap().unwrap().responses[0].state;
        assert_eq!(now, if legal { ResponseState::Pending } else { *from });
    }
}

async fn a_held_conversation_takes_a_replay_in(home: Home) {
    let me = worker("w");
    let old = fails(&home, "alice", "1").await;
    let (young, _) = home.accept(says("alice", "2")).await;
    let lease = home.hold(young, &me).await;
    let turn = home.start(&lease, &me).await;
    assert_eq!(replay(&home, old, Stage::Turn).await, None);
    let finished = done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    assert!(!finished.released, "there is one more by now");
    let pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert_eq!(pending.iter().map(|m| m.id).collect::<Vec<_>>(), [old]);
}

async fn a_replayed_answer_goes_to_the_end_of_its_lane(home: Home) {
    let host = worker("out");
    let (message, old) = undeliverable(&home, "alice", DeliveryEnd::Dead(failure())).await;
    let under_way = home.answer("alice", "2").await;
    let waiting = home.answer("alice", "3").await;
    home.go(under_way, &host).await;
    home.sql("DELETE FROM outbox").await;
    home.sql("UPDATE responses SET created_at = created_at - 900000000000").await;
    assert_eq!(replay(&home, message, Stage::Delivery).await, None);
    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    assert_eq!(owed.iter().map(|owed| &owed.what).collect::<Vec<_>>(), [&OwedKind::Response(old)]);
    assert_ne!(owed[0].id.0, old.0);
    let young = home.answer("alice", "4").await;

    let mut order = vec![under_way];
    let end = |response, attempt| {
        let end = DeliveryEnd::Delivered(broca_core::Receipt::of("x"));
        home.store.finish_delivery(FinishDelivery { response, host: host.clone(), attempt, end })
    };
    for behind in [old, waiting, young] {
        assert!(matches!(home.begin(behind, &host).await, Delivery::Behind));
    }
    let Fenced::Done(mut finished) = end(under_way, 1).await.unwrap() else { panic!("lost") };
    while let Some(next) = finished.next {
        let dispatch = home.go(next, &host).await;
        if next == old {
            assert_eq!((dispatch.response.attempt, dispatch.attempts_before), (2, 1));
            assert!(dispatch.age < TTL);
            assert_eq!(end(old, 1).await.unwrap(), Fenced::LeaseLost, "the attempt from before ends nothing");
        }
        order.push(next);
        let Fenced::Done(ended) = end(next, dispatch.response.attempt).await.unwrap() else { panic!("lost") };
        finished = ended;
    }
    assert_eq!(order, [under_way, waiting, old, young]);
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.responses[0].state, record.responses[0].attempts), (ResponseState::Delivered, 2));
    assert_eq!((record.replays[0].stage, record.replays[0].response_id), (Stage::Delivery, Some(old)));
    assert_eq!(home.number("SELECT count(*) FROM deliveries WHERE outcome = 'dead'").await, 1);
}

async fn an_answer_is_not_replayed_behind_a_newer_one(home: Home) {
    let (message, old) = undeliverable(&home, "alice", DeliveryEnd::Unknown(failure())).await;
    let letter = stage_of(&home, message, Stage::Delivery).await;
    let late = plan(&home.store, vec![item(&letter)]).await;
    assert_eq!(replay(&home, message, Stage::Turn).await, None);
    let skipped = apply(&home.store, late).await;
    assert_eq!(skipped, [Some("its message was replayed, and a newer answer counts".to_owned())]);
    assert!(home.store.letters(&Default::default(), None, 10).await.unwrap().is_empty());
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!((record.responses[0].id, record.responses[0].state), (old, ResponseState::Unknown));
}

async fn a_message_that_is_being_answered_is_left_alone(home: Home) {
    let response = home.answer("alice", "hi").await;
    let message = home.go(response, &worker("out")).await.message;
    let skipped = replay(&home, message, Stage::Turn).await;
    assert_eq!(skipped.as_deref(), Some("an answer of it is still on its way"));
}

async fn an_edit_keeps_the_original(home: Home) {
    let message = fails(&home, "alice", "teh question").await;
    let letter = stage_of(&home, message, Stage::Turn).await;
    let edited = NewPlanItem { text: Some("the question".to_owned()), ..item(&letter) };
    let plan = plan(&home.store, vec![edited]).await;
    assert_eq!(home.store.message(message).await.unwrap().unwrap().text, "teh question", "a plan changes nothing");
    assert_eq!(apply(&home.store, plan).await, [None]);
    let record = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(record.text, "the question");
    assert_eq!(record.replays[0].was_text.as_deref(), Some("teh question"));
    assert_eq!(home.hold(message, &worker("w")).await.pending[0].text, "the question");
    let owed = home.store.outbox_due(Duration::ZERO, 10).await.unwrap();
    let wakes: Vec<_> = owed.iter().filter(|owed| owed.what == OwedKind::Wake).map(|owed| owed.text.as_str()).collect();
    assert_eq!(wakes.last(), Some(&"the question"));
}

async fn an_old_plan_is_not_applied(home: Home) {
    let message = fails(&home, "alice", "hi").await;
    let letter = stage_of(&home, message, Stage::Turn).await;
    let plan = plan(&home.store, vec![item(&letter)]).await;
    home.sql("UPDATE replay_plans SET expires_at = 1").await;
    assert!(matches!(home.store.replay_next(plan, ME).await.unwrap(), Replayed::Expired { .. }));
    assert_eq!(home.store.message(message).await.unwrap().unwrap().state, MessageState::Failed);
}

/// Workers, senders and an operator on the same conversations at once: whatever failed is replayed until it ends well.
async fn replays_strand_nothing(home: Home) {
    const PEOPLE: usize = 3;
    const EACH: usize = 40;
    let worker_of = |store: Store, name: &'static str| async move {
        let me = worker(name);
        let mut answered = 0;
        while answered < PEOPLE * EACH {
            let Some(wake) = store.wake_due(50, Duration::from_millis(1)).await.unwrap().pop() else {
                if store.counts().await.unwrap().messages.get("completed") == Some(&((PEOPLE * EACH) as i64)) {
                    return;
                }
                tokio::task::yield_now().await;
                continue;
            };
            let Claimed::Held(lease) = store.claim(wish(wake.message, &me)).await.unwrap() else { continue };
            'held: loop {
                for message in store.pending(lease.conversation, lease.epoch).await.unwrap() {
                    let turn = broca_core::TurnId::new();
                    let start =
                        broca_store::StartTurn { message: message.id, ..crate::home::start_of(&lease, turn, &me) };
                    assert!(matches!(store.start_turn(start).await.unwrap(), Fenced::Done(_)));
                    let end = if message.attempts_before == 0 && message.seq % 2 == 0 { failed() } else { silent() };
                    answered += usize::from(matches!(end, End::Answered { .. }));
                    let finish = Finish { message: message.id, ..ends(&lease, Some(turn), end) };
                    if done(store.finish(finish).await.unwrap()).released {
                        break 'held;
                    }
                }
            }
        }
    };
    let sender = async {
        for n in 0..EACH {
            for person in 0..PEOPLE {
                home.accept(says(&person.to_string(), &n.to_string())).await;
                home.sql("UPDATE conversations SET wake_at = 1 WHERE head < tail AND owner IS NULL").await;
            }
        }
    };
    let all = i64::try_from(PEOPLE * EACH).unwrap();
    let operator = async {
        let store = home.another().await;
        while store.counts().await.unwrap().messages.get("completed") != Some(&all) {
            let letters = store.letters(&Default::default(), None, 5).await.unwrap();
            let plan = plan(&store, letters.iter().map(item).collect()).await;
            assert!(apply(&store, plan).await.iter().all(Option::is_none));
        }
    };
    let workers = [worker_of(home.another().await, "a"), worker_of(home.another().await, "b")];
    let [a, b] = workers;
    let all_of_it = async { tokio::join!(sender, operator, a, b) };
    tokio::time::timeout(Duration::from_secs(100), all_of_it).await.expect("something is stranded");
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE head <> tail OR owner IS NOT NULL").await, 0);
    let again = "SELECT count(*) FROM turns WHERE attempt = 2";
    assert_eq!(home.number(again).await, home.number("SELECT count(*) FROM replays").await);
}
