//! Plans for what waits: a draft says what it comes to, and a run what became of it.

use std::{num::NonZeroU32, time::Duration};

use broca_admin::backlog::{self, BacklogError};
use broca_core::{MessageState, PlanId};
use broca_store::{BacklogAct, BacklogFilter, HoldSubject, NewHold, NewPlan};
use serde_json::json;

use crate::home::{Home, TTL};

fn answer() -> BacklogAct {
    BacklogAct::Answer { per_second: NonZeroU32::MIN }
}

#[tokio::test]
async fn a_draft_warns_and_writes_nothing() {
    let home = Home::new().await;
    let empty = backlog::draft(&home.store, &BacklogFilter::default(), answer()).await.unwrap();
    assert!(empty.is_empty());
    for event in ["1", "2"] {
        home.woken(event).await;
    }
    let subject = HoldSubject::Agent("default".to_owned());
    let hold = NewHold { subject, reason: "an outage".to_owned(), actor: "cli:me".to_owned(), life: None };
    home.store.put_hold(hold).await.unwrap();
    let draft = backlog::draft(&home.store, &BacklogFilter::default(), answer()).await.unwrap();
    assert_eq!((draft.messages, draft.conversations, draft.takes_s, draft.more), (2, 1, Some(0), false));
    assert!(draft.warnings[0].starts_with("agent default is on hold: after applying the plan"), "{:?}", draft.warnings);
    let json = serde_json::to_value(&draft).unwrap();
    assert_eq!((&json["act"], &json["per_second"]), (&json!("answer"), &json!(1)));
    assert_eq!(home.store.pace().await.unwrap().paced, []);
}

#[tokio::test]
async fn a_plan_is_carried_out_once() {
    let home = Home::new().await;
    let (old, begun) = (home.woken("1").await, home.woken("2").await);
    let act = BacklogAct::Skip { reason: "too old".to_owned(), notice: Some("sorry".to_owned()) };
    let draft = backlog::draft(&home.store, &BacklogFilter::default(), act.clone()).await.unwrap();
    let plan = backlog::keep(&home.store, &draft, "cli:me").await.unwrap();
    home.store.cancel(begun, "no").await.unwrap();
    let mut steps = 0;
    let report = backlog::apply(&home.store, plan, "cli:me", None, |items| steps += items).await.unwrap();
    assert_eq!((report.items, report.done, report.done_before, report.skipped.len(), steps), (2, 1, 0, 1, 2));
    assert_eq!(report.skipped[0].reason.as_deref(), Some("it is cancelled by now"));
    let again = backlog::apply(&home.store, plan, "cli:me", None, |_| panic!("there is nothing left")).await.unwrap();
    assert!(report.over && again.over);
    assert_eq!((again.done, again.done_before, again.skipped.len()), (0, 1, 1));
    let why = home.why(old).await;
    assert_eq!(why.state, MessageState::Cancelled);
    assert_eq!(why.sentence, "cancelled: operator: too old; a notice of that is on its way");

    let nobodys = PlanId::new();
    let unknown = backlog::apply(&home.store, nobodys, "cli:me", None, |_| {}).await;
    assert!(matches!(unknown, Err(BacklogError::NoPlan(_))), "{unknown:?}");
    assert!(matches!(backlog::let_go(&home.store, nobodys, "cli:me").await, Err(BacklogError::NoPlan(_))));
    let (actor, asked) = ("cli:me".to_owned(), json!({}));
    let item = |message| broca_store::NewPlanItem {
        message,
        response: None,
        stage: broca_store::Stage::Turn,
        replays: 0,
        text: None,
    };
    let replays = NewPlan { actor: actor.clone(), asked: asked.clone(), life: TTL, act: None, items: vec![item(old)] };
    let replays = home.store.make_plan(replays).await.unwrap();
    let wrong = backlog::apply(&home.store, replays, "cli:me", None, |_| {}).await;
    assert!(matches!(wrong, Err(BacklogError::Replays(_))), "{wrong:?}");
    let late = NewPlan { actor, asked, life: Duration::ZERO, act: Some(act), items: vec![item(old)] };
    let late = home.store.make_plan(late).await.unwrap();
    let late = backlog::apply(&home.store, late, "cli:me", None, |_| {}).await;
    assert!(matches!(late, Err(BacklogError::Expired(_))), "{late:?}");
}
