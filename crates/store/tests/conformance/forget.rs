//! A person is forgotten: nothing of theirs is left, and everything of the others is.

use std::time::Duration;

use broca_core::{ConversationId, MessageId, UserId, route::Scope};
use broca_store::{Accepted, AuditLimits, Cancelled, ForgetEnd, HoldSubject, NewHold, NewMessage, Removed, Store};

use crate::{
    home::{Home, done, ends, failed, says, silent, worker},
    on_both,
};

on_both!(
    nothing_of_the_person_is_left,
    what_is_under_way_is_in_the_way,
    who_was_killed_in_the_middle_goes_on,
    in_a_group_only_theirs_goes,
    whoever_writes_meanwhile_strands_nothing,
);

const DAY: Duration = Duration::from_secs(86_400);

async fn user_of(home: &Home, message: MessageId) -> UserId {
    home.store.message(message).await.unwrap().unwrap().user_id
}

async fn sound(home: &Home) {
    assert_eq!(home.store.audit(&AuditLimits { overdue: DAY, max_age: None }).await.unwrap(), []);
}

async fn cancel_waiting(store: &Store, user: UserId) {
    for message in store.forget_waiting(user, 100).await.unwrap() {
        let cancelled = store.cancel(message, "forgotten").await.unwrap();
        assert!(matches!(cancelled, Cancelled::Message | Cancelled::Answers { .. }), "{cancelled:?}");
    }
}

/// As an operator's command does it: batches until none is left, then the end.
async fn forget(store: &Store, user: UserId) -> ForgetEnd {
    let data = store.forget_look(user).await.unwrap();
    let own: Vec<ConversationId> = data.conversations.iter().filter(|c| c.own).map(|c| c.id).collect();
    store.forget_begin(user, "test", Some("asked"), &data.agent_conversations).await.unwrap();
    loop {
        let next: Vec<_> = store.forget_next(user, 3).await.unwrap().iter().map(|item| item.message).collect();
        let removed = store.forget_remove(user, &next, DAY).await.unwrap();
        if removed.messages > 0 {
            continue;
        }
        match store.forget_end(user, &own, DAY, "forgotten").await.unwrap() {
            ForgetEnd::More => {}
            end => return end,
        }
    }
}

async fn fails(home: &Home, person: &str) -> MessageId {
    let worker = worker("fails");
    let (message, _) = home.accept(says(person, "please")).await;
    let lease = home.hold(message, &worker).await;
    let turn = home.start(&lease, &worker).await;
    let held = home.store.set_agent_conversation(lease.conversation, lease.epoch, turn, "conv-1").await;
    held.unwrap();
    done(home.store.finish(ends(&lease, Some(turn), failed())).await.unwrap());
    message
}

async fn nothing_of_the_person_is_left(home: Home) {
    let failed = fails(&home, "ann").await;
    home.answer("ann", "hello").await;
    let (waiting, _) = home.accept(says("ann", "me too")).await;
    let others = home.answer("ben", "hello").await;
    let user = user_of(&home, failed).await;
    let hold = NewHold { subject: HoldSubject::User(user), reason: "x".into(), actor: "x".into(), life: None };
    home.store.put_hold(hold).await.unwrap();
    for owed in home.store.outbox_due(Duration::ZERO, 100).await.unwrap() {
        home.store.outbox_done(owed.id).await.unwrap();
    }
    let data = home.store.forget_look(user).await.unwrap();
    assert_eq!((data.messages, data.waiting, data.answers, data.answers_waiting, data.holds), (3, 1, 1, 1, 1));
    let [side] = data.agent_conversations.as_slice() else { panic!("{data:?}") };
    assert_eq!((side.conversation.as_str(), side.shared), ("conv-1", false));
    let copied: Vec<_> = home.store.forget_next(user, 9).await.unwrap().into_iter().filter(|i| i.copied).collect();
    assert_eq!(copied.iter().map(|item| item.message).collect::<Vec<_>>(), [failed]);
    cancel_waiting(&home.store, user).await;
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Done);

    let record = home.store.forgotten(user).await.unwrap().unwrap();
    assert!(record.done_at.is_some());
    assert_eq!((record.actor.as_str(), record.reason.as_deref()), ("test", Some("asked")));
    let Removed { messages, dead_letters, responses, holds, .. } = record.removed;
    assert_eq!((messages, dead_letters, responses, holds), (3, 1, 1, 1));
    assert_eq!(record.agent_conversations, data.agent_conversations);
    for (table, left) in [("users", 1), ("profiles", 1), ("messages", 1), ("responses", 1), ("turns", 1), ("holds", 0)]
    {
        assert_eq!(home.number(&format!("SELECT count(*) FROM {table}")).await, left, "{table}");
    }
    assert_eq!(home.number("SELECT count(*) FROM conversations").await, 1);
    assert!(home.store.message(waiting).await.unwrap().is_none());
    assert_eq!(home.store.user(user).await.unwrap(), None);
    home.go(others, &worker("out")).await;
    sound(&home).await;

    // Whoever writes again is somebody new, in a new conversation.
    let again = home.answer("ann", "hello?").await;
    home.go(again, &worker("out")).await;
    assert_eq!(home.number("SELECT count(*) FROM users").await, 2);
    sound(&home).await;
}

