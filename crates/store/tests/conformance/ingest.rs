use broca_core::{Incoming, MessageId, MessageState, Sender, route::Scope};
use broca_store::{Accepted, NewMessage, StoreError};
use futures::future::join_all;
use serde_json::json;

use crate::{
    home::{Home, says, worker},
    on_both,
};

on_both!(
    an_event_is_accepted_once,
    two_processes_accept_the_same_events_once,
    repetitions_inside_a_batch_are_duplicates,
    scopes_decide_who_shares_a_conversation,
    a_profile_keeps_what_later_messages_do_not_say,
    one_bad_row_harms_nobody,
    the_users_own_scope_finds_the_same_conversation_again,
);

fn again(message: &NewMessage) -> NewMessage {
    NewMessage { id: MessageId::new(), ..message.clone() }
}

async fn an_event_is_accepted_once(home: Home) {
    let message = says("alice", "hello");
    let (id, conversation) = home.accept(message.clone()).await;
    assert_eq!(id, message.id);
    let repeated = home.store.ingest(again(&message)).await.unwrap();
    assert!(matches!(repeated, Accepted::Duplicate { message } if message == id));

    let record = home.store.message(id).await.unwrap().unwrap();
    assert_eq!((record.state, record.seq, record.conversation_id), (MessageState::Received, 1, conversation));
    assert_eq!((record.text.as_str(), record.platform_user_id.as_str()), ("hello", "alice"));
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.users, counts.conversations, counts.outbox), (1, 1, 1));
    // The duplicate took no place: nothing but the message itself is pending.
    assert_eq!(home.number("SELECT tail FROM conversations").await, 1);
    let stranger = NewMessage { instance: "other".parse().unwrap(), ..again(&message) };
    assert!(matches!(home.store.ingest(stranger).await.unwrap(), Accepted::New { .. }));
}

async fn two_processes_accept_the_same_events_once(home: Home) {
    let other = home.another().await;
    let messages: Vec<_> = (0..300).map(|n| says(&format!("person {}", n % 20), "hello")).collect();
    let one = messages.iter().map(|message| home.store.ingest(again(message)));
    let two = messages.iter().rev().map(|message| other.ingest(again(message)));
    let (one, two) = tokio::join!(join_all(one), join_all(two));

    let new = |answer: &Result<Accepted, StoreError>| matches!(answer, Ok(Accepted::New { .. }));
    for (one, two) in one.iter().zip(two.iter().rev()) {
        assert!(new(one) != new(two), "{one:?} and {two:?}");
        let ids = [one, two].map(|answer| match answer {
            Ok(Accepted::New { message, .. } | Accepted::Duplicate { message }) => *message,
            other => panic!("{other:?}"),
        });
        assert_eq!(ids[0], ids[1]);
    }
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.messages["received"], counts.users, counts.outbox), (300, 20, 300));
    assert_eq!(home.number("SELECT count(*) FROM profiles").await, 20);
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE tail <> 15").await, 0);
}

async fn repetitions_inside_a_batch_are_duplicates(home: Home) {
    let (a, b) = (says("alice", "a"), says("alice", "b"));
    let batch = vec![a.clone(), again(&a), b.clone(), again(&b), again(&a)];
    let accepted = home.store.ingest_many(batch).await.unwrap();
    let is_duplicate_of = |n: usize, first: &NewMessage| {
        assert!(matches!(&accepted[n], Accepted::Duplicate { message } if *message == first.id), "{:?}", accepted[n]);
    };
    assert!(matches!(&accepted[0], Accepted::New { message, .. } if *message == a.id));
    assert!(matches!(&accepted[2], Accepted::New { message, .. } if *message == b.id));
    is_duplicate_of(1, &a);
    is_duplicate_of(3, &b);
    is_duplicate_of(4, &a);
    assert_eq!(home.store.message(b.id).await.unwrap().unwrap().seq, 2);
    assert!(home.store.ingest_many(Vec::new()).await.unwrap().is_empty());
}

fn in_group(person: &str, scope: Scope, agent: &str) -> NewMessage {
    let message = says(person, "hi");
    let incoming = Incoming { chat_id: Some("room".to_owned()), is_group: true, ..message.incoming };
    NewMessage { incoming, scope, agent: agent.to_owned(), ..message }
}

