//! One turn, from the first send to its outcome.
//!
//! At every moment the turn is in one of three positions, and each allows one next step:
//!
//! - [`Fate::Unsaid`]: Letta does not have the message. It is said.
//! - [`Fate::Open`]: Letta may have it. It is said again under the same key when Letta would recognise the key
//!   (background streaming, Redis, not too old), and looked for otherwise.
//! - [`Fate::Look`]: Letta may have it and the key does not help. It is looked for.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use broca_core::{
    Answer, TurnOutcome,
    agent::{Failure, FailureClass},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    LettaAgent,
    http::{Call, CallError, EventStream},
    pause::Pause,
    refusal::Refusal,
    search::Found,
    verdict::{Evidence, Verdict, judge},
    watch::{Notes, Watch, WatchEnd, Watcher},
    wire::{Run, Tokens, said},
};
use crate::{OpenTurn, RunProgress, TurnRequest};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Unsaid,
    Open,
    Look,
}

/// What a step of the turn came to.
enum Step {
    End(TurnOutcome),
    Next(Fate),
    /// Not before this long.
    Wait(Fate, Duration),
}

pub(super) struct Turn<'a> {
    pub(super) agent: &'a LettaAgent,
    pub(super) request: &'a TurnRequest,
    pub(super) deadline: Instant,
    progress: &'a dyn RunProgress,
    key: String,
    sent_at: OffsetDateTime,
    /// Until then Letta recognises the key, if it does at all.
    key_ends: Instant,
    /// When the turn last gave a sign, as far as is known.
    heard_at: Instant,
    /// Somebody else began it and was cut off, perhaps right after cancelling a run that was dead or overdue.
    cut_off: Option<CutOff>,
    /// This turn met a server that recognises no keys: from then on it relies on none.
    keyless: AtomicBool,
    /// Letta would only replay the end of a lost run under this key: once the message is known to be absent, the
    /// next attempt needs a new one.
    spent: AtomicBool,
}

impl<'a> Turn<'a> {
    pub(super) fn fresh(agent: &'a LettaAgent, request: &'a TurnRequest, progress: &'a dyn RunProgress) -> Self {
        let now = Instant::now();
        Self {
            agent,
            request,
            progress,
            key: request.turn.to_string(),
            deadline: now + request.deadline,
            sent_at: OffsetDateTime::now_utc(),
            key_ends: now + agent.options.idempotency_window,
            heard_at: now,
            cut_off: None,
            keyless: AtomicBool::new(false),
            spent: AtomicBool::new(false),
        }
    }

    /// A turn that somebody else began. It gets what is left of its time, and at least long enough to find out
    /// whether its run is dead.
    pub(super) fn taken_over(agent: &'a LettaAgent, open: &'a OpenTurn, progress: &'a dyn RunProgress) -> Self {
        let now = Instant::now();
        let stuck_after = agent.options.stuck_after;
        let left = open.request.deadline.saturating_sub(open.age).max(stuck_after);
        // Silence counts from the send, but a run gets a moment to speak up to its new listener.
        let silence = open.age.min(stuck_after * 3 / 4);
        let mut turn = Self::fresh(agent, &open.request, progress);
        turn.deadline = now + left;
        turn.cut_off = Some(CutOff { in_time: open.age < open.request.deadline });
        turn.key_ends = now + agent.options.idempotency_window.saturating_sub(open.age);
        turn.heard_at = now.checked_sub(silence).unwrap_or(now);
        turn.sent_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(open.sent_at.micros()) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        turn
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn sent_at(&self) -> OffsetDateTime {
        self.sent_at
    }

    pub(super) fn watcher(&self) -> Watcher<'_> {
        Watcher {
            http: &self.agent.http,
            options: &self.agent.options,
            trace: self.request.trace,
            notes: Some(Notes { turn: self.request.turn, progress: self.progress }),
            deadline: self.deadline,
        }
    }

    /// Whether the message goes out as a background stream, the only form in which Letta recognises keys.
    pub(super) fn in_background(&self) -> bool {
        !self.keyless.load(Ordering::Relaxed) && self.agent.ability.may_recognise_keys()
    }

    pub(super) fn repeatable(&self) -> bool {
        self.in_background() && Instant::now() < self.key_ends
    }

