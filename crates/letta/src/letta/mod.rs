//! The Letta REST client (API v1, as Letta 0.16.8 and Letta Cloud serve it).
//!
//! A turn is one `POST /v1/conversations/{id}/messages`, streamed in the background, with the turn's id as `otid`.
//! That is the only form in which Letta recognises a repeated message, and it does so for three hours, with Redis
//! behind it. The way of a turn: `turn` says it and decides, `watch` follows its run, `verdict` judges the end;
//! `search` finds a turn without the key's help, `overdue` ends what does not end, `approval` answers for nobody.
//!
//! A server without Redis refuses background streams (503). The client learns that from the refusal and goes on with
//! foreground streams, where a lost turn is found by its stored message or not at all.
//!
//! What each answer and each failure of Letta means is one table, `crates/letta/README.md`; a test plays every line of it.
//!
//! No call is retried below this module, and no message is sent twice unless Letta recognises its key or is known
//! not to have it. Message text is never logged and never part of a reason.

mod ability;
mod approval;
mod http;
mod memory;
mod options;
mod overdue;
mod pause;
mod refusal;
mod search;
mod sse;
mod stop;
mod turn;
mod verdict;
mod watch;
mod wire;

use async_trait::async_trait;
use broca_core::{
    ConversationId, TurnOutcome,
    agent::{Failure, FailureClass},
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub use self::options::{LettaError, LettaOptions, server_of};
use self::{
    ability::Ability,
    http::{Call, CallError, Http},
    turn::{Fate, Turn},
};
use crate::{Agent, AgentConversation, AgentHealth, Memory, OpenTurn, RunProgress, Stopped, TurnRequest};

/// One agent on a Letta server. Cheap to share, expensive to build: it owns the connections.
#[derive(Debug)]
pub struct LettaAgent {
    http: Http,
    options: LettaOptions,
    ability: Ability,
}

impl LettaAgent {
    /// Builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// The options do not describe a reachable agent, or the process lacks what an HTTP client needs.
    pub fn new(options: LettaOptions) -> Result<Self, LettaError> {
        if options.agent_id.trim().is_empty() {
            return Err(LettaError::AgentId(options.agent_id));
        }
        Ok(Self { http: Http::new(&options)?, options, ability: Ability::default() })
    }

    /// Letta 0.16.8 looks for its Redis before it looks for the run, so the question about one that cannot exist tells
    /// whether it recognises keys, and leaves nothing behind. Any other answer tells nothing: the next turn will.
    async fn ask_about_keys(&self) {
        let body = json!({"agent_id": self.options.agent_id, "run_id": format!("run-{}", Uuid::new_v4())});
        match self.http.open(&["conversations", "default", "stream"], &body, None).await {
            Err(CallError::Refused(refusal)) if refusal.needs_redis => self.ability.learn(false),
            Err(CallError::Refused(refusal)) if refusal.status == 404 => self.ability.learn(true),
            Ok(_) | Err(_) => {}
        }
    }

    async fn cancel_runs(&self, conversation: &AgentConversation) -> Call<()> {
        let path = ["conversations", conversation.as_str(), "cancel"];
        match self.http.post::<Value>(&path, &[], &json!({}), None).await {
            // 409: nothing runs that could be cancelled.
            Err(CallError::Refused(refusal)) if refusal.status == 409 => Ok(()),
            answer => answer.map(|_| ()),
        }
    }
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
struct Health {
    version: String,
}

#[async_trait]
impl Agent for LettaAgent {
    fn endpoint(&self) -> Option<&str> {
        Some(self.http.base())
    }

    /// An interrupted creation may leave an empty conversation behind; it does no harm.
    async fn create_conversation(&self, _key: ConversationId, label: &str) -> Result<AgentConversation, TurnOutcome> {
        let query = [("agent_id", self.options.agent_id.as_str())];
        let body = json!({"summary": label});
        match self.http.post::<Named>(&["conversations", ""], &query, &body, None).await {
            Ok(conversation) => Ok(conversation.id),
            Err(CallError::Refused(refusal)) => Err(refusal.outcome("create a conversation")),
            Err(error) => Err(TurnOutcome::Retry { after: None, failure: unreachable(&error) }),
        }
    }

    async fn run_turn(&self, request: TurnRequest, progress: &dyn RunProgress) -> TurnOutcome {
        Turn::fresh(self, &request, progress).drive(Fate::Unsaid).await
    }

    async fn recover(&self, open: OpenTurn, progress: &dyn RunProgress) -> TurnOutcome {
        let turn = Turn::taken_over(self, &open, progress);
        match &open.run {
            Some(run) => turn.attach(run.clone(), open.seq).await,
            None => turn.drive(Fate::Open).await,
        }
    }

    async fn stop(&self, open: OpenTurn, progress: &dyn RunProgress) -> Stopped {
        Turn::taken_over(self, &open, progress).stop(open.run.clone()).await
    }

    async fn cancel(&self, conversation: &AgentConversation) -> Result<(), Failure> {
        self.cancel_runs(conversation)
            .await
            .map_err(|error| refusal_or_unreachable(&error, "cancel a conversation's run"))
    }

    async fn delete_conversation(&self, conversation: &AgentConversation) -> Result<(), Failure> {
        match self.http.delete(&["conversations", conversation.as_str()]).await {
            Err(CallError::Refused(refusal)) if refusal.status == 404 => Ok(()),
            answer => answer.map_err(|error| refusal_or_unreachable(&error, "delete a conversation")),
        }
    }

    fn memory(&self) -> Option<&dyn Memory> {
        self.options.user_block.is_some().then_some(self as &dyn Memory)
    }

    async fn probe(&self) -> Result<AgentHealth, Failure> {
        let health: Health = self
            .http
            .get(&["health", ""], &[], None)
            .await
            .map_err(|error| refusal_or_unreachable(&error, "tell its health"))?;
        let agent = self.http.get::<Named>(&["agents", &self.options.agent_id], &[], None).await;
        match agent {
            Ok(_) => {}
            Err(CallError::Refused(refusal)) if refusal.status == 404 => {
                let reason = format!("the Letta server has no agent {}; check the agent id", self.options.agent_id);
                return Err(Failure::new(FailureClass::NotFound, reason));
            }
            Err(error) => return Err(refusal_or_unreachable(&error, "show the agent")),
        }
        self.ask_about_keys().await;
        Ok(AgentHealth {
            version: health.version,
            idempotent: self.ability.known() == Some(true),
            detail: self.ability.describe().to_owned(),
        })
    }
}

fn refusal_or_unreachable(error: &CallError, what: &str) -> Failure {
    match error {
        CallError::Refused(refusal) => refusal.failure(what),
        other => unreachable(other),
    }
}

fn unreachable(error: &CallError) -> Failure {
    match error {
        CallError::NotSent(why) | CallError::Lost(why) => Failure::new(
            FailureClass::Unavailable,
            format!("Letta does not answer ({why}); check that it runs and the agent's endpoint"),
        ),
        CallError::Garbled(why) => Failure::new(
            FailureClass::Protocol,
            format!("the endpoint does not answer like Letta ({why}); check the address"),
        ),
        CallError::TooLong => Failure::new(
            FailureClass::Protocol,
            "the endpoint's answer is longer than anything that Letta says; check the address".to_owned(),
        ),
        CallError::Refused(refusal) => refusal.failure("answer"),
    }
}
