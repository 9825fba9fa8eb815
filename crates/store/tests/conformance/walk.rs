//! A message that is walked down a road step by step, with a look at its whole journey after each.

use std::time::Duration;

use broca_core::{MessageId, ResponseId, TurnId, WorkerId};
use broca_store::{
    Accepted, DeliveryEnd, Fenced, Finish, FinishDelivery, JourneyEvent, Lease, NewMessage, NewPlanItem, ResumeTurn,
    Stage,
};

use crate::{
    home::{Home, done},
    replay::{apply, item, plan, stage_of},
};

/// One message's way.
pub(crate) struct Walk<'h> {
    home: &'h Home,
    pub(crate) message: MessageId,
    pub(crate) told: Vec<JourneyEvent>,
}

impl<'h> Walk<'h> {
    /// Accepts a message; its wake is published.
    pub(crate) async fn begin(home: &'h Home, message: NewMessage) -> Self {
        let Accepted::New { message, outbox, .. } = home.store.ingest(message).await.unwrap() else {
            panic!("it was accepted before")
        };
        let mut walk = Self { home, message, told: Vec::new() };
        walk.step().await;
        home.store.outbox_done(outbox).await.unwrap();
        walk.step().await;
        walk
    }

    /// What was told before is told again, word for word. Then waits for the database's clock to move on.
    pub(crate) async fn step(&mut self) {
        let journey = self.home.store.journey(self.message).await.unwrap().unwrap();
        let (before, now) = (self.told.len(), journey.events);
        assert!(now.len() >= before && now[..before] == self.told, "{:#?}\nwas\n{:#?}", now, self.told);
        self.told = now;
        let at = journey.now;
        while self.home.store.now().await.unwrap() <= at {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn hold(&mut self, worker: &WorkerId) -> Lease {
        let lease = self.home.hold(self.message, worker).await;
        self.step().await;
        lease
    }

    /// Starts a turn, whose run becomes known, and ends it.
    pub(crate) async fn turn(&mut self, worker: &WorkerId, end: impl FnOnce(&Lease, TurnId) -> Finish) {
        let lease = self.hold(worker).await;
        let turn = self.home.start(&lease, worker).await;
        self.step().await;
        for _ in 0..2 {
            assert_eq!(self.home.store.record_run(turn, lease.epoch, "run-1").await.unwrap(), Fenced::Done(()));
            self.step().await;
        }
        self.finish(end(&lease, turn)).await;
    }

    /// Ends it; the owed publish is confirmed.
    pub(crate) async fn finish(&mut self, finish: Finish) {
        let finished = done(self.home.store.finish(finish).await.unwrap());
        self.step().await;
        if let Some((owed, _)) = finished.owed {
            self.home.store.outbox_done(owed).await.unwrap();
            self.step().await;
        }
    }

    pub(crate) async fn resume(&mut self, lease: &Lease, worker: &WorkerId) {
        let turn = lease.open_turn.as_ref().unwrap().id;
        let resume = ResumeTurn { turn, conversation: lease.conversation, epoch: lease.epoch, worker: worker.clone() };
        assert!(matches!(self.home.store.resume_turn(resume).await.unwrap(), Fenced::Done(_)));
        self.step().await;
    }

    pub(crate) async fn deliver(&mut self, response: ResponseId, host: &WorkerId, end: DeliveryEnd) {
        let dispatch = self.home.go(response, host).await;
        self.step().await;
        self.end_delivery(response, host, dispatch.response.attempt, end).await;
    }

    pub(crate) async fn end_delivery(&mut self, response: ResponseId, host: &WorkerId, attempt: u32, end: DeliveryEnd) {
        let finish = FinishDelivery { response, host: host.clone(), attempt, end };
        let Fenced::Done(finished) = self.home.store.finish_delivery(finish).await.unwrap() else {
            panic!("the delivery was lost")
        };
        self.step().await;
        if let Some(owed) = finished.owed {
            self.home.store.outbox_done(owed).await.unwrap();
            self.step().await;
        }
    }

    /// Replays it, and confirms the publish that is then owed.
    pub(crate) async fn replay(&mut self, stage: Stage, text: Option<&str>) {
        let letter = stage_of(self.home, self.message, stage).await;
        let item = NewPlanItem { text: text.map(str::to_owned), ..item(&letter) };
        let plan = plan(&self.home.store, vec![item]).await;
        assert_eq!(apply(&self.home.store, plan).await, [None]);
        self.step().await;
        for owed in self.home.store.outbox_due(Duration::ZERO, 10).await.unwrap() {
            self.home.store.outbox_done(owed.id).await.unwrap();
        }
        self.step().await;
    }

    /// The whole journey, one line for each step: what, who, under which epoch, which attempt, why.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.told.iter().map(|event| line(event, self.message)).collect()
    }
}

/// A process's name without what makes it unique.
fn label(actor: &str) -> &str {
    actor.split_once('.').map_or(actor, |(label, _)| label)
}

fn line(event: &JourneyEvent, message: MessageId) -> String {
    let mut line = event.kind.to_string();
    if event.message_id.is_some_and(|id| id != message) {
        line.push_str(" of another");
    }
    if let Some(actor) = &event.actor {
        line.push_str(&format!(" by {}", label(actor)));
    }
    if let Some(epoch) = event.epoch {
        line.push_str(&format!(" e{epoch}"));
    }
    if let Some(attempt) = event.attempt {
        line.push_str(&format!(" #{attempt}"));
    }
    if let Some(from) = event.detail.get("from").and_then(|from| from.as_str()) {
        line.push_str(&format!(" from {}", label(from)));
    }
    if let Some(class) = &event.class {
        line.push_str(&format!(" ({class})"));
    }
    line
}
