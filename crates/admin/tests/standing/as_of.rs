//! A message that is shown as it stood is shown as it was shown then.

use std::time::Duration;

use broca_admin::journey::{Follower, ShowError, show};
use broca_core::{MessageId, ResponseId, Timestamp};
use broca_store::{DeliveryEnd, End, NewPlan, NewPlanItem, Replayed, ResumeTurn, Stage};
use serde_json::{Value, json};

use crate::home::{GONE, Home, TTL, answered, delivered, failure, worker};

/// What was shown after each step, and when.
struct Album<'h> {
    home: &'h Home,
    message: MessageId,
    pictures: Vec<(Timestamp, Value)>,
}

impl Album<'_> {
    async fn take(&mut self) {
        let shown = show(&self.home.store, self.message, None).await.unwrap();
        self.pictures.push((self.home.store.now().await.unwrap(), serde_json::to_value(shown).unwrap()));
        self.home.tick().await;
    }
}

async fn replay(home: &Home, message: MessageId, stage: Stage, text: Option<&str>) {
    let letter = home.store.stages_of(message).await.unwrap();
    let letter = letter.into_iter().find(|letter| letter.stage == stage).unwrap();
    let text = text.map(str::to_owned);
    let item = NewPlanItem { message, response: letter.response_id, stage, replays: letter.replays, text };
    let plan = NewPlan { actor: "cli:me".to_owned(), asked: json!({}), life: TTL, act: None, items: vec![item] };
    let plan = home.store.make_plan(plan).await.unwrap();
    let Replayed::Item(item) = home.store.replay_next(plan, "cli:me").await.unwrap() else { panic!("nothing to do") };
    assert_eq!(item.reason, None);
}

#[tokio::test]
async fn every_earlier_picture_can_be_taken_again() {
    let home = Home::new().await;
    let message = home.woken("1").await;
    let mut album = Album { home: &home, message, pictures: Vec::new() };
    album.take().await;
    // An attempt that fails, one that another worker takes up and ends, a replay with another text.
    home.turn(message, End::Retry { failure: failure(), turn_unknown: false, delay: Duration::ZERO }).await;
    album.take().await;
    let lease = home.claim(message, "first", GONE).await;
    let turn = home.start(&lease, "first").await;
    album.take().await;
    let lease = home.claim(message, "second", TTL).await;
    let resume = ResumeTurn { turn, conversation: lease.conversation, epoch: lease.epoch, worker: worker("second") };
    home.store.resume_turn(resume).await.unwrap();
    home.store.record_run(turn, lease.epoch, "run-7").await.unwrap();
    album.take().await;
    home.finish(&lease, Some(turn), End::Failed { failure: failure(), turn_unknown: true }).await;
    album.take().await;
    replay(&home, message, Stage::Turn, Some("another text")).await;
    album.take().await;
    // An answer that is given back once, fails for good, and comes back.
    let response = ResponseId::new();
    home.turn(message, answered(response)).await;
    album.take().await;
    let attempt = home.begin(response, TTL).await;
    album.take().await;
    home.end_delivery(response, attempt, DeliveryEnd::HandBack).await;
    album.take().await;
    home.deliver(response, DeliveryEnd::Dead(failure())).await;
    album.take().await;
    replay(&home, message, Stage::Delivery, None).await;
    album.take().await;
    home.deliver(response, delivered()).await;
    album.take().await;

    for (at, picture) in &album.pictures {
        let mut again = serde_json::to_value(show(&home.store, message, Some(*at)).await.unwrap()).unwrap();
        assert_eq!(again.as_object_mut().unwrap().remove("as_of"), Some(json!(at)));
        assert_eq!(again, *picture, "{again:#}\nwas\n{picture:#}");
    }
    let texts: Vec<_> = album.pictures.iter().map(|(_, picture)| picture["text"].clone()).collect();
    assert!(texts.contains(&"hi".into()) && texts.contains(&"another text".into()));
    let too_early = show(&home.store, message, Some(Timestamp(1))).await.unwrap_err();
    assert!(matches!(too_early, ShowError::NotYet { .. }), "{too_early}");
    let unknown = show(&home.store, MessageId::new(), None).await.unwrap_err();
    assert!(matches!(unknown, ShowError::Unknown(_)), "{unknown}");
}

#[tokio::test]
async fn who_follows_is_told_each_step_once() {
    let home = Home::new().await;
    let (message, wake) = home.accept("1").await;
    let mut follower = Follower::default();
    let mut told = Vec::new();
    for step in 0..3 {
        match step {
            0 => {}
            1 => home.store.outbox_done(wake).await.unwrap(),
            _ => drop(home.turn(message, answered(ResponseId::new())).await),
        }
        home.tick().await;
        let events = home.store.journey(message).await.unwrap().unwrap().events;
        told.extend(follower.news(events.clone()));
        assert!(follower.news(events.clone()).is_empty());
        assert_eq!(told, events);
    }
    assert_eq!(told.len(), 6);
}
