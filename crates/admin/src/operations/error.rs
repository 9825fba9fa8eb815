//! How an operation fails, in the same words and with the same code for every caller.

use broca_bus::BusError;
use broca_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::AccessError, backlog::BacklogError, control::ControlError, dead_letters::PurgeError, holds::HoldError,
    journey::ShowError, live::LiveError, person::PersonError, replay::ReplayError, status::StatusError,
};

/// What kind of failure it is. The numbers are the command line's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Code {
    Failure = 1,
    /// The request is wrong.
    Usage = 2,
    NotFound = 3,
    /// Something else is in the way.
    Conflict = 4,
    /// Nobody knows who asks, or they may not.
    Unauthorised = 5,
    /// A server did not answer, or not in time. Try again.
    Unavailable = 6,
}

/// Why an operation did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[error("{message}")]
pub struct OperationError {
    pub code: Code,
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl OperationError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// As every caller shows it.
    pub fn json(&self) -> Value {
        json!({"error": self})
    }
}

pub(crate) fn unknown_message(id: &impl std::fmt::Display) -> OperationError {
    OperationError::new(Code::NotFound, format!("there is no message {id}"))
        .hint("is this the right database? `broca config show` prints which one is asked")
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Url { .. } => Code::Usage,
            StoreError::NotMigrated { .. } | StoreError::Refused(_) => Code::Conflict,
            error if error.is_transient() => Code::Unavailable,
            _ => Code::Failure,
        };
        Self::new(code, error.to_string())
    }
}

impl From<BusError> for OperationError {
    fn from(error: BusError) -> Self {
        let code = match &error {
            BusError::Unauthorised { .. } => Code::Unauthorised,
            BusError::Options(_) => Code::Usage,
            BusError::MissingConsumer { .. } => Code::NotFound,
            BusError::WrongConsumer { .. } | BusError::Changed { .. } => Code::Conflict,
            error if error.is_transient() => Code::Unavailable,
            _ => Code::Failure,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StatusError> for OperationError {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::Store(error) => error.into(),
            StatusError::Bus(error) => error.into(),
        }
    }
}

impl From<PurgeError> for OperationError {
    fn from(error: PurgeError) -> Self {
        match error {
            PurgeError::Store(error) => error.into(),
            PurgeError::Bus(error) => error.into(),
        }
    }
}

impl From<ShowError> for OperationError {
    fn from(error: ShowError) -> Self {
        match error {
            ShowError::Unknown(id) => unknown_message(&id),
            ShowError::NotYet { .. } => Self::new(Code::NotFound, error.to_string()),
            ShowError::Store(error) => error.into(),
        }
    }
}

impl From<ReplayError> for OperationError {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Store(error) => return error.into(),
            ReplayError::NoPlan(_) => Code::NotFound,
            ReplayError::Expired { .. } | ReplayError::OfBacklog(_) => Code::Conflict,
            ReplayError::Text(_) => Code::Usage,
        };
        Self::new(code, error.to_string())
    }
}

impl From<HoldError> for OperationError {
    fn from(error: HoldError) -> Self {
        let (code, hint) = match &error {
            HoldError::Store(error) => return error.clone().into(),
            HoldError::Already(hold) => (Code::Conflict, format!("`broca hold release {}` ends it", hold.id)),
            HoldError::Unknown(_) => (Code::NotFound, "`broca hold list --all` has them all".to_owned()),
            HoldError::NoConversation(_) => (Code::NotFound, "`broca message show ID` names it".to_owned()),
            HoldError::Nobody(_) => (Code::NotFound, "they must have written at least once".to_owned()),
            HoldError::Several(..) => (Code::Conflict, "say which: PLATFORM/ID".to_owned()),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}

impl From<AccessError> for OperationError {
    fn from(error: AccessError) -> Self {
        let message = error.to_string();
        let (code, hint) = match error {
            AccessError::Store(error) => return error.into(),
            AccessError::Person(error) => return error.into(),
            AccessError::Replay(error) => {
                let hint = "approve the code again to let the message in";
                return Self { message, ..Self::from(error) }.hint(hint);
            }
            AccessError::NoRule(_) => (Code::NotFound, "`broca access list` and `broca ignore list` have them all"),
            AccessError::NoCode(_) => (Code::NotFound, "`broca pairing list` has them all"),
            AccessError::NotOpen(_) => (Code::Conflict, "`broca pairing list --all` tells what became of it"),
            AccessError::NamesNobody(_) | AccessError::NoList(_) => (Code::Usage, "nothing was changed"),
        };
        Self::new(code, message).hint(hint)
    }
}

impl From<PersonError> for OperationError {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Store(error) => error.into(),
            PersonError::Nobody(error) => error.into(),
            error => Self::new(Code::Usage, error.to_string()),
        }
    }
}

impl From<BacklogError> for OperationError {
    fn from(error: BacklogError) -> Self {
        let code = match error {
            BacklogError::Store(error) => return error.into(),
            BacklogError::NoPlan(_) => Code::NotFound,
            BacklogError::Expired(_) | BacklogError::Replays(_) => Code::Conflict,
        };
        Self::new(code, error.to_string())
    }
}

impl From<LiveError> for OperationError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Store(error) => error.into(),
            LiveError::Bus(error) => error.into(),
            LiveError::Unreadable { .. } => Self::new(Code::Conflict, error.to_string())
                .hint("is another version of Broca at work? `nats kv del` of that key takes it away"),
        }
    }
}

impl From<ControlError> for OperationError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Bus(error) => error.into(),
            ControlError::Unreadable { .. } => Self::new(Code::Failure, error.to_string()),
        }
    }
}
