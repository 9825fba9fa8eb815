//! What an operator may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Look, and change nothing.
    Read,
    /// What an operator on duty does: hold, cancel, resolve, replay.
    Operate,
    /// What gives or takes rights, or cannot be taken back.
    Admin,
}

impl Access {
    pub const ALL: &'static [Self] = &[Self::Read, Self::Operate, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Access {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|access| access.as_str() == text);
        found.copied().ok_or_else(|| format!("'{text}' is no access: use read, operate or admin"))
    }
}