    /// Brings the turn to its end.
    pub(super) async fn drive(&self, mut fate: Fate) -> TurnOutcome {
        let mut pause = Pause::up_to(self.agent.options.poll_interval);
        let mut in_the_way = InTheWay { since: self.heard_at, cancelled: false };
        while Instant::now() < self.deadline {
            let step = match fate {
                Fate::Unsaid => self.say(fate).await,
                Fate::Open if self.repeatable() => self.say(fate).await,
                Fate::Open | Fate::Look => self.look(&mut in_the_way).await,
            };
            match step {
                Step::End(outcome) => return outcome,
                Step::Next(next) => fate = next,
                Step::Wait(next, least) => {
                    fate = next;
                    pause.wait(least, self.deadline).await;
                }
            }
        }
        self.overdue(None).await
    }

    /// Attaches to a run that is known by name.
    pub(super) async fn attach(&self, run: String, seq: i64) -> TurnOutcome {
        match self.follow(Watch::of_run(self.watcher(), run, seq, self.heard_at)).await {
            Step::End(outcome) => outcome,
            Step::Next(fate) | Step::Wait(fate, _) => self.drive(fate).await,
        }
    }

    async fn say(&self, fate: Fate) -> Step {
        let background = self.in_background();
        let message = json!({
            "type": "message", "role": "user", "content": self.content(), "otid": self.key,
            "sender_id": self.request.sender,
        });
        let unless_unsaid = if fate == Fate::Unsaid { Fate::Unsaid } else { Fate::Look };
        match self.send(&message, background).await {
            Ok(stream) if fate == Fate::Unsaid => {
                self.follow(Watch::of_stream(self.watcher(), stream, background)).await
            }
            Ok(stream) => self.follow(Watch::of_repeat(self.watcher(), stream, self.heard_at)).await,
            Err(CallError::Refused(refusal)) if refusal.needs_redis => {
                self.keyless.store(true, Ordering::Relaxed);
                Step::Next(unless_unsaid)
            }
            Err(CallError::Refused(refusal)) => self.refused(refusal, fate).await,
            Err(CallError::NotSent(why)) if fate == Fate::Unsaid => {
                let reason = format!("Letta is not there ({why}); check that it runs and the agent's endpoint");
                let failure = Failure::new(FailureClass::Unavailable, reason);
                Step::End(TurnOutcome::Retry { after: None, failure })
            }
            Err(CallError::NotSent(_) | CallError::Lost(_)) => Step::Wait(Fate::Open, Duration::ZERO),
            Err(CallError::Garbled(_) | CallError::TooLong) => Step::Wait(Fate::Look, Duration::ZERO),
        }
    }

    /// Posts one message into the conversation, and takes note of what the server can do.
    pub(super) async fn send(&self, message: &Value, background: bool) -> Call<EventStream> {
        let body = json!({"messages": [message], "streaming": true, "background": background, "include_pings": true});
        let path = ["conversations", self.request.conversation.as_str(), "messages"];
        let opened = self.agent.http.open(&path, &body, self.request.trace).await;
        match &opened {
            Ok(_) if background => self.agent.ability.learn(true),
            Ok(_) => self.keyless.store(true, Ordering::Relaxed),
            Err(CallError::Refused(refusal)) if refusal.needs_redis => self.agent.ability.learn(false),
            Err(_) => {}
        }
        opened
    }

    /// The text, or its stretches with the images between them.
    fn content(&self) -> Value {
        let TurnRequest { text, images, .. } = self.request;
        if images.is_empty() {
            return json!(text);
        }
        let (mut parts, mut told) = (Vec::new(), 0);
        let mut tell = |parts: &mut Vec<Value>, end: usize| {
            if let Some(stretch) = text.get(told..end).filter(|stretch| !stretch.trim().is_empty()) {
                parts.push(json!({"type": "text", "text": stretch.trim()}));
            }
            told = told.max(end);
        };
        for image in images.iter() {
            tell(&mut parts, image.at);
            let source = json!({"type": "base64", "media_type": image.media_type, "data": image.data});
            parts.push(json!({"type": "image", "source": source}));
        }
        tell(&mut parts, text.len());
        Value::Array(parts)
    }

