use std::{num::NonZeroU32, time::Duration};

use broca_core::{MessageId, MessageState, PlanId, ResponseKind};
use broca_store::{
    AuditLimits, BacklogAct, BacklogFilter, BacklogStep, Cancelled, Claimed, HoldState, HoldSubject, NewHold, NewPlan,
    NewPlanItem, PlanItem, Replayed, Settled, Stage, Stand, Store,
};
use serde_json::json;

use crate::{
    home::{Home, TTL, done, ends, instance, retry, says, silent, worker},
    on_both,
};

on_both!(
    what_waits_is_counted_by_age_and_by_what_for,
    a_filter_chooses,
    a_pace_is_holds_that_end_one_after_the_other,
    a_pace_can_be_let_go,
    what_is_caught_up_with_becomes_one_turn,
    what_is_too_old_is_passed_over_and_people_are_told_once,
    what_has_begun_is_not_passed_over,
    plans_of_two_kinds_are_not_mixed_up,
    a_held_message_that_is_cancelled_stays_so,
);

const ME: &str = "cli:me";

async fn make(store: &Store, act: BacklogAct, messages: &[MessageId]) -> PlanId {
    let item = |message: &MessageId| NewPlanItem {
        message: *message,
        response: None,
        stage: Stage::Turn,
        replays: 0,
        text: None,
    };
    let items = messages.iter().map(item).collect();
    let plan = NewPlan { actor: ME.to_owned(), asked: json!({}), life: TTL, act: Some(act), items };
    store.make_plan(plan).await.unwrap()
}

/// Carries a plan out; what became of each item.
async fn apply(store: &Store, plan: PlanId) -> Vec<PlanItem> {
    let mut dealt_with = Vec::new();
    loop {
        match store.backlog_next(plan, ME).await.unwrap() {
            BacklogStep::Items(items) => dealt_with.extend(items),
            BacklogStep::Over => return dealt_with,
            other => panic!("{other:?}"),
        }
    }
}

fn reasons(items: &[PlanItem]) -> Vec<Option<&str>> {
    items.iter().map(|item| item.reason.as_deref()).collect()
}

