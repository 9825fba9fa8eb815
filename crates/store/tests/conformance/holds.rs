//! Holds: what is kept back, what goes on, and how it comes back.

use std::time::Duration;

use broca_core::{ConversationId, HoldId, MessageId, MessageState, TurnId, route::Scope};
use broca_store::{
    Claimed, Delivery, Hold, HoldState, HoldSubject, Irregularity, Lease, NewHold, NewMessage, PutOn, Settled,
    StoreError,
};

use crate::{
    home::{Home, TTL, done, ends, instance, says, silent, start_of, worker},
    on_both,
};

on_both!(
    a_users_messages_are_set_aside_and_come_back_in_order,
    a_conversation_on_hold_is_not_given_out,
    an_agents_conversations_are_not_given_out,
    what_was_begun_goes_to_its_end,
    a_page_that_was_read_before_the_hold_is_not_begun,
    an_instance_on_hold_takes_and_gives_nothing,
    a_hold_ends_by_itself,
    what_two_holds_keep_back_waits_for_both,
    one_subject_has_one_open_hold,
    a_held_message_without_a_hold_is_found,
);

const ME: &str = "cli:ann";

pub(crate) async fn put(home: &Home, subject: HoldSubject) -> Hold {
    let new = NewHold { subject, reason: "to look at it".to_owned(), actor: ME.to_owned(), life: None };
    match home.store.put_hold(new).await.unwrap() {
        PutOn::New(hold) => hold,
        PutOn::Already(hold) => panic!("{hold:?}"),
    }
}

/// Ends a hold and brings everything back; how many messages that were.
async fn end(home: &Home, hold: &Hold) -> u64 {
    home.store.release_hold(hold.id, ME).await.unwrap().unwrap();
    settle(home, hold.id).await
}

pub(crate) async fn settle(home: &Home, hold: HoldId) -> u64 {
    let mut back = 0;
    loop {
        match home.store.settle_hold(hold).await.unwrap() {
            Settled::Step { messages } => back += messages,
            Settled::Over => return back,
            other => panic!("{other:?}"),
        }
    }
}

/// Everybody talks to the agent in one conversation.
pub(crate) fn together(person: &str, text: &str) -> NewMessage {
    NewMessage { scope: Scope::Agent, ..says(person, text) }
}

async fn user_of(home: &Home, message: MessageId) -> HoldSubject {
    HoldSubject::User(home.store.message(message).await.unwrap().unwrap().user_id)
}

async fn state(home: &Home, message: MessageId) -> MessageState {
    home.store.message(message).await.unwrap().unwrap().state
}

fn texts(lease: &Lease) -> Vec<&str> {
    lease.pending.iter().map(|message| message.text.as_str()).collect()
}

/// Ends the first pending message of a page with a turn; says whether the conversation is released.
async fn works(home: &Home, lease: &mut Lease) -> bool {
    let turn = home.start(lease, &worker("w")).await;
    let finished = done(home.store.finish(ends(lease, Some(turn), silent())).await.unwrap());
    lease.pending.remove(0);
    finished.released
}

