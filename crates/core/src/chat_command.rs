//! Commands that Broca itself understands in a chat, whatever the platform: `/link`, by which a person shows that two
//! accounts are theirs, and those of admins. They are stored like any message, and no agent hears of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{Standing, typed_code};

/// Which commands an instance takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChatCommands {
    /// `/link` and `/unlink`, of everybody who may talk.
    pub link: bool,
    /// Those of admins and of the owner.
    pub admin: bool,
    /// Those of admins also in groups, where everybody reads them and what they are answered.
    pub groups: bool,
}

impl Default for ChatCommands {
    fn default() -> Self {
        Self { link: true, admin: false, groups: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatCommand {
    /// With the code that was given on another account, or to be given one.
    Link(Option<String>),
    /// This account is to be a person of its own again.
    Unlink,
    Admin(AdminCommand),
}

/// What is asked for, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminCommand {
    pub word: AdminWord,
    pub arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminWord {
    Admin,
    Pipeline,
    Hold,
    Release,
    Approve,
    Mode,
}

impl AdminWord {
    pub const ALL: [Self; 6] = [Self::Admin, Self::Pipeline, Self::Hold, Self::Release, Self::Approve, Self::Mode];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Pipeline => "pipeline",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Approve => "approve",
            Self::Mode => "mode",
        }
    }

    /// Whether somebody of that standing may give it.
    pub fn is_for(self, standing: Standing) -> bool {
        match self {
            Self::Mode => standing == Standing::Owner,
            _ => matches!(standing, Standing::Owner | Standing::Admin),
        }
    }

    /// How it is written.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Admin => "/admin: these commands",
            Self::Pipeline => "/pipeline: how everything stands",
            Self::Hold => "/hold agent|route|instance|user|conversation NAME REASON: keeps its messages back",
            Self::Release => "/release agent|route|instance|user|conversation NAME: ends that",
            Self::Approve => "/approve CODE: lets in whoever was given the code",
            Self::Mode => "/mode echo|listen|live REASON: what is done with messages (the owner alone)",
        }
    }
}

impl ChatCommands {
    /// The command that a text is. What only begins like one is a message.
    pub fn read(&self, text: &str) -> Option<ChatCommand> {
        let (name, mut rest) = named(text)?;
        let admin = AdminWord::ALL.into_iter().find(|word| word.as_str() == name);
        match (name.as_str(), rest.next(), rest.next()) {
            ("link", code, None) if self.link => Some(ChatCommand::Link(code.map(typed_code))),
            ("unlink", None, _) if self.link => Some(ChatCommand::Unlink),
            (_, first, second) if self.admin => {
                let arguments = first.into_iter().chain(second).chain(rest).map(str::to_owned).collect();
                Some(ChatCommand::Admin(AdminCommand { word: admin?, arguments }))
            }
            _ => None,
        }
    }
}

/// Whether the text begins with the name of one of these commands, wherever they are taken.
pub fn is_named(text: &str) -> bool {
    let own = |name: &str| matches!(name, "link" | "unlink") || AdminWord::ALL.iter().any(|w| w.as_str() == name);
    named(text).is_some_and(|(name, _)| own(&name))
}

/// `/hold@some_bot agent x`: `hold`, and the words behind it.
fn named(text: &str) -> Option<(String, std::str::SplitWhitespace<'_>)> {
    let mut words = text.split_whitespace();
    let word = words.next()?.strip_prefix('/')?;
    let name = word.split_once('@').map_or(word, |(name, _)| name);
    Some((name.to_ascii_lowercase(), words))
}

impl ChatCommand {
    /// As it is kept: a code is nobody's business.
    pub fn for_the_record(&self) -> String {
        match self {
            Self::Link(None) => "/link".to_owned(),
            Self::Link(Some(_)) => "/link ********".to_owned(),
            Self::Unlink => "/unlink".to_owned(),
            Self::Admin(AdminCommand { word, arguments }) => {
                [&[format!("/{}", word.as_str())], arguments.as_slice()].concat().join(" ")
            }
        }
    }
}

pub const IN_PRIVATE: &str = "This is not done in a group: write it in our own chat.";
pub const FOR_ADMINS: &str = "This command is for this bot's admins.";
pub const FOR_THE_OWNER: &str = "This command is for this bot's owner.";
pub const TOO_MANY_TRIES: &str = "That were too many wrong codes. Try again in an hour.";
pub const NO_SUCH_CODE: &str = "This is no code that is good now. Write /link on your other account, and within a few minutes here what you are told there.";
pub const OWN_CODE: &str = "This code was given to this very account. Write it on your other one.";
pub const LINKED: &str =
    "This account and the one that the code was given to are one person's now. /unlink parts them.";
pub const LINKED_BEFORE: &str = "These two accounts are one person's already.";
pub const NOT_NOW: &str = "This cannot be done now: whoever runs this bot keeps something of yours back. Ask them.";
pub const UNLINKED: &str = "This account is a person of its own again.";
pub const NOT_LINKED: &str = "This account is linked to no other.";

/// What somebody is told who asks for a code.
pub fn told_code(code: &str, life: Duration) -> String {
    let minutes = life.as_secs().div_ceil(60);
    format!(
        "To link another account of yours with this one, write there within {minutes} minutes:\n/link {code}\n\
         Give the code to nobody: whoever writes it is taken for you."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: ChatCommands = ChatCommands { link: true, admin: true, groups: false };

    fn admin(word: AdminWord, arguments: &[&str]) -> Option<ChatCommand> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        Some(ChatCommand::Admin(AdminCommand { word, arguments }))
    }

    #[test]
    fn commands_are_told_from_messages() {
        assert_eq!(ALL.read("/link"), Some(ChatCommand::Link(None)));
        assert_eq!(ALL.read(" /Link@my_bot abcd-2345 "), Some(ChatCommand::Link(Some("ABCD2345".into()))));
        assert_eq!(ALL.read("/unlink"), Some(ChatCommand::Unlink));
        assert_eq!(
            ALL.read("/hold agent support it is odd"),
            admin(AdminWord::Hold, &["agent", "support", "it", "is", "odd"])
        );
        assert_eq!(ALL.read("/pipeline"), admin(AdminWord::Pipeline, &[]));
        for message in ["link me", "/link the two pages", "/unlink this", "/weather", "/", "", "see /link"] {
            assert_eq!(ALL.read(message), None, "{message}");
        }
    }

    #[test]
    fn what_is_switched_off_is_a_message() {
        let usual = ChatCommands::default();
        assert_eq!((usual.read("/link"), usual.read("/hold agent x")), (Some(ChatCommand::Link(None)), None));
        let none = ChatCommands { link: false, ..usual };
        assert_eq!((none.read("/link"), none.read("/unlink")), (None, None));
        assert!(is_named("/HOLD x") && is_named("/link") && !is_named("/help"));
    }

    #[test]
    fn a_mode_is_the_owners_and_a_code_is_nobodys_business() {
        assert!(AdminWord::Mode.is_for(Standing::Owner) && !AdminWord::Mode.is_for(Standing::Admin));
        assert!(AdminWord::Hold.is_for(Standing::Admin) && !AdminWord::Hold.is_for(Standing::User));
        assert_eq!(ALL.read("/link ABCD2345").unwrap().for_the_record(), "/link ********");
        assert_eq!(ALL.read("/hold agent x").unwrap().for_the_record(), "/hold agent x");
    }
}
