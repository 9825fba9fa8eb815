//! The agent that needs nobody: it answers with what it was told.

use std::time::Duration;

use async_trait::async_trait;
use broca_core::{Answer, ConversationId, TurnOutcome, agent::Failure};

use crate::{Agent, AgentConversation, AgentHealth, OpenTurn, RunProgress, Stopped, TurnRequest};

/// Answers with the formatted message, after `delay`. It keeps nothing, so an interrupted turn is just said again.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoAgent {
    pub delay: Duration,
}

#[async_trait]
impl Agent for EchoAgent {
    fn keeps_conversations(&self) -> bool {
        false
    }

    async fn create_conversation(&self, key: ConversationId, _label: &str) -> Result<AgentConversation, TurnOutcome> {
        Ok(format!("echo-{key}"))
    }

    async fn run_turn(&self, request: TurnRequest, _progress: &dyn RunProgress) -> TurnOutcome {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        TurnOutcome::Answered(Answer::text(request.text))
    }

    async fn recover(&self, open: OpenTurn, progress: &dyn RunProgress) -> TurnOutcome {
        self.run_turn(open.request, progress).await
    }

    async fn stop(&self, _open: OpenTurn, _progress: &dyn RunProgress) -> Stopped {
        Stopped::Stopped { heard: false }
    }

    async fn cancel(&self, _conversation: &AgentConversation) -> Result<(), Failure> {
        Ok(())
    }

    async fn delete_conversation(&self, _conversation: &AgentConversation) -> Result<(), Failure> {
        Ok(())
    }

    async fn probe(&self) -> Result<AgentHealth, Failure> {
        Ok(AgentHealth { version: "echo".into(), idempotent: true, detail: "answers with the message itself".into() })
    }
}
