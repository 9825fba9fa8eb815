//! A plugin's report becomes committed rows: user, profile, conversation, message and its owed wake, in one
//! transaction. Only then is the plugin told, and only then may it confirm the event to its platform.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use broca_core::{
    AttachmentPolicy, Incoming, Instance, Limits, MessageId, TraceParent,
    access::{Reason, Standing, Suppression},
    route::{Facts, Routes},
};
use broca_plugin::{Cancelled, HistoryEntry, Ingest, IngestError, Ingested, MessageStatus};
use broca_store::{Accepted, Admission, NewMessage, Owed, OwedKind, Store};

use crate::{
    admission::Doorkeeper,
    commands::{CommandOptions, Given},
    crash::{CrashPoint, point},
    events::{self, Events},
    files::Files,
    meter,
    mutate::{self, Protection},
    relay::Relay,
    spans,
};

/// The pipeline's side of [`Ingest`].
#[derive(Clone, Debug)]
pub struct Ingestor {
    pub store: Store,
    pub relay: Relay,
    pub routes: Arc<Routes>,
    pub limits: Limits,
    pub events: Events,
    pub doorkeeper: Arc<Doorkeeper>,
    pub files: Files,
    pub commands: CommandOptions,
}

#[async_trait]
impl Ingest for Ingestor {
    async fn ingest(&self, instance: &Instance, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError> {
        let started = Instant::now();
        let ingested = self.accept((instance, platform), incoming, started).await;
        meter::reported(instance, platform, started, &ingested);
        ingested
    }

    async fn status(&self, instance: &Instance, message: MessageId) -> Result<Option<MessageStatus>, IngestError> {
        let record = self.store.message(message).await.map_err(unavailable)?;
        let Some(record) = record.filter(|r| r.instance == *instance) else { return Ok(None) };
        let answer = match record.answered_with {
            Some(with) => self.store.message(with).await.map_err(unavailable)?.map(|record| record.responses),
            None => Some(record.responses),
        };
        Ok(Some(MessageStatus {
            message_id: record.id,
            state: record.state,
            reason: record.reason,
            answer: answer.and_then(|responses| responses.into_iter().next()).map(|r| r.text),
        }))
    }

    async fn history(
        &self,
        platform: &str,
        platform_user_id: &str,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, IngestError> {
        let lines = self.store.history(platform, platform_user_id, limit).await.map_err(unavailable)?;
        let entry = |line: broca_store::HistoryLine| HistoryEntry {
            message_id: line.message,
            text: line.text,
            state: line.state,
            answer: line.answer,
            received_at: line.received_at,
        };
        Ok(lines.into_iter().map(entry).collect())
    }

    async fn cancel(&self, instance: &Instance, message: MessageId, reason: &str) -> Result<Cancelled, IngestError> {
        let record = self.store.message(message).await.map_err(unavailable)?;
        // An answer that waits for its platform is the pipeline's to deliver: only what has not been answered is taken back.
        if !record.is_some_and(|r| r.instance == *instance && !r.state.is_terminal()) {
            return Ok(Cancelled::Over);
        }
        Ok(match self.store.cancel(message, reason).await.map_err(unavailable)? {
            broca_store::Cancelled::Message => Cancelled::Done,
            broca_store::Cancelled::Stopping => Cancelled::Running,
            _ => Cancelled::Over,
        })
    }

    fn attachments(&self) -> AttachmentPolicy {
        self.files.policy.clone()
    }

    async fn standing(
        &self,
        instance: &Instance,
        platform: &str,
        incoming: &Incoming,
    ) -> Result<Standing, IngestError> {
        let route = self.routes.resolve(&facts(instance, platform, incoming)).access;
        self.doorkeeper.standing((instance, platform), incoming, route.as_ref()).await.map_err(unavailable)
    }
}

impl Ingestor {
    async fn accept(
        &self,
        (instance, platform): (&Instance, &str),
        incoming: Incoming,
        started: Instant,
    ) -> Result<Ingested, IngestError> {
        let mut incoming = incoming.checked(&self.limits)?;
        if mutate::is_off(Protection::Dedup) {
            incoming.event_id = format!("{}-{}", incoming.event_id, MessageId::new());
        }
        let platform_trace = incoming.trace;
        let command = self.commands.given(platform, &mut incoming);
        let mut message = self.routed((instance, platform), incoming, command.is_some()).await?;
        self.files.keep(&mut message).await;
        if message.files.iter().any(|file| file.object.is_some()) {
            point(CrashPoint::FileKept);
        }
        let said = command.as_ref().map(|_| message.incoming.clone());
        let (text, trace, files) = (message.incoming.text.clone(), message.trace, message.files.clone());
        let (person, chat) = (message.incoming.sender.platform_user_id.clone(), message.incoming.chat_id.clone());
        match self.store.ingest(message).await.map_err(unavailable)? {
            Accepted::New { message, conversation, outbox, at } => {
                point(CrashPoint::Ingested);
                files.iter().for_each(|file| meter::came_with(instance, platform, file));
                spans::accepted(trace, platform_trace, (instance, message), started);
                self.events.accepted(instance, || events::accepted(message, conversation, person, chat));
                self.relay.publish_soon(Owed {
                    id: outbox,
                    what: OwedKind::Wake,
                    instance: instance.clone(),
                    message,
                    conversation,
                    text,
                    trace: Some(trace),
                    at,
                });
                tracing::debug!(message_id = %message, %conversation, %instance, "accepted");
                Ok(Ingested::New(message))
            }
            Accepted::Duplicate { message } => {
                // The first time, its process may have died before it obeyed.
                if let Some((command, said)) = command.zip(said) {
                    self.obey((instance, platform), message, (command, said)).await?;
                }
                Ok(Ingested::Duplicate(message))
            }
            Accepted::Suppressed { message, suppression: Suppression { reason: Reason::Command, .. }, .. } => {
                point(CrashPoint::CommandStored);
                if let Some((command, said)) = command.zip(said) {
                    self.obey((instance, platform), message, (command, said)).await?;
                }
                tracing::debug!(message_id = %message, %instance, "a command");
                Ok(Ingested::New(message))
            }
            Accepted::Suppressed { message, suppression, notice } => {
                if let Some(notice) = notice {
                    self.relay.publish_soon(*notice);
                }
                tracing::debug!(message_id = %message, %instance, reason = %suppression.reason, "suppressed");
                Ok(Ingested::Suppressed(message, suppression.reason))
            }
        }
    }

    /// Has a command obeyed that is stored, and its reply sent.
    async fn obey(
        &self,
        (instance, platform): (&Instance, &str),
        message: MessageId,
        (command, said): (Given, Incoming),
    ) -> Result<(), IngestError> {
        let standing = self.standing(instance, platform, &said).await?;
        if let Some(reply) = self.commands.obey(&self.store, message, (command, standing)).await.map_err(unavailable)? {
            self.relay.publish_soon(reply);
        }
        Ok(())
    }

    async fn routed(
        &self,
        (instance, platform): (&Instance, &str),
        incoming: Incoming,
        is_command: bool,
    ) -> Result<NewMessage, IngestError> {
        let resolved = self.routes.resolve(&facts(instance, platform, &incoming));
        let admission = self.doorkeeper.admit((instance, platform), &incoming, resolved.access.as_ref());
        let admission = match admission.await.map_err(unavailable)? {
            Admission::Open if is_command => Admission::Command { allowance: None },
            Admission::Within { allowance, .. } if is_command => Admission::Command { allowance: Some(allowance) },
            admission => admission,
        };
        Ok(NewMessage {
            id: MessageId::new(),
            instance: instance.clone(),
            platform: platform.to_owned(),
            trace: incoming.trace.map_or_else(TraceParent::random, TraceParent::child),
            incoming,
            files: Vec::new(),
            route: resolved.route,
            agent: resolved.agent,
            scope: resolved.scope,
            admission,
        })
    }
}

fn facts<'a>(instance: &'a Instance, platform: &'a str, incoming: &'a Incoming) -> Facts<'a> {
    Facts {
        instance,
        platform,
        platform_user_id: &incoming.sender.platform_user_id,
        chat_id: incoming.chat_id.as_deref(),
        is_group: incoming.is_group,
    }
}

fn unavailable(error: broca_store::StoreError) -> IngestError {
    IngestError::Unavailable(error.to_string())
}
