//! Watches one run to its end.
//!
//! The stream says when to look, the run's row says how it is. A stream alone proves nothing: Letta 0.16.8 keeps
//! pinging on the streams of runs that died with their server, and leaves `[DONE]` out after errors. So the row is
//! read when the stream ends, on pings, and on a timer; and a broken stream is opened again where it broke.

use std::time::Duration;

use broca_core::{TraceParent, TurnId};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    http::{CallError, EventStream, Http, StreamStep},
    options::LettaOptions,
    pause::Pause,
    refusal::Refusal,
    verdict::Evidence,
    wire::{Run, StreamEvent},
};
use crate::RunProgress;

/// How long the stream of a finished run is listened to.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where the run's id and the events read are noted.
#[derive(Clone, Copy)]
pub(super) struct Notes<'a> {
    pub(super) turn: TurnId,
    pub(super) progress: &'a dyn RunProgress,
}

/// What a watch works with.
#[derive(Clone, Copy)]
pub(super) struct Watcher<'a> {
    pub(super) http: &'a Http,
    pub(super) options: &'a LettaOptions,
    pub(super) trace: Option<TraceParent>,
    pub(super) notes: Option<Notes<'a>>,
    pub(super) deadline: Instant,
}

/// How a watch ended.
#[derive(Debug)]
pub(super) enum WatchEnd {
    /// The run is over.
    Ended(Run),
    /// The stream ended before it named its run.
    NoRun,
    /// Letta does not know the run (any more).
    Gone,
    /// The stream broke, and nothing was heard of the run for `stuck_after`.
    Stuck,
    Deadline,
    /// Letta will not tell about the run.
    Refused(Refusal),
}

pub(super) struct Watch<'a> {
    with: Watcher<'a>,
    pub(super) run: Option<String>,
    pub(super) evidence: Evidence,
    seq: i64,
    stream: Option<EventStream>,
    /// The stream can be opened again: the run streams in the background.
    attachable: bool,
    /// The stream broke at least once, or was never ours: the server may have died.
    broken: bool,
    /// The stream said that the run is over.
    over: bool,
    began_at: Instant,
    heard_at: Instant,
    looked_at: Instant,
    next_look: Instant,
    next_attach: Instant,
    look_pause: Pause,
    attach_pause: Pause,
}

impl<'a> Watch<'a> {
    /// Watches what answered our own message.
    pub(super) fn of_stream(with: Watcher<'a>, stream: EventStream, background: bool) -> Self {
        let now = Instant::now();
        let mut watch = Self::new(with, now);
        watch.stream = Some(stream);
        watch.attachable = background;
        watch
    }

    /// Watches what answered a message that was said before: a run that may be dead already.
    pub(super) fn of_repeat(with: Watcher<'a>, stream: EventStream, heard_at: Instant) -> Self {
        let mut watch = Self::of_stream(with, stream, true);
        watch.broken = true;
        watch.heard_at = heard_at;
        watch
    }

    /// Watches a run whose earlier events, up to `seq`, somebody else read. `heard_at`: when it last gave a sign.
    pub(super) fn of_run(with: Watcher<'a>, run: String, seq: i64, heard_at: Instant) -> Self {
        let mut watch = Self::new(with, heard_at);
        watch.run = Some(run);
        watch.seq = seq;
        watch.attachable = true;
        watch.broken = true;
        watch.next_look = Instant::now();
        watch
    }

    fn new(with: Watcher<'a>, heard_at: Instant) -> Self {
        let now = Instant::now();
        let poll = with.options.poll_interval;
        Self {
            with,
            run: None,
            evidence: Evidence::default(),
            seq: 0,
            stream: None,
            attachable: false,
            broken: false,
            over: false,
            began_at: now,
            heard_at,
            looked_at: now,
            next_look: now + poll,
            next_attach: now,
            look_pause: Pause::up_to(poll * 10),
            attach_pause: Pause::up_to(poll),
        }
    }

    pub(super) async fn end(&mut self) -> WatchEnd {
        loop {
            if self.run.is_none() && self.stream.is_none() {
                return WatchEnd::NoRun;
            }
            tokio::select! {
                biased;
                () = sleep_until(self.with.deadline) => return WatchEnd::Deadline,
                () = sleep_until(self.next_look), if self.run.is_some() => {
                    if let Some(end) = self.look().await {
                        return end;
                    }
                }
                () = sleep_until(self.first_event_due()), if self.names_itself_soon() => return WatchEnd::NoRun,
                step = next_step(&mut self.stream), if self.stream.is_some() => self.take(step).await,
                () = sleep_until(self.next_attach), if self.can_attach() => self.attach().await,
            }
        }
    }