async fn scopes_decide_who_shares_a_conversation(home: Home) {
    let mut conversations = Vec::new();
    for scope in [Scope::Profile, Scope::Chat, Scope::User, Scope::Agent] {
        for person in ["alice", "bob"] {
            conversations.push(home.accept(in_group(person, scope, "default")).await.1);
        }
    }
    let [pa, pb, ca, cb, ua, ub, aa, ab] = conversations.try_into().unwrap();
    assert!(pa != pb && ua != ub && ca == cb && aa == ab && pa != ua);
    assert_ne!(home.accept(in_group("alice", Scope::Agent, "second")).await.1, aa);
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.users, counts.conversations, counts.pending_conversations), (2, 7, 7));
}

async fn the_users_own_scope_finds_the_same_conversation_again(home: Home) {
    let other = home.another().await;
    let message = |n: usize| NewMessage { scope: Scope::User, ..says(&format!("p{}", n % 5), "hi") };
    let one = (0..50).map(|n| home.store.ingest(message(n)));
    let two = (0..50).map(|n| other.ingest(message(n)));
    let (one, two) = tokio::join!(join_all(one), join_all(two));
    for answer in one.into_iter().chain(two) {
        // Both processes met a person at once: the one who came second says so, and a repetition mends it.
        if let Err(error) = answer {
            assert!(error.is_transient(), "{error}");
            home.accept(message(0)).await;
        }
    }
    let counts = home.store.counts().await.unwrap();
    assert_eq!((counts.users, counts.conversations), (5, 5));
}

async fn a_profile_keeps_what_later_messages_do_not_say(home: Home) {
    let from = |sender: Sender| {
        let message = says("alice", "hi");
        NewMessage { incoming: Incoming { sender, ..message.incoming }, ..message }
    };
    let sender = |username: Option<&str>, metadata| Sender {
        platform_user_id: "alice".to_owned(),
        username: username.map(str::to_owned),
        display_name: Some("Alice".to_owned()),
        metadata,
    };
    home.accept(from(sender(Some("al"), json!({"session": 1, "lang": {"ui": "en", "voice": "fr"}})))).await;
    home.accept(from(sender(None, json!({"session": 2, "lang": {"ui": "de"}})))).await;
    let (last, _) = home.accept(from(sender(Some("ali"), json!("not an object")))).await;
    let lease = home.hold(last, &worker("w")).await;
    for pending in &lease.pending {
        let profile = &pending.profile;
        assert_eq!((profile.username.as_deref(), profile.display_name.as_deref()), (Some("ali"), Some("Alice")));
        // Merged by key, not into the values, on both databases.
        assert_eq!(profile.metadata, json!({"session": 2, "lang": {"ui": "de"}}));
        assert_eq!(profile.platform, "cli");
    }
    assert_eq!(home.number("SELECT count(*) FROM users WHERE display_name = 'Alice'").await, 1);
    // Within a minute, a profile that says nothing new is left alone.
    home.sql("UPDATE profiles SET last_active = last_active - 10").await;
    let before = home.number("SELECT last_active FROM profiles").await;
    home.accept(says("alice", "again")).await;
    assert_eq!(home.number("SELECT last_active FROM profiles").await, before);
    home.sql("UPDATE profiles SET last_active = last_active - 61000000").await;
    home.accept(says("alice", "and again")).await;
    assert!(home.number("SELECT last_active FROM profiles").await > before);
}

async fn one_bad_row_harms_nobody(home: Home) {
    let bad = says("mallory", "x");
    let bad = NewMessage { incoming: Incoming { event_id: String::new(), ..bad.incoming }, ..bad };
    let mut messages: Vec<_> = (0..40).map(|n| says(&format!("p{n}"), "hi")).collect();
    messages.insert(17, bad);
    let answers = join_all(messages.into_iter().map(|message| home.store.ingest(message))).await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Accepted::New { .. }) => assert_ne!(n, 17),
            Err(error @ StoreError::Data(_)) => assert!(n == 17 && !error.is_transient()),
            other => panic!("{n}: {other:?}"),
        }
    }
    // Not even the sender of the bad one was stored.
    assert_eq!(home.store.counts().await.unwrap().users, 40);
}