async fn sound(home: &Home) {
    let limits = broca_store::AuditLimits { overdue: Duration::from_secs(60), max_age: None };
    let found = home.store.audit(&limits).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

async fn woken(home: &Home) -> Vec<MessageId> {
    home.sql("UPDATE conversations SET wake_at = 1 WHERE owner IS NULL").await;
    home.store.wake_due(10, TTL).await.unwrap().into_iter().map(|wake| wake.message).collect()
}

async fn a_users_messages_are_set_aside_and_come_back_in_order(home: Home) {
    let me = worker("w");
    let mut ids = Vec::new();
    for (person, text) in [("ann", "a1"), ("ben", "b1"), ("ann", "a2"), ("ben", "b2"), ("ann", "a3")] {
        ids.push(home.accept(together(person, text)).await.0);
    }
    let hold = put(&home, user_of(&home, ids[0]).await).await;
    let mut lease = home.hold(ids[0], &me).await;
    assert_eq!(texts(&lease), ["b1", "b2"]);
    assert_eq!(state(&home, ids[0]).await, MessageState::Held);
    assert_eq!(home.store.open_holds(None, 10).await.unwrap()[0].messages, 3);
    sound(&home).await;
    assert!(!works(&home, &mut lease).await);
    assert!(works(&home, &mut lease).await, "the last one that waits releases, though the last place was not its own");
    sound(&home).await;
    assert!(matches!(home.claim(ids[1], &me).await, Claimed::Idle));

    // What comes later waits behind them: as long as the hold is on, and until they are back.
    let (a4, _) = home.accept(together("ann", "a4")).await;
    assert!(matches!(home.claim(a4, &me).await, Claimed::Idle));
    assert_eq!(state(&home, a4).await, MessageState::Held);
    let released = home.store.release_hold(hold.id, ME).await.unwrap().unwrap();
    assert_eq!((released.state, released.messages), (HoldState::Ending, 4));
    let (a5, _) = home.accept(together("ann", "a5")).await;
    home.accept(together("ben", "b3")).await;
    let mut lease = home.hold(a5, &me).await;
    assert_eq!(texts(&lease), ["b3"], "nobody has brought the others back yet");
    home.accept(together("ann", "a6")).await;
    assert_eq!(home.store.ended_holds(10).await.unwrap(), [hold.id]);
    assert_eq!(settle(&home, hold.id).await, 6, "one of them waited in the queue and went along");
    assert!(!works(&home, &mut lease).await);
    sound(&home).await;
    lease.pending = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert_eq!(texts(&lease), ["a1", "a2", "a3", "a4", "a5", "a6"]);
    for n in 0..6 {
        assert_eq!(works(&home, &mut lease).await, n == 5);
    }
    sound(&home).await;
    let over = home.store.hold(hold.id).await.unwrap().unwrap();
    assert_eq!((over.state, over.messages, over.released_by.as_deref()), (HoldState::Over, 0, Some(ME)));
    assert_eq!(home.store.ended_holds(10).await.unwrap(), []);
}

async fn a_conversation_on_hold_is_not_given_out(home: Home) {
    let me = worker("w");
    let (first, conversation) = home.accept(says("ann", "1")).await;
    let (other, _) = home.accept(says("ben", "1")).await;
    let hold = put(&home, HoldSubject::Conversation(conversation)).await;
    assert!(matches!(home.claim(first, &me).await, Claimed::OnHold { until: None }));
    assert_eq!(woken(&home).await, [other], "it sleeps");
    let asleep = "SELECT count(*) FROM conversations WHERE wake_at > 1";
    assert_eq!(home.number(asleep).await, 2, "and is not asked for again at once");
    home.accept(says("ann", "2")).await;
    assert!(matches!(home.claim(first, &me).await, Claimed::OnHold { .. }));
    assert_eq!(state(&home, first).await, MessageState::Received, "it keeps its place");
    sound(&home).await;

    assert_eq!(end(&home, &hold).await, 0);
    let due = home.store.wake_due(10, TTL).await.unwrap();
    assert_eq!(due.iter().map(|wake| wake.message).collect::<Vec<_>>(), [first], "its end is its wake");
    assert_eq!(texts(&home.hold(first, &me).await), ["1", "2"]);
}

async fn an_agents_conversations_are_not_given_out(home: Home) {
    let me = worker("w");
    let of = |agent: &str, person: &str| NewMessage { agent: agent.to_owned(), ..says(person, "hi") };
    let (slow, _) = home.accept(of("slow", "ann")).await;
    let (fast, _) = home.accept(of("fast", "ann")).await;
    let new = NewHold {
        subject: HoldSubject::Agent("slow".to_owned()),
        reason: "upgrade".to_owned(),
        actor: ME.to_owned(),
        life: Some(Duration::from_secs(3600)),
    };
    let PutOn::New(hold) = home.store.put_hold(new).await.unwrap() else { panic!("it was on before") };
    let Claimed::OnHold { until: Some(until) } = home.claim(slow, &me).await else { panic!("it was given out") };
    assert_eq!((Some(until), until.since(hold.created_at).as_secs()), (hold.expires_at, 3600));
    assert_eq!(woken(&home).await, [fast]);
    let (late, _) = home.accept(of("slow", "ben")).await;
    assert!(matches!(home.claim(late, &me).await, Claimed::OnHold { .. }), "also one that is new");
    home.hold(fast, &me).await;
    end(&home, &hold).await;
    home.hold(slow, &me).await;
    home.hold(late, &me).await;
}

async fn what_was_begun_goes_to_its_end(home: Home) {
    let me = worker("w");
    let (first, conversation) = home.accept(says("ann", "1")).await;
    let (second, _) = home.accept(says("ann", "2")).await;
    let lease = home.hold(first, &me).await;
    home.start(&lease, &me).await;
    let subjects = [user_of(&home, first).await, HoldSubject::Conversation(conversation)];
    for subject in subjects {
        let hold = put(&home, subject.clone()).await;
        // The worker died; its successor finishes what it left.
        home.expire_leases().await;
        assert_eq!(woken(&home).await, [first]);
        let lease = home.hold(first, &me).await;
        assert_eq!(texts(&lease), ["1"], "{subject}");
        assert!(lease.open_turn.is_some());
        sound(&home).await;
        end(&home, &hold).await;
    }
    home.expire_leases().await;
    let hold = put(&home, HoldSubject::Conversation(conversation)).await;
    let mut lease = home.hold(first, &me).await;
    let turn = lease.open_turn.take().unwrap().id;
    let finish = home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap();
    assert!(!done(finish).released);
    assert_eq!(home.store.pending(conversation, lease.epoch).await.unwrap().len(), 0, "it is given up now");
    assert!(matches!(home.claim(second, &me).await, Claimed::OnHold { .. }));
    sound(&home).await;
    end(&home, &hold).await;
    assert_eq!(texts(&home.hold(second, &me).await), ["2"]);
}

async fn a_page_that_was_read_before_the_hold_is_not_begun(home: Home) {
    let me = worker("w");
    for (n, subject) in ["conversation", "agent", "user", "instance", "route"].into_iter().enumerate() {
        let (message, conversation) = home.accept(says(&n.to_string(), "hi")).await;
        let lease = home.hold(message, &me).await;
        let subject = match subject {
            "conversation" => HoldSubject::Conversation(conversation),
            "agent" => HoldSubject::Agent("default".to_owned()),
            "user" => user_of(&home, message).await,
            "instance" => HoldSubject::Instance(instance()),
            _ => HoldSubject::Route("default".to_owned()),
        };
        let hold = put(&home, subject).await;
        let start = start_of(&lease, TurnId::new(), &me);
        let refused = home.store.start_turn(start.clone()).await.unwrap_err();
        assert!(matches!(refused, StoreError::KeptBack(id) if id == message), "{refused}");
        assert_eq!(home.store.message(message).await.unwrap().unwrap().attempts, 0);
        home.store.release(conversation, lease.epoch).await.unwrap();
        assert!(matches!(home.claim(message, &me).await, Claimed::OnHold { .. } | Claimed::Idle));
        sound(&home).await;
        end(&home, &hold).await;
        let mut lease = home.hold(message, &me).await;
        assert!(works(&home, &mut lease).await);
    }
}

async fn an_instance_on_hold_takes_and_gives_nothing(home: Home) {
    let (host, me) = (worker("p"), worker("w"));
    let answer = home.answer("ann", "before").await;
    let hold = put(&home, HoldSubject::Instance(instance())).await;
    assert!(matches!(home.begin(answer, &host).await, Delivery::OnHold { until: None }));
    home.sql("UPDATE responses SET created_at = 1").await;
    home.sql("DELETE FROM outbox").await;
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), []);
    sound(&home).await;
    let (message, _) = home.accept(says("ben", "hi")).await;
    assert!(matches!(home.claim(message, &me).await, Claimed::Idle));
    assert_eq!(state(&home, message).await, MessageState::Held);
    end(&home, &hold).await;
    assert_eq!(home.store.due_deliveries(&instance(), 10).await.unwrap(), [answer]);
    home.go(answer, &host).await;
    home.hold(message, &me).await;
}

