//! One life of the program: hello, ready, what is said meanwhile, and its end.

use std::{sync::Arc, time::Duration};

use broca_core::{EventType, Instance};
use broca_plugin::{Capabilities, Context, Manifest, PluginError, PluginState};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    child::{Child, Ear, Heard, LINE_BYTES},
    garbage::Garbage,
    pending::{Pending, Question},
    protocol::{Bounds, Cause, FromChild, LogLevel, Ready, State, ToChild},
    requests::{OPEN_REQUESTS, Requests},
};

/// How long it gets to finish what is at hand. With what follows it is less than the host allows a plugin.
const STOP_GRACE: Duration = Duration::from_secs(6);
/// What it wrote before its end is read for so long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program that said that it is ready, as long as it lives.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) ready: Ready,
    ear: Ear,
    pending: Arc<Pending>,
    over: CancellationToken,
}

/// It does not hear any more, and has not heard this either.
#[derive(Debug)]
pub(crate) struct NotAsked;

impl Session {
    /// What it can do: as it said itself, or as its folder says.
    pub(crate) fn can<'a>(&'a self, manifest: &'a Manifest) -> &'a Capabilities {
        self.ready.capabilities.as_ref().unwrap_or(&manifest.capabilities)
    }

    /// Waits until it is over, and nobody finds it any more.
    pub(crate) async fn gone(&self) {
        self.over.cancelled().await;
    }

    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    /// Asks it something. It has not heard it as long as [`Question::was_written`] says so.
    pub(crate) async fn ask(&self, ask: impl FnOnce(u64) -> ToChild) -> Result<Question, NotAsked> {
        let question = self.pending.ask().ok_or(NotAsked)?;
        self.ear.say(&ask(question.id), Some(question.written.clone())).await.map_err(|_| NotAsked)?;
        Ok(question)
    }

    /// Tells it something to which there is no answer.
    pub(crate) async fn tell(&self, message: &ToChild) {
        // Whoever is gone finds out by the rows.
        drop(self.ear.say(message, None).await);
    }

    /// Tells it something that may as well be left out.
    pub(crate) fn mention(&self, message: &ToChild) {
        self.ear.mention(message);
    }
}

/// How a life ended.
#[derive(Debug)]
pub(crate) enum End {
    /// We told it to.
    Stopped,
    /// Why, for an operator. It is to be started again.
    Died(String),
    /// It said itself that it cannot go on, and a person has to do something.
    GaveUp(PluginError),
}

