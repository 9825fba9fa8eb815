use std::time::Duration;

use broca_core::{EventKind, MessageId, TurnId};
use broca_store::{ClaimRequest, Claimed, Fenced, OwedKind, PENDING_PAGE};
use futures::future::join_all;

use crate::{
    home::{Home, TTL, done, ends, held, instance, retry, says, silent, start_of, wish, worker},
    on_both,
};

on_both!(
    a_claim_gives_what_is_pending_in_order,
    one_claimer_wins,
    an_expired_lease_is_taken_over_and_its_holder_writes_nothing_more,
    a_claim_says_why_it_got_nothing,
    a_parked_conversation_waits_for_its_time,
    the_sweep_wakes_what_nobody_does,
    a_release_with_work_pending_owes_a_wake,
    renewing_names_the_lost_leases,
    the_agents_conversation_is_remembered,
);

async fn a_claim_gives_what_is_pending_in_order(home: Home) {
    let mut messages = Vec::new();
    for n in 0..PENDING_PAGE + 3 {
        messages.push(home.accept(says("alice", &n.to_string())).await.0);
    }
    let lease = home.hold(messages[5], &worker("w")).await;
    let page = &messages[..PENDING_PAGE as usize];
    assert_eq!(lease.pending.iter().map(|p| p.id).collect::<Vec<_>>(), page);
    assert!(lease.pending.iter().zip(1..).all(|(p, seq)| p.seq == seq && p.attempts == 0));
    assert!(lease.open_turn.is_none() && lease.epoch == 1 && lease.agent == "default");
    assert!(lease.pending[0].trace.is_some() && lease.pending[0].age < Duration::from_secs(60));

    done(home.store.finish(ends(&lease, None, silent())).await.unwrap());
    let rest = home.store.pending(lease.conversation, lease.epoch).await.unwrap();
    assert_eq!(rest.iter().map(|p| p.id).collect::<Vec<_>>(), messages[1..=PENDING_PAGE as usize]);
    assert!(home.store.pending(lease.conversation, lease.epoch + 1).await.unwrap().is_empty());
}

async fn one_claimer_wins(home: Home) {
    let other = home.another().await;
    let (message, _) = home.accept(says("alice", "hi")).await;
    let claims = (0..60).map(|n| {
        let store = if n % 2 == 0 { &home.store } else { &other };
        store.claim(wish(message, &worker(&n.to_string())))
    });
    let claims = join_all(claims).await;
    let won = claims.iter().filter(|claim| matches!(claim, Ok(Claimed::Held(_)))).count();
    let busy = claims.iter().filter(|claim| matches!(claim, Ok(Claimed::Busy))).count();
    assert_eq!((won, busy), (1, 59));
}

async fn an_expired_lease_is_taken_over_and_its_holder_writes_nothing_more(home: Home) {
    let (first, second) = (worker("first"), worker("second"));
    let (message, _) = home.accept(says("alice", "hi")).await;
    let stale = home.hold(message, &first).await;
    let turn = home.start(&stale, &first).await;
    assert!(matches!(home.claim(message, &second).await, Claimed::Busy));
    home.expire_leases().await;
    let lease = home.hold(message, &second).await;
    assert_eq!(lease.epoch, stale.epoch + 1);
    let open = lease.open_turn.clone().unwrap();
    assert_eq!((open.id, open.message, open.attempt, open.run), (turn, message, 1, None));

    let before = home.store.message(message).await.unwrap().unwrap();
    let late = start_of(&stale, TurnId::new(), &first);
    assert_eq!(home.store.start_turn(late).await.unwrap(), Fenced::LeaseLost);
    let finish = home.store.finish(ends(&stale, Some(turn), silent())).await.unwrap();
    assert!(matches!(finish, Fenced::LeaseLost));
    assert_eq!(home.store.record_run(turn, stale.epoch, "run-1").await.unwrap(), Fenced::LeaseLost);
    assert_eq!(home.store.release(stale.conversation, stale.epoch).await.unwrap(), Fenced::LeaseLost);
    let named = home.store.set_agent_conversation(stale.conversation, stale.epoch, turn, "theirs").await.unwrap();
    assert_eq!(named, Fenced::LeaseLost);
    let leases = [(stale.conversation, stale.epoch)];
    assert_eq!(home.store.renew(&first, &leases, &[(turn, 9)], TTL).await.unwrap(), [stale.conversation]);

    let after = home.store.message(message).await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&before).unwrap(), serde_json::to_value(&after).unwrap());
    assert_eq!(home.number("SELECT run_seq FROM turns").await, 0);
    assert_eq!(home.number("SELECT count(*) FROM turns").await, 1);
    assert!(matches!(home.claim(message, &first).await, Claimed::Busy));
}

