//! Live settings: their changes are recorded, what is in force where is known, and so is the mode of a message.

use broca_core::{ChangeId, EventKind};
use broca_store::{NewLiveChange, Outcome, SetMode};
use serde_json::json;

use crate::{
    home::{Home, says, worker},
    on_both,
};

on_both!(
    a_change_is_recorded_before_it_is_made_and_ends_once,
    what_processes_have_in_force_is_known_while_they_live,
    the_last_good_settings_are_kept,
    a_mode_that_was_set_is_a_step_of_the_journey,
);

async fn a_change_is_recorded_before_it_is_made_and_ends_once(home: Home) {
    let propose = async |key: &str, new: &str| {
        let change = NewLiveChange {
            id: ChangeId::new(),
            key: key.into(),
            actor: "alice".into(),
            changes: json!([{"key": "mode", "old": null, "new": new}]),
        };
        let at = home.store.propose_change(change.clone()).await.unwrap();
        (change.id, at)
    };
    let (first, at) = propose("mode", "echo").await;
    let (second, _) = propose("mode", "live").await;
    let (third, _) = propose("mode", "listen").await;
    propose("plugin.a", "other").await;
    home.store.end_change(first, Outcome::Written, Some(7)).await.unwrap();
    home.store.end_change(first, Outcome::Refused, None).await.unwrap();
    home.store.end_change(second, Outcome::Refused, None).await.unwrap();
    let found = home.store.live_changes("mode", 10).await.unwrap();
    let shown: Vec<_> = found.iter().map(|change| (change.id, change.outcome, change.revision)).collect();
    let expected =
        [(third, Outcome::Proposed, None), (second, Outcome::Refused, None), (first, Outcome::Written, Some(7))];
    assert_eq!(shown, expected);
    assert_eq!((found[2].at, found[2].actor.as_str()), (at, "alice"));
    assert_eq!(found[2].changes, json!([{"key": "mode", "old": null, "new": "echo"}]));
    assert_eq!(home.store.live_changes("mode", 1).await.unwrap().len(), 1);
}

async fn what_processes_have_in_force_is_known_while_they_live(home: Home) {
    let (a, b) = (worker("a"), worker("b"));
    home.store.live_applied("mode", &a, (3, 3), None).await.unwrap();
    home.store.live_applied("mode", &b, (2, 3), Some("does not fit")).await.unwrap();
    home.store.live_applied("mode", &a, (4, 4), None).await.unwrap();
    home.store.live_applied("plugin.x", &a, (9, 9), None).await.unwrap();
    let found = async || {
        let found = home.store.live_in_force("mode").await.unwrap();
        found.into_iter().map(|a| (a.process, a.revision, a.newest, a.problem)).collect::<Vec<_>>()
    };
    let name = |worker: &broca_core::WorkerId| worker.as_str().to_owned();
    assert_eq!(found().await, [(name(&a), 4, 4, None), (name(&b), 2, 3, Some("does not fit".to_owned()))]);
    home.store.live_gone("mode", &b).await.unwrap();
    assert_eq!(found().await, [(name(&a), 4, 4, None)]);
    home.sql("UPDATE settings_applied SET seen_at = seen_at - 600000000").await;
    assert_eq!(found().await, [], "it was silent for too long");
    home.store.live_applied("mode", &b, (5, 5), None).await.unwrap();
    home.sql("UPDATE settings_applied SET seen_at = seen_at + 600000000").await;
    assert_eq!(found().await, [(name(&b), 5, 5, None)], "who is gone is forgotten");
}

async fn the_last_good_settings_are_kept(home: Home) {
    assert_eq!(home.store.last_good("plugin.a").await.unwrap(), None);
    home.store.keep_good("plugin.a", 3, json!({"poll_s": 5})).await.unwrap();
    home.store.keep_good("plugin.a", 5, json!({"poll_s": 6, "token": "env:T"})).await.unwrap();
    let good = home.store.last_good("plugin.a").await.unwrap();
    assert_eq!(good, Some((5, json!({"poll_s": 6, "token": "env:T"}))));
}

async fn a_mode_that_was_set_is_a_step_of_the_journey(home: Home) {
    let worker = worker("w");
    let (message, _) = home.accept(says("alice", "1")).await;
    let lease = home.hold(message, &worker).await;
    let set = SetMode {
        message,
        conversation: lease.conversation,
        epoch: lease.epoch,
        worker: worker.clone(),
        attempt: 1,
        mode: "listen",
        of: "plugin telegram".into(),
    };
    assert!(home.store.note_mode(set.clone()).await.unwrap());
    assert!(!home.store.note_mode(SetMode { epoch: lease.epoch + 1, ..set }).await.unwrap(), "somebody else's lease");
    assert_eq!(home.store.mode_of_attempt(message, 1).await.unwrap().as_deref(), Some("listen"));
    assert_eq!(home.store.mode_of_attempt(message, 2).await.unwrap(), None);
    let journey = home.store.journey(message).await.unwrap().unwrap();
    let [step] = &journey.events.iter().filter(|event| event.kind == EventKind::ModeSet).collect::<Vec<_>>()[..] else {
        panic!("{journey:?}")
    };
    assert_eq!((step.actor.as_deref(), step.epoch), (Some(worker.as_str()), Some(lease.epoch)));
    assert_eq!((step.detail["mode"].as_str(), step.detail["of"].as_str()), (Some("listen"), Some("plugin telegram")));
}