fn per_second(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

async fn age(home: &Home, message: MessageId, seconds: i64) {
    let id = home.id(message.0);
    let micros = seconds * 1_000_000;
    home.sql(&format!("UPDATE messages SET received_at = received_at - {micros} WHERE id = {id}")).await;
}

async fn hold(home: &Home, subject: HoldSubject) -> broca_core::HoldId {
    let hold = NewHold { subject, reason: "r".to_owned(), actor: ME.to_owned(), life: None };
    match home.store.put_hold(hold).await.unwrap() {
        broca_store::PutOn::New(hold) => hold.id,
        other => panic!("{other:?}"),
    }
}

async fn is_sound(home: &Home) {
    let limits = AuditLimits { overdue: TTL, max_age: None };
    assert_eq!(home.store.audit(&limits).await.unwrap(), []);
}

async fn what_waits_is_counted_by_age_and_by_what_for(home: Home) {
    let me = worker("w");
    assert_eq!(home.store.backlog(&BacklogFilter::default()).await.unwrap().groups, []);
    // Alice's first is at the agent, two are behind it.
    let (first, _) = home.accept(says("alice", "1")).await;
    let lease = home.hold(first, &me).await;
    home.start(&lease, &me).await;
    for (n, seconds) in [(2, 0), (3, 700)] {
        let (message, _) = home.accept(says("alice", &n.to_string())).await;
        age(&home, message, seconds).await;
    }
    let (parked, _) = home.accept(says("bob", "1")).await;
    let lease = home.hold(parked, &me).await;
    let turn = home.start(&lease, &me).await;
    done(home.store.finish(ends(&lease, Some(turn), retry(TTL))).await.unwrap());
    age(&home, parked, 90_000).await;
    let (held, _) = home.accept(says("carol", "1")).await;
    let user = home.store.message(held).await.unwrap().unwrap().user_id;
    hold(&home, HoldSubject::User(user)).await;
    // It is held whether somebody has set it aside or not.
    for set_aside in [false, true] {
        if set_aside {
            assert!(matches!(home.claim(held, &me).await, Claimed::Idle));
        }
        let backlog = home.store.backlog(&BacklogFilter::default()).await.unwrap();
        let groups: Vec<_> = backlog.groups.iter().map(|g| (g.stand, g.messages, g.conversations, g.ages)).collect();
        assert_eq!(
            groups,
            [
                (Stand::Held, 1, 1, [1, 0, 0, 0, 0, 0]),
                (Stand::Parked, 1, 1, [0, 0, 0, 0, 0, 1]),
                (Stand::Processing, 1, 1, [1, 0, 0, 0, 0, 0]),
                (Stand::Received, 2, 1, [1, 0, 1, 0, 0, 0]),
            ],
            "set aside: {set_aside}"
        );
        assert_eq!((backlog.messages(), backlog.conversations), (5, 3));
        assert!(backlog.oldest().is_some_and(|oldest| oldest >= Duration::from_secs(90_000)));
    }
    let waiting = home.store.waiting_conversations(&BacklogFilter::default(), 10).await.unwrap();
    let waiting: Vec<_> = waiting.iter().map(|one| (one.message_id, one.messages)).collect();
    assert_eq!(waiting[0], (parked, 1), "the oldest first");
    assert_eq!(waiting.iter().map(|(_, messages)| messages).sum::<i64>(), 4, "but for what is at the agent");
}

async fn a_filter_chooses(home: Home) {
    let mut other = says("bob", "hi");
    other.agent = "support".to_owned();
    other.route = "vip".to_owned();
    let (bobs, conversation) = home.accept(other).await;
    let (alices, _) = home.accept(says("alice", "hi")).await;
    age(&home, alices, 100).await;
    let all = BacklogFilter::default();
    for (filter, wanted) in [
        (BacklogFilter { agent: Some("support".to_owned()), ..all.clone() }, bobs),
        (BacklogFilter { route: Some("vip".to_owned()), ..all.clone() }, bobs),
        (BacklogFilter { user: Some("bob".to_owned()), ..all.clone() }, bobs),
        (BacklogFilter { conversation: Some(conversation), ..all.clone() }, bobs),
        (BacklogFilter { older_than: Some(Duration::from_secs(60)), ..all.clone() }, alices),
    ] {
        let found = home.store.waiting_messages(&filter, 10).await.unwrap();
        assert_eq!(found.iter().map(|one| one.message_id).collect::<Vec<_>>(), [wanted], "{filter:?}");
        assert_eq!(home.store.backlog(&filter).await.unwrap().messages(), 1, "{filter:?}");
    }
    for filter in [
        BacklogFilter { instance: Some(instance()), ..all.clone() },
        BacklogFilter { platform: Some("cli".to_owned()), ..all.clone() },
    ] {
        assert_eq!(home.store.waiting_messages(&filter, 10).await.unwrap().len(), 2, "{filter:?}");
        assert_eq!(home.store.waiting_conversations(&filter, 1).await.unwrap().len(), 1, "a limit is one");
    }
    let nobody = BacklogFilter { platform: Some("telegram".to_owned()), ..all };
    assert_eq!(home.store.waiting_messages(&nobody, 10).await.unwrap(), []);
}

/// Lets the time of a plan's holds pass.
async fn pass(home: &Home, seconds: i64) {
    let micros = seconds * 1_000_000;
    home.sql(&format!("UPDATE holds SET expires_at = expires_at - {micros}")).await;
}

async fn a_pace_is_holds_that_end_one_after_the_other(home: Home) {
    let me = worker("w");
    let mut messages = Vec::new();
    for person in ["a", "b", "c", "d"] {
        messages.push(home.accept(says(person, "hi")).await.0);
    }
    let subject = HoldSubject::Conversation(home.store.message(messages[3]).await.unwrap().unwrap().conversation_id);
    hold(&home, subject).await;
    let plan = make(&home.store, BacklogAct::Answer { per_second: per_second(1) }, &messages).await;
    let items = apply(&home.store, plan).await;
    let on_hold = "its conversation is on hold already: `broca hold list`";
    assert_eq!(reasons(&items), [None, None, None, Some(on_hold)]);
    assert_eq!(apply(&home.store, plan).await.len(), 0, "twice is harmless");
    let paced = home.store.pace().await.unwrap().paced;
    assert_eq!(paced.iter().map(|paced| (paced.plan, paced.waiting)).collect::<Vec<_>>(), [(plan, 2)]);

    home.hold(messages[0], &me).await;
    assert!(matches!(home.claim(messages[1], &me).await, Claimed::OnHold { until: Some(_) }));
    // A fast clock: the second one's second is over, the third one's is not.
    pass(&home, 1).await;
    let ended = home.store.ended_holds(10).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(home.store.settle_hold(ended[0]).await.unwrap(), Settled::Over);
    let due = home.store.wake_due(10, TTL).await.unwrap();
    assert!(due.iter().any(|wake| wake.message == messages[1]), "the sweep wakes it: {due:?}");
    home.hold(messages[1], &me).await;
    assert!(matches!(home.claim(messages[2], &me).await, Claimed::OnHold { .. }));
    assert_eq!(home.store.pace().await.unwrap().paced[0].waiting, 1);
    is_sound(&home).await;
}

async fn a_pace_can_be_let_go(home: Home) {
    let me = worker("w");
    let (first, _) = home.accept(says("a", "hi")).await;
    let (second, _) = home.accept(says("b", "hi")).await;
    let plan = make(&home.store, BacklogAct::Answer { per_second: per_second(1) }, &[first, second]).await;
    apply(&home.store, plan).await;
    assert_eq!(home.store.backlog_let_go(plan, ME).await.unwrap(), 1);
    assert_eq!(home.store.backlog_let_go(plan, ME).await.unwrap(), 0);
    assert_eq!(home.store.pace().await.unwrap().paced, []);
    home.hold(second, &me).await;
}

async fn what_is_caught_up_with_becomes_one_turn(home: Home) {
    let me = worker("w");
    let (first, _) = home.accept(says("a", "1")).await;
    home.accept(says("a", "2")).await;
    let (other, _) = home.accept(says("b", "1")).await;
    let act = BacklogAct::CatchUp { per_second: per_second(1) };
    let plan = make(&home.store, act, &[first, other]).await;
    assert_eq!(reasons(&apply(&home.store, plan).await), [None, None]);
    home.accept(says("a", "3")).await;
    let lease = home.hold(first, &me).await;
    assert_eq!(lease.pending.iter().map(|message| message.to_join).collect::<Vec<_>>(), [true, true, false]);
    assert!(matches!(home.claim(other, &me).await, Claimed::OnHold { until: Some(_) }), "its turn comes later");
    let holds = home.store.open_holds(None, 10).await.unwrap();
    assert_eq!(holds.iter().map(|hold| hold.state).collect::<Vec<_>>(), [HoldState::Active]);
}

fn skip(notice: Option<&str>) -> BacklogAct {
    BacklogAct::Skip { reason: "too old".to_owned(), notice: notice.map(str::to_owned) }
}

async fn what_is_too_old_is_passed_over_and_people_are_told_once(home: Home) {
    let me = worker("w");
    let mut old = Vec::new();
    for (person, text) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3")] {
        old.push(home.accept(says(person, text)).await.0);
    }
    let (fresh, _) = home.accept(says("a", "4")).await;
    let plan = make(&home.store, skip(Some("we were away")), &old).await;
    assert_eq!(reasons(&apply(&home.store, plan).await), [None; 4]);
    assert_eq!(apply(&home.store, plan).await.len(), 0);
    for message in &old {
        let record = home.store.message(*message).await.unwrap().unwrap();
        assert_eq!((record.state, record.reason.as_deref()), (MessageState::Cancelled, Some("too old")));
    }
    let responses = home.number("SELECT count(*) FROM responses WHERE kind = 'notice' AND state = 'pending'").await;
    assert_eq!(responses, 2, "one for each chat");
    let record = home.store.message(old[0]).await.unwrap().unwrap();
    assert_eq!((record.responses[0].kind, record.responses[0].text.as_str()), (ResponseKind::Notice, "we were away"));
    let owed = home.store.outbox_due(Duration::ZERO, 100).await.unwrap();
    assert_eq!(owed.iter().filter(|owed| owed.text == "we were away").count(), 2, "{owed:?}");
    home.go(record.responses[0].id, &worker("p")).await;
    let lease = home.hold(fresh, &me).await;
    assert_eq!(lease.pending.iter().map(|message| message.id).collect::<Vec<_>>(), [fresh]);
    let turn = home.start(&lease, &me).await;
    assert!(done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap()).released);
    is_sound(&home).await;
}