async fn a_claim_says_why_it_got_nothing(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    assert!(matches!(home.claim(MessageId::new(), &me).await, Claimed::Unknown));
    let foreign = ClaimRequest { instance: "telegram".parse().unwrap(), ..wish(message, &me) };
    assert!(matches!(home.store.claim(foreign).await.unwrap(), Claimed::Unknown));
    let lease = home.hold(message, &me).await;
    assert!(matches!(home.claim(message, &me).await, Claimed::Busy));
    assert!(done(home.store.finish(ends(&lease, None, silent())).await.unwrap()).released);
    assert!(matches!(home.claim(message, &me).await, Claimed::Idle));
}

async fn a_parked_conversation_waits_for_its_time(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let parked = home.store.finish(ends(&lease, Some(turn), retry(Duration::from_secs(60)))).await.unwrap();
    let parked = done(parked);
    assert!(parked.released && parked.owed.is_none());
    let Claimed::Parked { until } = home.claim(message, &me).await else { panic!("not parked") };
    let now = home.number("SELECT max(finished_at) FROM turns").await;
    assert_eq!(until.micros() - now, 60_000_000);
    assert!(home.store.wake_due(10, TTL).await.unwrap().is_empty());
    // A later message of the conversation does not jump the queue.
    let (later, _) = home.accept(says("alice", "are you there?")).await;
    assert!(matches!(home.claim(later, &me).await, Claimed::Parked { .. }));
    assert!(home.store.wake_due(10, TTL).await.unwrap().is_empty());

    home.sql("UPDATE conversations SET not_before = 1, wake_at = 1").await;
    let woken = home.store.wake_due(10, TTL).await.unwrap();
    assert_eq!((woken.len(), woken[0].message, &woken[0].instance), (1, message, &instance()));
    let lease = home.hold(later, &me).await;
    assert_eq!(lease.pending.iter().map(|p| (p.id, p.attempts)).collect::<Vec<_>>(), [(message, 1), (later, 0)]);
    assert!(lease.open_turn.is_none());
}

async fn the_sweep_wakes_what_nobody_does(home: Home) {
    let other = home.another().await;
    let mut messages = Vec::new();
    for n in 0..40 {
        messages.push(home.accept(says(&format!("p{n}"), "hi")).await.0);
        if n == 0 {
            assert!(home.store.wake_due(100, TTL).await.unwrap().is_empty(), "its own wake comes first");
        }
    }
    home.sql("UPDATE conversations SET wake_at = 1").await;
    let live = home.hold(messages[0], &worker("alive")).await;
    let (one, two) = tokio::join!(home.store.wake_due(100, TTL), other.wake_due(100, TTL));
    let mut woken: Vec<_> = one.unwrap().into_iter().chain(two.unwrap()).map(|wake| wake.message).collect();
    woken.sort();
    assert_eq!(woken, messages[1..], "each once, but not the one that is held");
    assert!(home.store.wake_due(100, TTL).await.unwrap().is_empty(), "not again within the grace");
    // A worker that died.
    home.expire_leases().await;
    let woken = home.store.wake_due(100, TTL).await.unwrap();
    assert_eq!(woken.iter().map(|wake| wake.conversation).collect::<Vec<_>>(), [live.conversation]);
}