async fn a_hold_ends_by_itself(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("ann", "1")).await;
    let hold = put(&home, user_of(&home, message).await).await;
    assert!(matches!(home.claim(message, &me).await, Claimed::Idle));
    assert_eq!(home.store.settle_hold(hold.id).await.unwrap(), Settled::Active);
    home.sql("UPDATE holds SET expires_at = 1").await;
    let later = home.store.release_hold(hold.id, ME).await.unwrap().unwrap();
    assert_eq!((later.state, later.released_by), (HoldState::Ending, None), "it had ended before");
    assert_eq!(home.store.ended_holds(10).await.unwrap(), [hold.id]);
    let found = home.store.audit(&broca_store::AuditLimits { overdue: TTL, max_age: None }).await.unwrap();
    assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), [Irregularity::HoldOverdue]);
    assert_eq!(settle(&home, hold.id).await, 1);
    sound(&home).await;
    assert_eq!(home.store.wake_due(10, TTL).await.unwrap()[0].message, message, "the sweep brings it at once");
    let mut lease = home.hold(message, &me).await;
    assert!(works(&home, &mut lease).await);
}

async fn what_two_holds_keep_back_waits_for_both(home: Home) {
    let me = worker("w");
    let on = |route: &str, text: &str| NewMessage { route: route.to_owned(), ..says("ann", text) };
    let (first, _) = home.accept(on("slow", "1")).await;
    // The older of the two takes what both keep back.
    let route = put(&home, HoldSubject::Route("slow".to_owned())).await;
    home.accept(on("fast", "2")).await;
    let user = put(&home, user_of(&home, first).await).await;
    home.accept(on("slow", "3")).await;
    assert!(matches!(home.claim(first, &me).await, Claimed::Idle));
    let held = home.store.open_holds(None, 10).await.unwrap();
    assert_eq!(held.iter().map(|hold| hold.messages).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(end(&home, &route).await, 0, "the other one keeps them");
    assert_eq!(home.store.open_holds(None, 10).await.unwrap()[0].messages, 3);
    sound(&home).await;
    assert_eq!(end(&home, &user).await, 3);
    assert_eq!(texts(&home.hold(first, &me).await), ["1", "2", "3"]);
}

async fn one_subject_has_one_open_hold(home: Home) {
    let subject = HoldSubject::Agent("default".to_owned());
    let hold = put(&home, subject.clone()).await;
    let again = NewHold { subject, reason: "again".to_owned(), actor: "cli:ben".to_owned(), life: None };
    assert_eq!(home.store.put_hold(again.clone()).await.unwrap(), PutOn::Already(hold.clone()));
    assert_eq!(home.store.release_hold(HoldId::new(), ME).await.unwrap(), None);
    assert_eq!(home.store.settle_hold(HoldId::new()).await.unwrap(), Settled::Unknown);
    end(&home, &hold).await;
    assert_eq!(home.store.settle_hold(hold.id).await.unwrap(), Settled::Over, "twice is harmless");
    assert!(matches!(home.store.put_hold(again).await.unwrap(), PutOn::New(_)));
    let all = home.store.holds(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|hold| hold.state).collect::<Vec<_>>(), [HoldState::Active, HoldState::Over]);
    assert_eq!(all[1].actor, ME);
}

async fn a_held_message_without_a_hold_is_found(home: Home) {
    let (message, conversation): (MessageId, ConversationId) = home.accept(says("ann", "1")).await;
    let hold = put(&home, user_of(&home, message).await).await;
    assert!(matches!(home.claim(message, &worker("w")).await, Claimed::Idle));
    home.sql("UPDATE holds SET settled_at = 1").await;
    let limits = broca_store::AuditLimits { overdue: TTL, max_age: None };
    let found = home.store.audit(&limits).await.unwrap();
    assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), [Irregularity::HoldLost]);
    assert_eq!(found[0].first, [message.0]);
    home.sql("UPDATE holds SET settled_at = NULL").await;
    let of = home.id(conversation.0);
    home.sql("UPDATE messages SET state = 'received', seq = 9").await;
    home.sql(&format!("UPDATE conversations SET tail = 9, wake_at = 9000000000000000 WHERE id = {of}")).await;
    let found = home.store.audit(&limits).await.unwrap();
    assert_eq!(found.iter().map(|found| found.kind).collect::<Vec<_>>(), [Irregularity::HoldLost], "{hold:?}");
}
