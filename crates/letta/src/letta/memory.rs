//! One block of the agent's core memory for each person, as the original Broca has it: attached for the turn, with the
//! prompt compiled anew, because Letta 0.16.8 shows a conversation neither an attached block nor a detached one until
//! then.

use async_trait::async_trait;
use broca_core::agent::{Failure, FailureClass};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    LettaAgent, Named,
    http::{Call, CallError},
    refusal_or_unreachable,
};
use crate::{Attachment, Memory};

/// Letta's own limit for a block; what is longer is cut by nobody, but refused to the agent's tools.
const LIMIT: u32 = 5_000;

#[derive(Deserialize)]
struct Block {
    id: String,
    label: Option<String>,
}

impl LettaAgent {
    fn label(&self) -> &str {
        self.options.user_block.as_deref().unwrap_or_default()
    }

    async fn attached(&self) -> Call<Vec<Block>> {
        self.http.get(&["agents", &self.options.agent_id, "core-memory", "blocks"], &[("limit", "1000")], None).await
    }

    /// Also where none is made any more: the person may have had one.
    async fn forget_identity(&self, block: &str) -> Call<()> {
        let key = key_of(block);
        let found = self.http.get::<Vec<Named>>(&["identities", ""], &[("identifier_key", &key)], None).await;
        let found = match found {
            // A server without identities.
            Err(CallError::Refused(refusal)) if refusal.status == 404 => return Ok(()),
            found => found?,
        };
        for identity in found {
            or_gone(self.http.delete(&["identities", &identity.id]).await)?;
        }
        Ok(())
    }

    async fn patch_block(&self, how: &str, block: &str) -> Call<()> {
        self.http.patch(&["agents", &self.options.agent_id, "core-memory", "blocks", how, block]).await
    }
}

/// The key of an identity: its block's own, so that no row need remember it.
fn key_of(block: &str) -> String {
    format!("broca_user_{}", block.trim_start_matches("block-").replace('-', ""))
}

/// What is not there needs nothing done.
fn or_gone(answer: Call<()>) -> Call<()> {
    match answer {
        Err(CallError::Refused(refusal)) if refusal.status == 404 => Ok(()),
        answer => answer,
    }
}

#[async_trait]
impl Memory for LettaAgent {
    fn agent(&self) -> String {
        format!("{} {}", self.http.base(), self.options.agent_id)
    }

    async fn create(&self, value: &str) -> Result<String, Failure> {
        let body = json!({
            "label": self.label(), "value": value, "limit": LIMIT,
            "description": "What is known of the person who writes.",
        });
        let made = self.http.post::<Named>(&["blocks", ""], &[], &body, None).await;
        made.map(|block| block.id).map_err(|error| refusal_or_unreachable(&error, "create a block"))
    }

    async fn attach(&self, block: &str) -> Result<Attachment, Failure> {
        match self.patch_block("attach", block).await {
            Ok(()) => Ok(Attachment::Done),
            Err(CallError::Refused(refusal)) if refusal.status == 404 => Ok(Attachment::NoBlock),
            // Another block has the label; of the same one 0.16.8 says that it is attached.
            Err(CallError::Refused(refusal)) if refusal.status == 409 => {
                let there = self.attached().await.map_err(|error| refusal_or_unreachable(&error, "list blocks"))?;
                let named = there.into_iter().filter(|found| found.label.as_deref() == Some(self.label()));
                let named: Vec<String> = named.map(|found| found.id).collect();
                Ok(if named.iter().any(|id| id == block) { Attachment::Done } else { Attachment::Taken(named) })
            }
            Err(error) => Err(refusal_or_unreachable(&error, "attach a block")),
        }
    }

    async fn detach(&self, block: &str) -> Result<(), Failure> {
        or_gone(self.patch_block("detach", block).await)
            .map_err(|error| refusal_or_unreachable(&error, "detach a block"))
    }

    async fn list(&self) -> Result<Vec<String>, Failure> {
        let there = self.attached().await.map_err(|error| refusal_or_unreachable(&error, "list blocks"))?;
        Ok(there.into_iter().map(|block| block.id).collect())
    }

    async fn recompile(&self, conversation: &str) -> Result<(), Failure> {
        let answer =
            self.http.post::<Value>(&["conversations", conversation, "recompile"], &[], &json!({}), None).await;
        or_gone(answer.map(drop)).map_err(|error| refusal_or_unreachable(&error, "compile a prompt"))
    }

    async fn identify(&self, block: &str, name: &str) -> Result<Option<String>, Failure> {
        if !self.options.user_identity {
            return Ok(None);
        }
        let person =
            json!({"identifier_key": key_of(block), "name": name, "identity_type": "user", "block_ids": [block]});
        let kept = self.http.put::<Named>(&["identities", ""], &person).await;
        kept.map(|identity| Some(identity.id)).map_err(|error| refusal_or_unreachable(&error, "keep an identity"))
    }

    async fn delete(&self, block: &str) -> Result<(), Failure> {
        self.forget_identity(block).await.map_err(|error| refusal_or_unreachable(&error, "delete an identity"))?;
        or_gone(self.http.delete(&["blocks", block]).await)
            .map_err(|error| refusal_or_unreachable(&error, "delete a block"))
    }

    fn is_taken(&self) -> Failure {
        let reason = format!(
            "the agent has a block '{}' of its own, so no person's can be attached: detach it in Letta, or set another \
             user_memory_label",
            self.label()
        );
        Failure::new(FailureClass::Misconfigured, reason)
    }
}