async fn a_release_with_work_pending_owes_a_wake(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    for owed in home.store.outbox_due(Duration::ZERO, 10).await.unwrap() {
        home.store.outbox_done(owed.id).await.unwrap();
    }
    let lease = home.hold(message, &me).await;
    let turn = home.start(&lease, &me).await;
    let Fenced::Done(Some(owed)) = home.store.release(lease.conversation, lease.epoch).await.unwrap() else {
        panic!("no wake")
    };
    assert_eq!((&owed.what, owed.message, owed.text.as_str()), (&OwedKind::Wake, message, "hi"));
    assert_eq!(home.store.outbox_due(Duration::ZERO, 10).await.unwrap(), std::slice::from_ref(&owed));
    assert_eq!(home.store.release(lease.conversation, lease.epoch).await.unwrap(), Fenced::LeaseLost);

    // A deploy is not a failed attempt: the turn goes on, and still counts as the first.
    let lease = held(home.claim(message, &worker("next")).await);
    assert_eq!(lease.open_turn.as_ref().unwrap().id, turn);
    let resume = |epoch| broca_store::ResumeTurn { turn, conversation: lease.conversation, epoch, worker: me.clone() };
    assert_eq!(home.store.resume_turn(resume(lease.epoch)).await.unwrap(), Fenced::Done(1));
    assert_eq!(home.store.resume_turn(resume(lease.epoch - 1)).await.unwrap(), Fenced::LeaseLost);
    // Only once: a crash after that is one.
    assert_eq!(home.store.resume_turn(resume(lease.epoch)).await.unwrap(), Fenced::Done(2));
}

async fn renewing_names_the_lost_leases(home: Home) {
    let me = worker("w");
    let mut leases = Vec::new();
    let mut turns = Vec::new();
    for n in 0..5 {
        let (message, _) = home.accept(says(&format!("p{n}"), "hi")).await;
        let lease = home.hold(message, &me).await;
        turns.push((home.start(&lease, &me).await, 40 + n));
        leases.push((lease.conversation, lease.epoch));
    }
    home.expire_leases().await;
    let lost = leases[2].0;
    home.sql(&format!("UPDATE conversations SET epoch = 9 WHERE id = {}", home.id(lost.0))).await;
    assert_eq!(home.store.renew(&me, &leases, &turns, TTL).await.unwrap(), [lost]);
    assert_eq!(home.number("SELECT count(*) FROM conversations WHERE lease_until > 1 AND wake_at > 1").await, 4);
    assert_eq!(home.number("SELECT CAST(sum(run_seq) AS BIGINT) FROM turns").await, 40 + 41 + 43 + 44);
    assert_eq!(home.store.renew(&worker("else"), &leases, &[], TTL).await.unwrap().len(), 5);
    assert!(home.store.renew(&me, &[], &[], TTL).await.unwrap().is_empty());
}

async fn the_agents_conversation_is_remembered(home: Home) {
    let me = worker("w");
    let (message, _) = home.accept(says("alice", "hi")).await;
    let lease = home.hold(message, &me).await;
    assert_eq!(lease.agent_conversation, None);
    // A first turn is recorded before there is a conversation to say it in; a later one in a new conversation, if
    // the agent lost the old one.
    let turn = home.start(&lease, &me).await;
    for name in ["conv-1", "conv-2"] {
        let named = home.store.set_agent_conversation(lease.conversation, lease.epoch, turn, name).await.unwrap();
        assert_eq!(named, Fenced::Done(()));
    }
    home.expire_leases().await;
    let lease = home.hold(message, &me).await;
    assert_eq!(lease.agent_conversation.as_deref(), Some("conv-2"));
    assert_eq!(lease.open_turn.as_ref().unwrap().agent_conversation.as_deref(), Some("conv-2"));

    done(home.store.finish(ends(&lease, Some(turn), retry(Duration::ZERO))).await.unwrap());
    let lease = home.hold(message, &me).await;
    home.start(&lease, &me).await;
    let named = home.store.set_agent_conversation(lease.conversation, lease.epoch, turn, "conv-3").await.unwrap();
    assert_eq!(named, Fenced::Done(()));
    let old = "SELECT count(*) FROM turns WHERE state = 'retry' AND agent_conversation = 'conv-2'";
    assert_eq!(home.number(old).await, 1, "what is over is history");
    let renewed = home.store.journey(message).await.unwrap().unwrap().events;
    let renewed = renewed.into_iter().filter(|event| event.kind == EventKind::ConversationRenewed);
    let names: Vec<_> = renewed.map(|event| (event.detail["from"].clone(), event.detail["to"].clone())).collect();
    assert_eq!(names, [("conv-1".into(), "conv-2".into()), ("conv-2".into(), "conv-3".into())]);
}
