//! What admins ask for in a chat, done by the same operations as everywhere else, with their account in the audit log.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use broca_admin::operations::{
    AddHold, ApprovePairing, Caller, Code, Deps, HoldOn, ListHolds, NewHold, NewMode, OperationError, ReleaseHolds,
    SetMode, ShowStatus, WhichApproved, WhichHolds, WhichReleased, WhichStatus, perform,
};
use broca_core::{
    Instance,
    access::Standing,
    chat_command::{AdminCommand, AdminWord, FOR_ADMINS, FOR_THE_OWNER, IN_PRIVATE},
    rights::Access,
};
use broca_pipeline::commands::{CommandOptions, Commander, Operator};
use broca_store::{LinkTerms, Via};
use serde_json::json;

use crate::{app::App, failure::Failure};

/// How long a command waits for the broker.
const PATIENCE: Duration = Duration::from_secs(5);

impl App {
    /// Which commands an instance's chats take, and who obeys.
    pub(crate) async fn command_options(&self, instance: &Instance) -> Result<CommandOptions, Failure> {
        let taken = self.config.settings.plugins.get(instance).map(|plugin| plugin.chat_commands).unwrap_or_default();
        let options = CommandOptions { taken, link: LinkTerms::default(), ..CommandOptions::default() };
        if !taken.admin {
            return Ok(options);
        }
        Ok(CommandOptions { operator: Arc::new(ChatOperator { deps: self.patient_deps(PATIENCE).await? }), ..options })
    }
}

struct ChatOperator {
    deps: Deps,
}

impl fmt::Debug for ChatOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatOperator").finish_non_exhaustive()
    }
}

#[async_trait]
impl Operator for ChatOperator {
    async fn operate(&self, by: &Commander, command: &AdminCommand) -> String {
        let (via, contents) = (Via::Chat, false);
        // Who may only read is refused by the operation itself, which writes that down.
        let access = if by.may { Access::Operate } else { Access::Read };
        let caller = Caller { name: by.account.clone(), via, access, contents };
        let done = self.done(&caller, command, by).await;
        tracing::info!(by = by.account, command = command.word.as_str(), ok = done.is_ok(), "a command of an admin's");
        match done {
            Ok(text) => text,
            Err(_) if !by.may => refusal(command.word, by.standing).to_owned(),
            Err(error) => match &error.hint {
                Some(hint) if error.code == Code::Usage => format!("{error}: {hint}"),
                _ => error.to_string(),
            },
        }
    }
}

fn refusal(word: AdminWord, standing: Standing) -> &'static str {
    match standing {
        _ if word.is_for(standing) => IN_PRIVATE,
        Standing::Admin => FOR_THE_OWNER,
        _ => FOR_ADMINS,
    }
}

impl ChatOperator {
    async fn done(&self, caller: &Caller, command: &AdminCommand, by: &Commander) -> Result<String, OperationError> {
        let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        match (command.word, words.as_slice()) {
            (AdminWord::Admin | AdminWord::Pipeline, _) if !by.may => Err(OperationError::new(Code::Unauthorised, "")),
            (AdminWord::Admin, _) => Ok(help(by.standing)),
            (AdminWord::Pipeline, _) => self.pipeline(caller).await,
            (AdminWord::Hold, [kind, name, reason @ ..]) if !reason.is_empty() || !by.may => {
                let request = NewHold { on: hold_on(kind, name)?, reason: reason.join(" "), life: None };
                let hold = perform::<AddHold>(&self.deps, caller, &request).await?;
                Ok(format!("On hold: {}. /release {kind} {name} ends it.", hold.subject))
            }
            (AdminWord::Release, [kind, name]) => self.release(caller, (kind, name)).await,
            (AdminWord::Approve, [code]) => {
                let request = WhichApproved { code: (*code).to_owned(), let_in: false, reason: None };
                let approved = perform::<ApprovePairing>(&self.deps, caller, &request).await?;
                let (platform, id) = (approved.pairing.platform, approved.pairing.platform_user_id);
                Ok(format!("{platform}/{id} may talk now."))
            }
            (AdminWord::Mode, [mode, reason @ ..]) if !reason.is_empty() || !by.may => {
                let reason = Some(reason.join(" "));
                let request: NewMode = understood(json!({"mode": mode, "reason": reason}))?;
                perform::<SetMode>(&self.deps, caller, &request).await?;
                Ok(format!("The mode is {mode} now, wherever no route has its own."))
            }
            _ => self.misunderstood(caller, command.word).await,
        }
    }

    /// What is written in another way, also by somebody who may not.
    async fn misunderstood(&self, caller: &Caller, word: AdminWord) -> Result<String, OperationError> {
        let error = OperationError::new(Code::Usage, "that is not how it is written").hint(word.usage());
        if caller.access == Access::Read {
            Err(OperationError { code: Code::Unauthorised, ..error })
        } else {
            Err(error)
        }
    }

    async fn pipeline(&self, caller: &Caller) -> Result<String, OperationError> {
        let whole = perform::<ShowStatus>(&self.deps, caller, &WhichStatus {}).await?;
        let counts = &whole.status.counts;
        let of = |state: &str| counts.messages.get(state).copied().unwrap_or_default();
        let mut lines = vec![
            format!("Waiting: {}. With an agent: {}. On hold: {}.", of("received"), of("processing"), of("held")),
            format!("Answered: {}. Failed: {}.", of("completed"), of("failed")),
            format!("Workers: {}.", whole.status.pace.workers.len()),
        ];
        lines.extend(whole.status.consumers.into_iter().filter_map(|consumer| consumer.problem));
        Ok(lines.join("\n"))
    }

    async fn release(&self, caller: &Caller, (kind, name): (&str, &str)) -> Result<String, OperationError> {
        let subject = hold_on(kind, name)?.subject(&self.deps).await?;
        let holds = perform::<ListHolds>(&self.deps, caller, &WhichHolds::default()).await?.items;
        let ids: Vec<_> = holds.into_iter().filter(|hold| hold.subject == subject).map(|hold| hold.id).collect();
        if ids.is_empty() && caller.access > Access::Read {
            return Ok(format!("{subject} is not on hold."));
        }
        perform::<ReleaseHolds>(&self.deps, caller, &WhichReleased { ids, reason: None }).await?;
        Ok(format!("Released: {subject}."))
    }
}

fn hold_on(kind: &str, name: &str) -> Result<HoldOn, OperationError> {
    understood(json!({kind: name}))
}

fn understood<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, OperationError> {
    serde_json::from_value(value).map_err(|error| OperationError::new(Code::Usage, error.to_string()))
}

fn help(standing: Standing) -> String {
    let own = AdminWord::ALL.into_iter().filter(|word| word.is_for(standing));
    own.map(AdminWord::usage).collect::<Vec<_>>().join("\n")
}
