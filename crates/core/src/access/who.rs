//! How an operator names somebody: by the platform's id, or by a user name.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// `telegram/7`, `7`, `telegram/@alice` or `@alice`. Without a platform it is whoever has that id or name on any.
///
/// An id without a platform has no `/`; names are told by their `@`, and compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Who {
    pub platform: Option<String>,
    pub is: Named,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// The platform's own id of a person: nobody else gets it.
    Id(String),
    /// Without the `@`, in small letters. Names can be given up and taken by others.
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' names nobody: use the platform's id (telegram/7, or 7 for any platform) or a user name (telegram/@alice)"
)]
pub struct NamesNobody(String);

impl Who {
    pub fn id(platform: &str, id: &str) -> Self {
        Self { platform: Some(platform.to_owned()), is: Named::Id(id.to_owned()) }
    }

    pub fn is(&self, platform: &str, id: &str, username: Option<&str>) -> bool {
        self.platform.as_deref().is_none_or(|wanted| wanted == platform)
            && match &self.is {
                Named::Id(wanted) => wanted == id,
                Named::Name(wanted) => username.is_some_and(|name| plain(name) == *wanted),
            }
    }
}

/// A user name as it is compared.
pub(super) fn plain(name: &str) -> String {
    name.trim_start_matches('@').to_lowercase()
}

impl FromStr for Who {
    type Err = NamesNobody;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nobody = || NamesNobody(text.chars().take(64).collect());
        let (platform, rest) = match text.split_once('/') {
            Some((platform, rest)) => (Some(platform), rest),
            None => (None, text),
        };
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if platform.is_some_and(|name| name.is_empty() || !name.chars().all(legal)) {
            return Err(nobody());
        }
        let is = match rest.strip_prefix('@') {
            Some(name) => Named::Name(plain(name)),
            None => Named::Id(rest.to_owned()),
        };
        let (Named::Id(said) | Named::Name(said)) = &is;
        if said.is_empty() || said.trim() != said || said.chars().any(char::is_control) {
            return Err(nobody());
        }
        Ok(Self { platform: platform.map(str::to_owned), is })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(platform) = &self.platform {
            write!(f, "{platform}/")?;
        }
        match &self.is {
            Named::Id(id) => f.write_str(id),
            Named::Name(name) => write!(f, "@{name}"),
        }
    }
}

impl TryFrom<String> for Who {
    type Error = NamesNobody;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl JsonSchema for Who {
    fn schema_name() -> Cow<'static, str> {
        "Who".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The platform's id of a person, on one platform or on any, or a user name behind an @.",
            "examples": ["telegram/7", "7", "telegram/@alice"],
        })
    }
}

impl From<Who> for String {
    fn from(who: Who) -> Self {
        who.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "([a-z-]{1,8}/)?@?[A-Za-z0-9_./:-]{1,12}") {
            if let Ok(who) = text.parse::<Who>() {
                prop_assert_eq!(who.to_string().parse(), Ok(who));
            }
        }
    }

    #[test]
    fn people_are_found_by_id_and_by_name() {
        let who = |text: &str| text.parse::<Who>().unwrap();
        assert!(who("telegram/7").is("telegram", "7", None) && who("7").is("telegram", "7", None));
        assert!(!who("telegram/7").is("slack", "7", None) && !who("7").is("telegram", "77", None));
        assert!(who("@Alice").is("slack", "1", Some("aLICE")) && !who("@alice").is("slack", "alice", None));
        assert!(who("webhook/team/7").is("webhook", "team/7", None));
        for nobody in ["", "@", "telegram/", "/7", "Telegram/7", " 7", "telegram/@"] {
            assert!(nobody.parse::<Who>().is_err(), "{nobody}");
        }
    }
}