async fn what_has_begun_is_not_passed_over(home: Home) {
    let me = worker("w");
    let (begun, _) = home.accept(says("a", "1")).await;
    let (behind, _) = home.accept(says("a", "2")).await;
    let (over, _) = home.accept(says("b", "1")).await;
    let plan = make(&home.store, skip(Some("sorry")), &[begun, behind, over]).await;
    let lease = home.hold(begun, &me).await;
    let turn = home.start(&lease, &me).await;
    assert_eq!(home.store.cancel(over, "no").await.unwrap(), Cancelled::Message);
    let items = apply(&home.store, plan).await;
    assert_eq!(reasons(&items), [Some("its turn has begun"), None, Some("it is cancelled by now")]);
    assert!(done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap()).released);
    is_sound(&home).await;
}

async fn plans_of_two_kinds_are_not_mixed_up(home: Home) {
    let (message, _) = home.accept(says("a", "1")).await;
    let plan = make(&home.store, skip(None), &[message]).await;
    assert!(matches!(home.store.replay_next(plan, ME).await.unwrap(), Replayed::OfBacklog));
    let replays = NewPlan { actor: ME.to_owned(), asked: json!({}), life: TTL, act: None, items: Vec::new() };
    let replays = home.store.make_plan(replays).await.unwrap();
    assert!(matches!(home.store.backlog_next(replays, ME).await.unwrap(), BacklogStep::Replays));
    assert!(matches!(home.store.backlog_next(PlanId::new(), ME).await.unwrap(), BacklogStep::Unknown));
    home.sql("UPDATE replay_plans SET expires_at = 1").await;
    assert!(matches!(home.store.backlog_next(plan, ME).await.unwrap(), BacklogStep::Expired { .. }));
    assert_eq!(home.store.message(message).await.unwrap().unwrap().state, MessageState::Received);
}

/// The end of its hold must not bring it back.
async fn a_held_message_that_is_cancelled_stays_so(home: Home) {
    let me = worker("w");
    for by_plan in [false, true] {
        let (message, _) = home.accept(says(&format!("{by_plan}"), "1")).await;
        let user = home.store.message(message).await.unwrap().unwrap().user_id;
        let hold = hold(&home, HoldSubject::User(user)).await;
        assert!(matches!(home.claim(message, &me).await, Claimed::Idle));
        if by_plan {
            let plan = make(&home.store, skip(None), &[message]).await;
            assert_eq!(reasons(&apply(&home.store, plan).await), [None]);
        } else {
            assert_eq!(home.store.cancel(message, "no").await.unwrap(), Cancelled::Message);
        }
        is_sound(&home).await;
        home.store.release_hold(hold, ME).await.unwrap();
        assert_eq!(home.store.settle_hold(hold).await.unwrap(), Settled::Over);
        assert_eq!(home.store.message(message).await.unwrap().unwrap().state, MessageState::Cancelled);
    }
}