async fn what_is_under_way_is_in_the_way(home: Home) {
    let worker = worker("works");
    let (message, _) = home.accept(says("ann", "hello")).await;
    let user = user_of(&home, message).await;
    let lease = home.hold(message, &worker).await;
    let turn = home.start(&lease, &worker).await;
    assert_eq!(home.store.forget_look(user).await.unwrap().in_turn, 1);
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Busy);
    assert!(home.store.user(user).await.unwrap().is_some());
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Done);
    sound(&home).await;

    let response = home.answer("ben", "hello").await;
    let dispatch = home.go(response, &worker).await;
    let user = user_of(&home, dispatch.message).await;
    assert_eq!(home.store.forget_look(user).await.unwrap().in_delivery, 1);
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Busy);
}

async fn who_was_killed_in_the_middle_goes_on(home: Home) {
    let message = says("ann", "once");
    let worker = worker("works");
    let (first, _) = home.accept(message.clone()).await;
    let lease = home.hold(first, &worker).await;
    let turn = home.start(&lease, &worker).await;
    done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap());
    let failed = fails(&home, "ann").await;
    for owed in home.store.outbox_due(Duration::ZERO, 100).await.unwrap() {
        home.store.outbox_done(owed.id).await.unwrap();
    }
    let user = user_of(&home, first).await;
    let sides = home.store.forget_look(user).await.unwrap().agent_conversations;
    home.store.forget_begin(user, "test", None, &sides).await.unwrap();
    assert_eq!(home.store.forget_remove(user, &[failed], DAY).await.unwrap().messages, 1);
    // Its process ends here. The next one finds the person, and what the first one counted.
    assert!(home.store.forgotten(user).await.unwrap().is_some_and(|record| record.done_at.is_none()));
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Done);
    let record = home.store.forgotten(user).await.unwrap().unwrap();
    assert_eq!((record.removed.messages, record.agent_conversations.len()), (2, 1));
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Done, "once more is harmless");
    // What the platform repeats is known, though nobody can tell from what.
    let again = NewMessage { id: MessageId::new(), ..message };
    assert!(matches!(home.store.ingest(again).await.unwrap(), Accepted::Duplicate { message } if message == first));
    assert_eq!(home.number("SELECT count(*) FROM users").await, 0);
}

fn in_group(person: &str, text: &str) -> NewMessage {
    let mut message = NewMessage { scope: Scope::Chat, ..says(person, text) };
    (message.incoming.chat_id, message.incoming.is_group) = (Some("room".into()), true);
    message
}

async fn in_a_group_only_theirs_goes(home: Home) {
    let worker = worker("works");
    let (first, conversation) = home.accept(in_group("ann", "1")).await;
    let (second, _) = home.accept(in_group("ben", "2")).await;
    let (third, _) = home.accept(in_group("ann", "3")).await;
    let user = user_of(&home, first).await;
    let data = home.store.forget_look(user).await.unwrap();
    assert_eq!(data.conversations.iter().map(|c| (c.id, c.own)).collect::<Vec<_>>(), [(conversation, false)]);
    cancel_waiting(&home.store, user).await;
    assert_eq!(forget(&home.store, user).await, ForgetEnd::Done);
    assert!(home.store.message(third).await.unwrap().is_none());
    // The queue is true: what the others said is answered, and it comes to rest.
    let lease = home.hold(second, &worker).await;
    assert_eq!(lease.pending.iter().map(|message| message.id).collect::<Vec<_>>(), [second]);
    let turn = home.start(&lease, &worker).await;
    assert!(done(home.store.finish(ends(&lease, Some(turn), silent())).await.unwrap()).released);
    sound(&home).await;
    let (fourth, same) = home.accept(in_group("ben", "4")).await;
    assert_eq!((home.hold(fourth, &worker).await.pending.len(), same), (1, conversation));
}

/// Many processes accept messages of a person while others forget them: every message is one of somebody who is there.
async fn whoever_writes_meanwhile_strands_nothing(home: Home) {
    let (first, _) = home.accept(says("ann", "first")).await;
    let mut user = user_of(&home, first).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = home.another().await;
        writers.spawn(async move {
            for n in 0..40 {
                store.ingest(says("ann", &format!("{n}"))).await.unwrap();
            }
        });
    }
    for _ in 0..5 {
        while forget(&home.store, user).await != ForgetEnd::Done {
            cancel_waiting(&home.store, user).await;
        }
        assert_eq!(home.store.user(user).await.unwrap(), None);
        let (next, _) = home.accept(says("ann", "back again")).await;
        user = user_of(&home, next).await;
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    const LOST: &str = "SELECT count(*) FROM messages m LEFT JOIN profiles p ON p.id = m.profile_id
                        LEFT JOIN conversations c ON c.id = m.conversation_id WHERE p.id IS NULL OR c.id IS NULL";
    assert_eq!(home.number(LOST).await, 0);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 1);
    sound(&home).await;
}
