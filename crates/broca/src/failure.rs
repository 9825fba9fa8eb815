//! How a command fails: a sentence, what to do next, and an exit code that a script can tell apart.

use std::{fmt, process::ExitCode};

use serde::Serialize;

/// The exit codes. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum Code {
    Failure = 1,
    /// Wrong arguments or settings.
    Usage = 2,
    NotFound = 3,
    /// Something else is in the way.
    Conflict = 4,
    Unauthorised = 5,
    /// A server did not answer, or not in time.
    Unavailable = 6,
    /// Some of it was done.
    Partial = 7,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Everything is said already, and this is the exit code.
    said: Option<u8>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, said: None }
    }

    /// The end of a command whose result says what is wrong, e.g. `broca check`.
    pub(crate) fn said(exit_code: u8) -> Self {
        Self { said: Some(exit_code), ..Self::new(Code::Failure, "see above") }
    }

    pub(crate) fn is_said(&self) -> bool {
        self.said.is_some()
    }

    /// What a person should do next.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.said.unwrap_or(self.code as u8))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({"error": {"code": self.code, "message": self.message, "hint": self.hint}})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  help: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::Failure, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Failure, error.to_string())
    }
}

/// Gives an error its code and the words around it.
pub(crate) trait Blame<T> {
    /// `what` says what was being tried.
    fn blame(self, code: Code, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> Blame<T> for Result<T, E> {
    fn blame(self, code: Code, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, format!("{what}: {:#}", error.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_well_for_people_and_for_scripts() {
        let failure = Failure::new(Code::NotFound, "there is no message 7").hint("list them with `broca status`");
        assert_eq!(failure.to_string(), "error: there is no message 7\n  help: list them with `broca status`");
        assert_eq!(failure.json()["error"]["code"], "not_found");
        assert_eq!(failure.exit_code(), ExitCode::from(3));
    }
}
