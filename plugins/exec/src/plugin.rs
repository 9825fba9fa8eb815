//! The program as a plugin: life after life of it, and what the host wants of whichever lives.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use broca_core::{
    DeliveryError, Event, MessageId, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
    delivery::Settlement,
    retry::RetryPolicy,
};
use broca_plugin::{
    Applied, Context, Listen, Manifest, Parts, Plugin, PluginError, PluginState, SettingsError, Typing,
};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use crate::{
    Launch, Options, Program,
    child::Child,
    pending::Question,
    protocol::{FromChild, Outcome, ToChild, ToDeliver},
    session::{self, End, NotAsked, Session},
    settings::misconfigured,
};

/// A program that lived so long did not fail at its start.
const STEADY: Duration = Duration::from_secs(30);
/// So many failures in a row, and the process ends, too: its supervisor, and whoever watches that, are to see it.
const TRIES: u32 = 5;
/// The pauses before it is started again.
const RESTART: RetryPolicy = RetryPolicy {
    max_attempts: u32::MAX,
    initial_ms: 200,
    max_ms: 10_000,
    multiplier: 2.0,
    jitter: 0.25,
    max_age_s: 0,
};
/// An answer waits so long for a program that is being started.
const DELIVER_PATIENCE: Duration = Duration::from_secs(5);
/// The host gives up by itself before: an answer of which nobody can tell anything is unknown.
const SETTLE_PATIENCE: Duration = Duration::from_secs(45);
const SETTINGS_PATIENCE: Duration = Duration::from_secs(10);

/// Reads an instance's settings: what to run, and what to tell it.
pub type Reading = dyn Fn(Value) -> Result<(Program, Options), SettingsError> + Send + Sync;

/// A program that is run as a plugin.
pub struct ExecPlugin {
    manifest: Manifest,
    listens: Vec<Listen>,
    account: Option<String>,
    launch: Launch,
    reading: Arc<Reading>,
    program: Program,
    /// As they were last put in force.
    options: Mutex<Options>,
    living: watch::Sender<Option<Arc<Session>>>,
}

impl fmt::Debug for ExecPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecPlugin").field("manifest", &self.manifest).field("program", &self.program).finish()
    }
}

impl ExecPlugin {
    /// # Errors
    /// The settings do not fit.
    pub fn new(
        manifest: Manifest,
        launch: Launch,
        reading: Arc<Reading>,
        settings: Value,
    ) -> Result<Self, SettingsError> {
        let (program, options) = reading(settings)?;
        let living = watch::channel(None).0;
        Ok(Self {
            manifest,
            listens: Vec::new(),
            account: None,
            launch,
            reading,
            program,
            options: Mutex::new(options),
            living,
        })
    }

    pub fn listening(self, listens: Vec<Listen>) -> Self {
        Self { listens, ..self }
    }

    pub fn of_account(self, account: Option<String>) -> Self {
        Self { account, ..self }
    }

    fn options(&self) -> Options {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From one start of the program to its end.
    async fn live(&self, ctx: &Context) -> End {
        let settings = match self.options().read() {
            Ok(settings) => settings,
            Err(error) => return End::GaveUp(misconfigured(&error)),
        };
        let mut child = match Child::start(&self.program, self.launch) {
            Ok(child) => child,
            Err(why) => return End::Died(why),
        };
        let hello = session::hello(&ctx.instance, &self.manifest.platform, settings);
        let begun = tokio::select! {
            begun = session::begin(&mut child, &hello, self.program.start_timeout) => begun,
            () = ctx.shutdown.cancelled() => Err(End::Stopped),
        };
        let end = match begun {
            Ok(session) => {
                let session = Arc::new(session);
                tracing::info!(program = session.ready.name, version = session.ready.version, "the program is ready");
                ctx.report(PluginState::Connected);
                self.living.send_replace(Some(session.clone()));
                let end = session::serve(ctx, &mut child, &session).await;
                self.living.send_replace(None);
                session.end();
                end
            }
            Err(end) => end,
        };
        let status = child.end().await;
        tracing::debug!(status, "the program has ended");
        end
    }

    /// The program, once it is ready.
    async fn living(&self, patience: Duration) -> Option<Arc<Session>> {
        let mut living = self.living.subscribe();
        let found = tokio::time::timeout(patience, living.wait_for(Option::is_some)).await;
        found.ok()?.ok()?.clone()
    }

    /// What the program says of settings that it is to take while it runs.
    async fn offer(&self, session: &Session, settings: Value) -> Result<Applied, SettingsError> {
        let asked = session.ask(|id| ToChild::Settings { id, settings }).await;
        let Ok(mut question) = asked else { return Ok(Applied::Restart) };
        match tokio::time::timeout(SETTINGS_PATIENCE, question.answer()).await {
            Ok(Some(FromChild::Applied { restart: false, .. })) => Ok(Applied::Live),
            Ok(Some(FromChild::SettingsRefused { reason, .. })) => Err(SettingsError::one("", reason)),
            _ => Ok(Applied::Restart),
        }
    }
}

#[async_trait]
impl Plugin for ExecPlugin {
    fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }

