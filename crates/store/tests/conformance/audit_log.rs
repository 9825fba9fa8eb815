//! What operators did, and the tokens they show.

use std::time::Duration;

use broca_core::{ActId, rights::Access};
use broca_store::{ActEnd, ActFilter, ActOutcome, Confirmation, NewAct, NewToken, Via};
use serde_json::json;

use crate::{home::Home, on_both};

on_both!(
    an_act_is_written_before_and_after,
    acts_are_found_and_paged,
    a_token_is_known_by_its_hash_alone,
    a_confirmation_is_taken_once_and_by_nobody_else,
);

fn act(actor: &str, operation: &str) -> NewAct {
    NewAct {
        id: ActId::new(),
        actor: actor.to_owned(),
        via: Via::Http,
        operation: operation.to_owned(),
        request: json!({"id": "x"}),
        reason: Some("because".to_owned()),
        outcome: ActOutcome::Begun,
        error: None,
    }
}

fn ended(id: ActId, outcome: ActOutcome, subjects: &[&str]) -> ActEnd {
    let subjects = subjects.iter().map(|id| (*id).to_owned()).collect();
    ActEnd { id, outcome, error: None, before: None, after: Some(json!({"n": 1})), subjects }
}

async fn an_act_is_written_before_and_after(home: Home) {
    let new = act("ann", "hold.add");
    home.store.begin_act(new.clone()).await.unwrap();
    home.store.begin_act(new.clone()).await.unwrap();
    let all = ActFilter::default();
    let begun = home.store.acts(&all, None, 10).await.unwrap();
    assert_eq!(begun.len(), 1, "repeating it writes nothing");
    assert_eq!((begun[0].outcome, begun[0].ended_at, begun[0].subjects.len()), (ActOutcome::Begun, None, 0));
    home.store.end_act(ended(new.id, ActOutcome::Done, &["m-1", "m-2"])).await.unwrap();
    home.store.end_act(ended(new.id, ActOutcome::Failed, &[])).await.unwrap();
    let done = home.store.acts(&all, None, 10).await.unwrap().remove(0);
    assert_eq!(
        (done.outcome, done.subjects.as_slice()),
        (ActOutcome::Done, ["m-1".to_owned(), "m-2".to_owned()].as_slice())
    );
    assert_eq!((done.request, done.after), (json!({"id": "x"}), Some(json!({"n": 1}))));
    assert!(done.ended_at >= Some(done.at) && done.reason.as_deref() == Some("because"));
    let refused = NewAct { outcome: ActOutcome::Refused, error: Some("no".to_owned()), ..act("bob", "hold.add") };
    home.store.begin_act(refused).await.unwrap();
    let refused = home.store.acts(&all, None, 1).await.unwrap().remove(0);
    assert!(refused.ended_at.is_some() && refused.error.as_deref() == Some("no"));
}

async fn acts_are_found_and_paged(home: Home) {
    for (actor, operation, subject) in [("ann", "a.b", "s-1"), ("bob", "a.b", "s-2"), ("ann", "c.d", "s-11")] {
        let new = act(actor, operation);
        home.store.begin_act(new.clone()).await.unwrap();
        home.store.end_act(ended(new.id, ActOutcome::Done, &[subject])).await.unwrap();
    }
    let found = async |filter: ActFilter| home.store.acts(&filter, None, 10).await.unwrap().len();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(ActFilter { actor: text("ann"), ..ActFilter::default() }).await, 2);
    assert_eq!(found(ActFilter { operation: text("a.b"), ..ActFilter::default() }).await, 2);
    assert_eq!(found(ActFilter { subject: text("s-1"), ..ActFilter::default() }).await, 1, "not s-11");
    assert_eq!(found(ActFilter { via: Some(Via::Cli), ..ActFilter::default() }).await, 0);
    assert_eq!(found(ActFilter { outcome: Some(ActOutcome::Done), ..ActFilter::default() }).await, 3);
    let now = home.store.now().await.unwrap().after(Duration::from_secs(1));
    assert_eq!(found(ActFilter { since: Some(now), ..ActFilter::default() }).await, 0);
    assert_eq!(found(ActFilter { until: Some(now), ..ActFilter::default() }).await, 3);
    let mut seen = Vec::new();
    while let Some(act) = home.store.acts(&ActFilter::default(), seen.last().copied(), 1).await.unwrap().first() {
        seen.push(act.id);
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.windows(2).all(|pair| pair[1] < pair[0]), "{seen:?}");
}