    /// A background stream begins with a ping that names the run; a foreground stream may name it only later.
    fn names_itself_soon(&self) -> bool {
        self.run.is_none() && self.attachable
    }

    fn first_event_due(&self) -> Instant {
        self.began_at + self.with.options.request_timeout
    }

    fn can_attach(&self) -> bool {
        self.stream.is_none() && self.attachable && self.run.is_some() && !self.over
    }

    async fn take(&mut self, step: StreamStep) {
        match step {
            StreamStep::Event(event) => self.heard(*event).await,
            StreamStep::Done => {
                self.stream = None;
                self.over = true;
                self.look_soon(Duration::ZERO);
            }
            StreamStep::Broken | StreamStep::Unreadable => {
                self.attachable &= matches!(step, StreamStep::Broken);
                self.stream = None;
                self.broken = true;
                self.next_attach = Instant::now() + self.attach_pause.step();
                self.look_soon(Duration::ZERO);
            }
        }
    }

    async fn heard(&mut self, event: StreamEvent) {
        let is_ping = event.message_type.as_deref() == Some("ping");
        if let (None, Some(run)) = (&self.run, &event.run_id) {
            self.run = Some(run.clone());
            if let Some(notes) = self.with.notes {
                notes.progress.run_known(notes.turn, run).await;
            }
        }
        let is_new = event.seq_id.is_none_or(|seq| seq > self.seq);
        if let (Some(seq), Some(notes)) = (event.seq_id.filter(|_| is_new), self.with.notes) {
            self.seq = seq;
            notes.progress.seen(notes.turn, seq);
        }
        if is_new && !is_ping {
            self.heard_at = Instant::now();
            self.attach_pause = Pause::up_to(self.with.options.poll_interval);
        }
        if self.evidence.note(&event) && !self.over {
            self.over = true;
            // Usage and `[DONE]` usually follow at once, and make the look unnecessary or the only one.
            self.look_soon(Duration::from_millis(50));
        } else if is_ping && self.looked_at.elapsed() >= self.with.options.poll_interval {
            self.look_soon(Duration::ZERO);
        }
    }

    fn look_soon(&mut self, after: Duration) {
        self.look_pause = Pause::up_to(self.with.options.poll_interval);
        self.next_look = Instant::now() + after;
    }

    async fn look(&mut self) -> Option<WatchEnd> {
        let run = self.run.as_deref()?;
        let answer = self.with.http.get::<Run>(&["runs", run], &[], self.with.trace).await;
        self.looked_at = Instant::now();
        match answer {
            Ok(run) if run.is_over() => {
                self.hear_out(run.status.as_deref() == Some("failed")).await;
                return Some(WatchEnd::Ended(run));
            }
            Ok(_) if self.is_stuck() => return Some(WatchEnd::Stuck),
            Err(CallError::Refused(refusal)) if refusal.status == 404 => return Some(WatchEnd::Gone),
            Err(CallError::Refused(refusal)) if !refusal.is_passing() => return Some(WatchEnd::Refused(refusal)),
            Ok(_) | Err(_) => {}
        }
        // While the stream is healthy it says when to look; the timer is for what it does not say.
        let floor = if self.over { Duration::ZERO } else { self.with.options.poll_interval };
        let pause = if self.stream.is_some() || self.over { self.look_pause.step().max(floor) } else { floor };
        self.next_look = Instant::now() + pause;
        None
    }

    /// The row was faster than the stream: what the stream has left tells the usage, or why the run failed. The row
    /// says only that it did.
    async fn hear_out(&mut self, failed: bool) {
        let until = Instant::now() + self.with.options.poll_interval.min(LAST_WORDS);
        if failed && self.can_attach() {
            self.attach().await;
        }
        while self.stream.is_some() {
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                step = next_step(&mut self.stream) => self.take(step).await,
            }
        }
    }

    fn is_stuck(&self) -> bool {
        // An unbroken stream comes from a server that lives: there, silence is a slow model.
        (self.broken || self.over) && self.heard_at.elapsed() >= self.with.options.stuck_after
    }

    async fn attach(&mut self) {
        let Some(run) = self.run.as_deref() else { return };
        let body = json!({"starting_after": self.seq, "include_pings": true});
        match self.with.http.open(&["runs", run, "stream"], &body, self.with.trace).await {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => {
                // Refused for good: not a background run, or too old to be replayed. Its row still tells.
                self.attachable = error.is_passing();
                self.next_attach = Instant::now() + self.attach_pause.step();
            }
        }
    }
}

async fn next_step(stream: &mut Option<EventStream>) -> StreamStep {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