    async fn refused(&self, refusal: Refusal, fate: Fate) -> Step {
        if let Some(run) = refusal.run_id.as_deref().filter(|_| refusal.status == 409)
            && self.run_messages(run).await.is_ok_and(|messages| messages.iter().any(|m| self.is_ours(m)))
        {
            return self.follow(Watch::of_run(self.watcher(), run.to_owned(), 0, self.heard_at)).await;
        }
        let wait = refusal.retry_after.unwrap_or_default();
        if fate != Fate::Unsaid {
            let next = if refusal.is_passing() { fate } else { Fate::Look };
            return Step::Wait(next, wait);
        }
        match refusal.status {
            404 => Step::End(TurnOutcome::NoConversation(refusal.failure(TAKE))),
            409 if refusal.is_pending_approval() => Step::End(self.deny_earlier().await),
            // A gateway gave up waiting; the server behind it may have not.
            504 => Step::Wait(Fate::Open, wait),
            500 => match self.search().await {
                Ok(Found::Run(run)) => self.follow(Watch::of_run(self.watcher(), run, 0, self.heard_at)).await,
                Ok(Found::Running | Found::Orphan) => Step::Wait(Fate::Look, wait),
                Ok(Found::Absent) | Err(_) => Step::End(refusal.outcome(TAKE)),
            },
            _ if self.has_images() && refusal.may_be_for_images() => {
                let failure = Failure::new(FailureClass::ImageRefused, refusal.failure(TAKE).reason);
                Step::End(TurnOutcome::Retry { after: None, failure })
            }
            _ => Step::End(refusal.outcome(TAKE)),
        }
    }

    fn has_images(&self) -> bool {
        !self.request.images.is_empty()
    }

    async fn look(&self, in_the_way: &mut InTheWay) -> Step {
        let stuck_after = self.agent.options.stuck_after;
        match self.search().await {
            Ok(Found::Run(run)) => self.follow(Watch::of_run(self.watcher(), run, 0, self.heard_at)).await,
            Ok(Found::Orphan) => Step::End(TurnOutcome::Unknown(Failure::new(
                FailureClass::Protocol,
                "Letta has the message but names no run for it; read the answer in Letta's conversation",
            ))),
            Ok(Found::Absent) if in_the_way.cancelled || self.spent.load(Ordering::Relaxed) => {
                let reason = "the turn's run was lost, and nothing of it was stored";
                let failure = Failure::new(FailureClass::AgentError, reason);
                Step::End(TurnOutcome::Retry { after: None, failure })
            }
            Ok(Found::Absent) => Step::Next(Fate::Unsaid),
            Ok(Found::Running) if in_the_way.since.elapsed() >= stuck_after && !in_the_way.cancelled => {
                in_the_way.cancelled = self.agent.cancel_runs(&self.request.conversation).await.is_ok();
                Step::Wait(Fate::Look, Duration::ZERO)
            }
            Ok(Found::Running) => Step::Wait(Fate::Look, Duration::ZERO),
            Err(error) if error.is_passing() => Step::Wait(Fate::Look, Duration::ZERO),
            Err(error) => Step::End(TurnOutcome::Unknown(untold(&error))),
        }
    }

    async fn follow(&self, mut watch: Watch<'_>) -> Step {
        let end = watch.end().await;
        let run = watch.run.take();
        let evidence = std::mem::take(&mut watch.evidence);
        drop(watch);
        match (end, run) {
            (WatchEnd::Ended(run), _) => Step::End(self.conclude(run, evidence).await),
            (WatchEnd::Deadline, run) => Step::End(self.overdue(run).await),
            (WatchEnd::Stuck, Some(run)) => Step::End(self.stuck(&run).await),
            (WatchEnd::Gone, _) => {
                self.spent.store(true, Ordering::Relaxed);
                Step::Next(Fate::Look)
            }
            (WatchEnd::Refused(refusal), _) => {
                Step::End(TurnOutcome::Unknown(refusal.failure("tell how the turn ended")))
            }
            (WatchEnd::NoRun | WatchEnd::Stuck, _) => Step::Wait(Fate::Open, Duration::ZERO),
        }
    }