async fn a_token_is_known_by_its_hash_alone(home: Home) {
    let new = |name: &str, hash: u8, life| NewToken {
        name: name.to_owned(),
        hash: vec![hash; 32],
        access: Access::Operate,
        contents: true,
        created_by: "cli:me".to_owned(),
        life,
    };
    let made = home.store.add_token(new("ci", 1, None)).await.unwrap().unwrap();
    assert!(made.live && made.contents && made.access == Access::Operate);
    assert_eq!(home.store.add_token(new("ci", 2, None)).await.unwrap(), None, "the name is taken");
    let shown = home.store.token_shown(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((shown.id, shown.last_used_at), (made.id, None));
    assert!(home.store.tokens().await.unwrap()[0].last_used_at.is_some());
    assert_eq!(home.store.token_shown(&[2; 32]).await.unwrap(), None);
    let revoked = home.store.revoke_token("ci", "cli:me").await.unwrap().unwrap();
    assert!(!revoked.live && revoked.revoked_by.as_deref() == Some("cli:me"));
    assert_eq!(home.store.revoke_token("ci", "cli:me").await.unwrap(), None);
    assert_eq!(home.store.token_shown(&[1; 32]).await.unwrap(), None);
    home.store.add_token(new("ci", 3, Some(Duration::from_secs(3600)))).await.unwrap().unwrap();
    assert!(home.store.token_shown(&[3; 32]).await.unwrap().is_some());
    home.sql("UPDATE api_tokens SET expires_at = 1 WHERE revoked_at IS NULL").await;
    assert_eq!(home.store.token_shown(&[3; 32]).await.unwrap(), None, "it has expired");
    assert_eq!(home.store.tokens().await.unwrap().len(), 2);
}

async fn a_confirmation_is_taken_once_and_by_nobody_else(home: Home) {
    let mine = Confirmation {
        hash: vec![7; 32],
        actor: "mcp:ann".to_owned(),
        operation: "dlq.purge".to_owned(),
        request: vec![1; 32],
    };
    let life = Duration::from_secs(600);
    home.store.offer_confirmation(mine.clone(), 42, life).await.unwrap();
    let others = [
        Confirmation { hash: vec![8; 32], ..mine.clone() },
        Confirmation { actor: "mcp:bob".to_owned(), ..mine.clone() },
        Confirmation { operation: "dlq.resolve".to_owned(), ..mine.clone() },
        Confirmation { request: vec![2; 32], ..mine.clone() },
    ];
    for other in others {
        assert_eq!(home.store.take_confirmation(other.clone()).await.unwrap(), None, "{other:?}");
    }
    assert_eq!(home.store.take_confirmation(mine.clone()).await.unwrap(), Some(42));
    assert_eq!(home.store.take_confirmation(mine.clone()).await.unwrap(), None, "once");
    home.store.offer_confirmation(mine.clone(), 1, life).await.unwrap();
    home.sql("UPDATE confirmations SET expires_at = 1").await;
    assert_eq!(home.store.take_confirmation(mine.clone()).await.unwrap(), None, "it is over");
    home.store.offer_confirmation(Confirmation { hash: vec![9; 32], ..mine }, 1, life).await.unwrap();
    assert_eq!(home.number("SELECT count(*) FROM confirmations").await, 1, "what is over goes");
}