/// What it is to know at its start.
pub(crate) fn hello(instance: &Instance, platform: &str, settings: Value) -> ToChild {
    ToChild::Hello {
        instance: instance.to_string(),
        platform: platform.to_owned(),
        settings,
        bounds: Bounds { line_bytes: LINE_BYTES, open_requests: OPEN_REQUESTS },
        broca: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Greets it and waits until it is ready.
pub(crate) async fn begin(child: &mut Child, hello: &ToChild, within: Duration) -> Result<Session, End> {
    if child.ear.say(hello, None).await.is_err() {
        return Err(End::Died("it closed its input".into()));
    }
    let mut garbage = Garbage::none();
    let ready = async {
        loop {
            match child.heard.recv().await {
                Some(Heard::Line(line)) => match *line {
                    FromChild::Ready(ready) => return Ok(ready),
                    FromChild::Log { level, message } => log(level, &message),
                    FromChild::Failed { cause, reason } => return Err(gave_up(cause, reason)),
                    _ if garbage.one_more("something before it was ready") => return Err(too_much()),
                    _ => {}
                },
                Some(Heard::Garbage(why)) if garbage.one_more(why) => return Err(too_much()),
                Some(Heard::Garbage(_)) => {}
                None => return Err(End::Died("it ended before it was ready".into())),
            }
        }
    };
    let silent = || End::Died(format!("it did not say that it is ready within {within:?}"));
    let ready = tokio::time::timeout(within, ready).await.unwrap_or_else(|_| Err(silent()))?;
    Ok(Session { ready, ear: child.ear.clone(), pending: Pending::new(), over: CancellationToken::new() })
}

/// Hears it out until it ends, or has ended after we told it to stop.
pub(crate) async fn serve(ctx: &Context, child: &mut Child, session: &Session) -> End {
    let requests = Requests::new(ctx.clone(), child.ear.clone());
    let mut life = Life { ctx, session, requests, garbage: Garbage::none() };
    let end = tokio::select! {
        end = life.listen(child) => end,
        () = ctx.shutdown.cancelled() => {
            let grace_ms = STOP_GRACE.as_millis() as u64;
            session.tell(&ToChild::Shutdown { grace_ms }).await;
            // Its reports are still taken, and answered.
            if tokio::time::timeout(STOP_GRACE, life.listen(child)).await.is_err() {
                tracing::warn!(grace_ms, "the program did not stop in time and is killed");
            }
            End::Stopped
        }
    };
    session.pending.close();
    end
}

struct Life<'a> {
    ctx: &'a Context,
    session: &'a Session,
    requests: Requests,
    garbage: Garbage,
}

impl Life<'_> {
    async fn listen(&mut self, child: &mut Child) -> End {
        loop {
            let Child { heard, writer, process, .. } = child;
            let why = tokio::select! {
                heard = heard.recv() => match heard {
                    Some(heard) => match self.hear(heard).await {
                        Some(end) => return end,
                        None => continue,
                    },
                    None => "it closed its output",
                },
                Some(why) = writer.join_next() => why.unwrap_or("its input broke"),
                _ = process.wait() => "it ended",
            };
            // One that ends closes its pipes first, and what it wrote is still in them.
            if let Some(end) = self.last_words(child).await {
                return end;
            }
            let status = tokio::time::timeout(LAST_WORDS, child.process.wait()).await.ok().and_then(Result::ok);
            return End::Died(status.map_or_else(|| why.to_owned(), |status| status.to_string()));
        }
    }

    /// Whoever it started may hold its output open: what it wrote itself is there at once.
    async fn last_words(&mut self, child: &mut Child) -> Option<End> {
        let rest = async {
            while let Some(heard) = child.heard.recv().await {
                if let Some(end) = self.hear(heard).await {
                    return Some(end);
                }
            }
            None
        };
        tokio::time::timeout(LAST_WORDS, rest).await.ok().flatten()
    }

    /// Says whether that is the end of it.
    async fn hear(&mut self, heard: Heard) -> Option<End> {
        let line = match heard {
            Heard::Line(line) => *line,
            Heard::Garbage(why) => return self.garbage.one_more(why).then(too_much),
        };
        let line = self.requests.take(line).await?;
        if let Some(id) = line.answers() {
            // A delivery that took too long is given up: its late answer is nobody's.
            let lost = !self.session.pending.answer(id, line);
            return (lost && self.garbage.one_more("an answer that nobody waits for")).then(too_much);
        }
        let wrong = match line {
            FromChild::State { state, detail } => {
                self.ctx.report(match state {
                    State::Connecting => PluginState::Connecting,
                    State::Connected => PluginState::Connected,
                    State::Degraded => PluginState::Degraded { detail },
                });
                return None;
            }
            FromChild::Log { level, message } => {
                log(level, &message);
                return None;
            }
            FromChild::Emit { kind, data } => match kind.parse::<EventType>() {
                Ok(kind @ (EventType::Error | EventType::Own(_))) => {
                    self.ctx.emit(kind, data);
                    return None;
                }
                _ => "an event of a type that is not a plugin's to emit",
            },
            FromChild::Failed { cause, reason } => return Some(gave_up(cause, reason)),
            _ => "ready, for the second time",
        };
        self.garbage.one_more(wrong).then(too_much)
    }
}

fn too_much() -> End {
    End::Died("it writes too much that is not understood: is it a plugin, and does it log to standard error?".into())
}

fn gave_up(cause: Cause, reason: String) -> End {
    match cause {
        Cause::Settings => End::GaveUp(PluginError::Settings(reason)),
        Cause::Credentials => End::GaveUp(PluginError::Credentials(reason)),
        Cause::Platform => End::Died(reason),
    }
}

fn log(level: LogLevel, message: &str) {
    const MOST: usize = 8 << 10;
    let end = (0..=MOST.min(message.len())).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
    let message = &message[..end];
    match level {
        LogLevel::Error => tracing::error!(target: "plugin", "{message}"),
        LogLevel::Warn => tracing::warn!(target: "plugin", "{message}"),
        LogLevel::Info => tracing::info!(target: "plugin", "{message}"),
        LogLevel::Debug => tracing::debug!(target: "plugin", "{message}"),
    }
}
