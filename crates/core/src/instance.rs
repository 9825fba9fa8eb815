//! The name of a plugin instance, which is also its token in broker subjects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One platform account served by one plugin process: lower-case letters, digits and `-`, 1 to 32 of them.
/// It defaults to the platform's name; two bots on one platform are two instances.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Instance(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an instance name: use 1 to 32 lower-case letters, digits or '-', e.g. 'telegram' or 'support-bot'"
)]
pub struct InvalidInstance(String);

impl Instance {
    pub const MAX_CHARS: usize = 32;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Instance {
    type Err = InvalidInstance;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=Self::MAX_CHARS).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInstance(name.chars().take(64).collect()))
        }
    }
}

impl TryFrom<String> for Instance {
    type Error = InvalidInstance;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Instance> for String {
    fn from(instance: Instance) -> Self {
        instance.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_parses_is_one_subject_token(name in "\\PC{0,40}") {
            if let Ok(instance) = name.parse::<Instance>() {
                prop_assert!(!instance.as_str().is_empty());
                prop_assert!(!instance.as_str().contains(['.', '*', '>', ' ']));
            }
        }
    }

    #[test]
    fn refuses_what_a_subject_would_misread() {
        for bad in ["", "Telegram", "a.b", "*", ">", "a b", "ä", "a_b", &"a".repeat(33)] {
            assert!(bad.parse::<Instance>().is_err(), "{bad}");
        }
        assert!("support-bot-2".parse::<Instance>().is_ok());
    }
}
