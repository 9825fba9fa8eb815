//! Who asks, which way they came, and what they may.

use broca_core::rights::Access;
use broca_store::Via;

use super::{Code, Facts, OperationError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the record: `cli:ann`, `http:<token>`, `mcp:<token>`, `dashboard:<token>`.
    pub name: String,
    pub via: Via,
    pub access: Access,
    /// They may read what people and agents wrote.
    pub contents: bool,
}

impl Caller {
    /// Somebody at a terminal, who has the database's address and so everything.
    pub fn local(name: impl Into<String>) -> Self {
        Self { name: name.into(), via: Via::Cli, access: Access::Admin, contents: true }
    }

    /// Whether they may do this.
    pub fn may(&self, facts: &Facts) -> Result<(), OperationError> {
        if let Some(why) = facts.why_not(self.via) {
            return Err(OperationError::new(Code::Unauthorised, format!("{} is not done this way: {why}", facts.name)));
        }
        if self.access >= facts.access {
            return Ok(());
        }
        let (needed, has) = (facts.access, self.access);
        Err(OperationError::new(
            Code::Unauthorised,
            format!("{} needs {needed} access, and you have {has}", facts.name),
        )
        .hint("ask an administrator for another token (`broca token add`)"))
    }

    /// Whether they may read what people and agents wrote, also by asking which message has what.
    pub fn may_read_contents(&self, what: &str) -> Result<(), OperationError> {
        if self.contents {
            return Ok(());
        }
        Err(OperationError::new(Code::Unauthorised, format!("{what} needs a token that may read contents"))
            .hint("leave it out, or ask for a token made with --contents"))
    }
}