    fn account(&self) -> Option<String> {
        self.account.clone()
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let why = match self.live(&ctx).await {
                _ if ctx.shutdown.is_cancelled() => return Ok(()),
                End::Stopped => return Ok(()),
                End::GaveUp(error) => return Err(error),
                End::Died(why) => why,
            };
            failures = if started.elapsed() >= STEADY { 1 } else { failures + 1 };
            let detail = format!("the program {} ended: {why}", self.program.name());
            if failures >= TRIES {
                return Err(PluginError::Platform(format!("{detail} ({failures} times in a row)")));
            }
            ctx.report(PluginState::Degraded { detail });
            ctx.shutdown.run_until_cancelled(tokio::time::sleep(RESTART.delay(failures))).await;
        }
    }

    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
        parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let Some(session) = self.living(DELIVER_PATIENCE).await else { return Err(not_handed()) };
        let answer = ToDeliver::new(response, profile, message_id);
        let asked = session.ask(|id| ToChild::Deliver { id, answer }).await;
        let mut question = asked.map_err(|_| not_handed())?;
        loop {
            match question.answer().await {
                Some(FromChild::Part { id, platform_message_id, text_bytes }) => {
                    if let Err(error) = parts.sent(platform_message_id, text_bytes).await {
                        session.tell(&ToChild::PartLost { id, reason: error.to_string() }).await;
                        return Err(error);
                    }
                    session.tell(&ToChild::PartRecorded { id }).await;
                }
                Some(FromChild::Delivered { platform_message_ids, .. }) => {
                    return Ok(receipt(parts, platform_message_ids));
                }
                Some(said) => return Err(failure(said)),
                None => return Err(cut_off(&question)),
            }
        }
    }

    async fn settle(&self, response: &Response, profile: &Profile, message_id: MessageId) -> Settlement {
        let answer = ToDeliver::new(response, profile, message_id);
        let settled = async {
            loop {
                let Some(session) = self.living(SETTLE_PATIENCE).await else { return Settlement::CannotTell };
                if !session.can(&self.manifest).settles {
                    return Settlement::CannotTell;
                }
                // To ask twice does no harm: a program that ends meanwhile is asked again when it is back.
                let asked = session.ask(|id| ToChild::Settle { id, answer: answer.clone() }).await;
                match asked {
                    Ok(mut question) => match question.answer().await {
                        Some(said) => return settlement(said),
                        None => session.gone().await,
                    },
                    Err(NotAsked) => session.gone().await,
                }
            }
        };
        tokio::time::timeout(SETTLE_PATIENCE, settled).await.unwrap_or(Settlement::CannotTell)
    }

    async fn apply_settings(&self, settings: Value) -> Result<Applied, SettingsError> {
        let (program, options) = (self.reading)(settings)?;
        if program != self.program {
            return Ok(Applied::Restart);
        }
        let applied = match self.living(Duration::ZERO).await {
            Some(session) if session.ready.applies_settings => self.offer(&session, options.read()?).await?,
            _ => Applied::Restart,
        };
        if applied == Applied::Live {
            *self.options.lock().unwrap_or_else(PoisonError::into_inner) = options;
        }
        Ok(applied)
    }

    async fn typing(&self, typing: &Typing) {
        if let Some(session) = self.living(Duration::ZERO).await
            && session.can(&self.manifest).typing
        {
            session.mention(&ToChild::Typing {
                message_id: typing.message_id,
                chat_id: typing.chat_id.clone(),
                platform_user_id: typing.platform_user_id.clone(),
            });
        }
    }

    fn listens(&self) -> Vec<Listen> {
        self.listens.clone()
    }

    async fn on_event(&self, event: &Event) {
        if let Some(session) = self.living(Duration::ZERO).await
            && let Ok(event) = serde_json::to_value(event)
        {
            session.mention(&ToChild::Event { event });
        }
    }
}

fn settlement(said: FromChild) -> Settlement {
    match said {
        FromChild::Settled { outcome: Outcome::Delivered, platform_message_ids, .. } => {
            Settlement::Delivered(Receipt { platform_message_ids })
        }
        FromChild::Settled { outcome: Outcome::Partly, parts, .. } => {
            Settlement::Partly(parts.into_iter().map(Into::into).collect())
        }
        FromChild::Settled { outcome: Outcome::NotDelivered, .. } => Settlement::NotDelivered,
        _ => Settlement::CannotTell,
    }
}

/// Of the recorded parts and what was sent behind them.
fn receipt(parts: &Parts, sent: Vec<String>) -> Receipt {
    let earlier = parts.all().into_iter().map(|part| part.platform_message_id);
    Receipt { platform_message_ids: earlier.chain(sent).collect() }
}

fn not_handed() -> DeliveryError {
    let reason = "the plugin's program is not running, or does not read";
    DeliveryError::Retry { after: None, failure: Failure::new(FailureClass::Unavailable, reason) }
}

fn cut_off(question: &Question) -> DeliveryError {
    if question.was_written() {
        let reason = "the plugin's program ended while it delivered";
        DeliveryError::Unknown(Failure::new(FailureClass::Interrupted, reason))
    } else {
        not_handed()
    }
}

/// A program's word for it, as ours.
fn failure(said: FromChild) -> DeliveryError {
    match said {
        FromChild::Retry { after_ms, class, reason, .. } => {
            let class = class.map_or(FailureClass::Unavailable, Into::into);
            DeliveryError::Retry { after: after_ms.map(Duration::from_millis), failure: Failure::new(class, reason) }
        }
        FromChild::Dead { class, reason, .. } => DeliveryError::Dead(Failure::new(class.into(), reason)),
        FromChild::Unknown { class, reason, .. } => {
            DeliveryError::Unknown(Failure::new(class.map_or(FailureClass::Timeout, Into::into), reason))
        }
        _ => {
            let reason = "the plugin's program answered a delivery by something else";
            DeliveryError::Unknown(Failure::new(FailureClass::Protocol, reason))
        }
    }
}