    /// Reads what a finished run stored, and judges it.
    pub(super) async fn conclude(&self, run: Run, evidence: Evidence) -> TurnOutcome {
        let messages = match self.patiently(|| self.run_messages(&run.id)).await {
            Ok(messages) => messages,
            Err(error) => return TurnOutcome::Unknown(untold(&error)),
        };
        let evidence = evidence.of_images(self.has_images());
        let parts = said(&messages);
        let stored = messages.iter().any(|message| self.is_ours(message));
        if let Some(cut_off) = self.cut_off.filter(|_| run.is_cancelled()) {
            return cut_off.cancelled(&run.id, stored || !parts.is_empty());
        }
        match judge(&run, &evidence, !parts.is_empty(), stored) {
            Verdict::Answered => {
                let usage = self.usage(&run.id, &evidence).await;
                TurnOutcome::Answered(Answer { parts, usage })
            }
            Verdict::Retry(failure) => TurnOutcome::Retry { after: None, failure },
            Verdict::Dead(failure) => TurnOutcome::Dead(failure),
            Verdict::BlockedByApproval => self.deny_earlier().await,
            Verdict::AsksApproval => {
                let usage = self.usage(&run.id, &evidence).await;
                self.deny_own(Answer { parts, usage }, messages).await
            }
        }
    }

    /// What the stream said of usage, or else what the run's own record says, or nothing: an answer is worth more.
    pub(super) async fn usage(&self, run: &str, evidence: &Evidence) -> Option<broca_core::Usage> {
        if evidence.usage.is_some() {
            return evidence.usage;
        }
        let read = self.agent.http.get::<Tokens>(&["runs", run, "usage"], &[], self.request.trace).await;
        read.ok().map(Tokens::usage)
    }

    /// Asks until there is an answer, or a refusal that will not pass, or the turn's time and the settling time are up.
    pub(super) async fn patiently<T, F, A>(&self, ask: F) -> Call<T>
    where
        F: Fn() -> A,
        A: Future<Output = Call<T>>,
    {
        let until = self.deadline.max(Instant::now()) + self.agent.options.settle_timeout;
        let mut pause = Pause::up_to(self.agent.options.poll_interval);
        loop {
            match ask().await {
                Err(error) if error.is_passing() && Instant::now() < until => pause.wait(Duration::ZERO, until).await,
                answer => return answer,
            }
        }
    }
}

/// What a worker that was cut off leaves to its successor.
#[derive(Clone, Copy, Debug)]
struct CutOff {
    /// The turn's deadline had not passed when it was taken over.
    in_time: bool,
}

impl CutOff {
    /// Its run was cancelled: by the predecessor, who had found it dead or overdue, or by somebody in Letta. A dead
    /// run that stored nothing did not happen. An overdue one may still store what its model was saying.
    fn cancelled(self, run: &str, stored: bool) -> TurnOutcome {
        if self.in_time && !stored {
            let reason = format!("the run {run} was cancelled in a turn that was cut off; nothing of it was stored");
            return TurnOutcome::Retry { after: None, failure: Failure::new(FailureClass::Interrupted, reason) };
        }
        let reason = format!(
            "the run {run} was cancelled, in Letta or by a worker that was cut off; replay the message if it is still wanted"
        );
        TurnOutcome::Dead(Failure::new(FailureClass::Interrupted, reason))
    }
}

/// Something runs in the conversation that may be this turn.
struct InTheWay {
    since: Instant,
    cancelled: bool,
}

const TAKE: &str = "take the message";

/// The failure of a turn whose end Letta cannot or will not tell.
pub(super) fn untold(error: &CallError) -> Failure {
    const ASK: &str = "look into Letta's conversation before replaying the message";
    match error {
        CallError::NotSent(why) | CallError::Lost(why) => {
            Failure::new(FailureClass::Unavailable, format!("Letta no longer tells how the turn ended ({why}); {ASK}"))
        }
        CallError::Refused(refusal) => refusal.failure("tell how the turn ended"),
        CallError::Garbled(why) => {
            Failure::new(FailureClass::Protocol, format!("Letta's answer about the turn cannot be read ({why}); {ASK}"))
        }
        CallError::TooLong => {
            Failure::new(FailureClass::Protocol, format!("Letta's answer about the turn is too long to be read; {ASK}"))
        }
    }
}
