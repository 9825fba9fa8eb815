use broca_core::{Instance, MessageId, rights::Access};
use broca_store::Cancelled;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Acting, Code, Deps, Effect, Facts, Foreseen, Moment, Operation, OperationError, WhichMessage,
    error::unknown_message,
};
use crate::{
    cancel::{Cancel, CancelReport, cancel},
    explain::{Explanation, explain},
    journey::{Shown, show},
};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichShown {
    pub id: WhichMessage,
    /// As it stood then.
    #[serde(default)]
    pub at: Option<Moment>,
}

#[derive(Debug)]
pub struct ShowMessage;

impl Operation for ShowMessage {
    type Request = WhichShown;
    type Answer = Shown;
    const FACTS: Facts = Facts {
        name: "message.show",
        summary: "One message and its journey: every step from its acceptance on, now or as it stood at some time.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "message show",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichShown) -> Result<Shown, OperationError> {
        let id = request.id.find(act.store()).await?;
        let at = match request.at {
            Some(moment) => Some(moment.at(act.store().now().await?)),
            None => None,
        };
        Ok(show(act.store(), id, at).await?)
    }
}

/// One of `id`, and `instance` with `event`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichExplained {
    pub id: Option<WhichMessage>,
    /// The plugin instance that an event came through.
    pub instance: Option<Instance>,
    /// The platform's own id of the event.
    pub event: Option<String>,
}

impl WhichExplained {
    async fn find(&self, deps: &Deps) -> Result<MessageId, OperationError> {
        match (&self.id, &self.instance, &self.event) {
            (Some(id), None, None) => id.find(&deps.store).await,
            (None, Some(instance), Some(event)) => {
                let found = deps.store.message_of_event(instance, event).await?;
                found.ok_or_else(|| {
                    let message = format!("no event {event} was accepted through {instance}");
                    OperationError::new(Code::NotFound, message)
                        .hint("its plugin's log says whether the platform reported it, and what was wrong with it")
                })
            }
            _ => Err(OperationError::new(Code::Usage, "which message? Give its id, or an instance and an event of it")),
        }
    }
}

#[derive(Debug)]
pub struct ExplainMessage;

impl Operation for ExplainMessage {
    type Request = WhichExplained;
    type Answer = Explanation;
    const FACTS: Facts = Facts {
        name: "message.explain",
        summary: "Why is there no answer? Where a message stands, in a sentence, with the evidence and what comes next.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "explain",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichExplained) -> Result<Explanation, OperationError> {
        let id = request.find(act.deps).await?;
        let explanation = explain(act.store(), id, &act.deps.configured.routes).await?;
        explanation.ok_or_else(|| unknown_message(&id))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichCancelled {
    pub id: MessageId,
    /// Why; kept with the message.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct CancelMessage;

impl Operation for CancelMessage {
    type Request = WhichCancelled;
    type Answer = CancelReport;
    const FACTS: Facts = Facts {
        name: "message.cancel",
        summary: "Ends a message that waits, stops the turn that works on it, or keeps its answer back; a replay brings it back.",
        access: Access::Operate,
        effect: Effect::Destroys { again: false },
        reaches_people: false,
        cli: "message cancel",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichCancelled) -> Result<CancelReport, OperationError> {
        let id = request.id;
        act.about(id);
        if let Some(message) = act.store().message(id).await? {
            act.before(json!({"state": message.state}));
        }
        let asked = Cancel { message: id, actor: act.actor().to_owned(), reason: request.reason.clone() };
        let report = cancel(act.store(), &asked).await?;
        let conflict = |message: String, hint: &str| Err(OperationError::new(Code::Conflict, message).hint(hint));
        match &report.cancelled {
            Cancelled::Message | Cancelled::Answers { .. } | Cancelled::Stopping => Ok(report),
            Cancelled::Over { state } => conflict(
                format!("message {id} is {state}, and no answer of it waits: there is nothing to cancel"),
                "`broca message show ID` tells what became of it",
            ),
            Cancelled::Unknown => Err(unknown_message(&id)),
        }
    }

    async fn foresee(deps: &Deps, request: &WhichCancelled) -> Result<Foreseen, OperationError> {
        let message = deps.store.message(request.id).await?.ok_or_else(|| unknown_message(&request.id))?;
        let would = format!(
            "message {} of {} on {} is {}: end it, stop the turn that works on it, or keep back the answers of it that wait",
            message.id, message.platform_user_id, message.instance, message.state
        );
        Ok(Foreseen::one(would, message.id))
    }
}
