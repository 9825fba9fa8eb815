//! What an operator may set.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use broca_core::{Claim, Response};
use broca_plugin::{PluginError, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gate::{Owner, Writer};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelegramSettings {
    /// The bot's token, as @BotFather gives it.
    pub token: Secret,
    /// The bot API server: Telegram's, or one of your own.
    #[serde(default = "telegram")]
    pub api_url: String,
    /// The one person whom the bot serves, by number (/whoami tells it). Set this or `owner_username`.
    #[serde(default)]
    pub owner_id: Option<i64>,
    /// The one person whom the bot serves, by user name. Names can be given up and taken by others: prefer `owner_id`.
    #[serde(default)]
    pub owner_username: Option<String>,
    /// false: the bot serves everybody.
    #[serde(default = "yes")]
    pub require_owner: bool,
    /// What the bot takes in groups.
    #[serde(default)]
    pub groups: Groups,
    /// Where answers are sent as replies to the message.
    #[serde(default)]
    pub reply: Reply,
    /// What becomes of a message that its writer changes later.
    #[serde(default)]
    pub edits: Edits,
    /// Pictures in an answer are sent as pictures, which Telegram gets from their address; false: as links.
    #[serde(default = "yes")]
    pub images: bool,
    /// The bot is seen typing while the agent works.
    #[serde(default = "yes")]
    pub typing: bool,
    /// Telegram shows a preview of the first link of a message.
    #[serde(default = "yes")]
    pub link_previews: bool,
    /// The address at which Telegram is to call us with each update, https, on port 443, 80, 88 or 8443; without it,
    /// we poll. We listen for its path.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// Where we listen for what the proxy in front of us passes on.
    #[serde(default = "door")]
    pub webhook_listen: SocketAddr,
    /// What Telegram says with each call, 1 to 256 of A-Z, a-z, 0-9, `_` and `-`; without it, one made from the token.
    #[serde(default)]
    pub webhook_secret: Option<Secret>,
    /// Calls of Telegram's at a time.
    #[serde(default = "forty")]
    #[schemars(range(min = 1, max = 100))]
    pub webhook_connections: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// Messages that name the bot or reply to it, and its commands.
    #[default]
    Addressed,
    /// Every message that Telegram shows the bot.
    All,
    Off,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    #[default]
    Groups,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Edits {
    /// It is a new message, marked as an edit.
    #[default]
    New,
    Ignore,
}

/// The public server, where the plugin insists on https.
pub(crate) const TELEGRAM: &str = "https://api.telegram.org";

fn telegram() -> String {
    TELEGRAM.to_owned()
}

fn yes() -> bool {
    true
}

fn door() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8081))
}

fn forty() -> u32 {
    40
}

impl TelegramSettings {
    /// What types and schema cannot say.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let wrong = |what: &str| Err(PluginError::Settings(what.to_owned()));
        let is_http = |url: &str| reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http(&self.api_url) {
            return wrong("api_url is not an http address; leave it out for Telegram's own server");
        }
        if self.require_owner {
            match (self.owner_id, self.owner_name()) {
                (None, None) => {
                    return wrong(
                        "owner_id is missing: set it or owner_username, or require_owner = false to serve everybody. \
                         A bot that serves everybody tells you your id when you send it /whoami",
                    );
                }
                (Some(_), Some(_)) => return wrong("both owner_id and owner_username are set: keep one of them"),
                _ => {}
            }
        }
        if let Some(url) = &self.webhook_url {
            // Only a server of one's own calls addresses without encryption.
            let is_https = url.starts_with("https://");
            if !is_http(url) || (self.api_url == TELEGRAM && !is_https) {
                return wrong("webhook_url is not an https address: Telegram calls no other");
            }
        }
        Ok(())
    }

    /// The part that may change while the plugin runs.
    pub(crate) fn rules(&self) -> Rules {
        let by_name = self.owner_name().map(|name| Owner::Name(name.to_lowercase()));
        Rules {
            owner: self.owner_id.map(Owner::Id).or(by_name).filter(|_| self.require_owner),
            groups: self.groups,
            reply: self.reply,
            edits: self.edits,
            images: self.images,
            typing: self.typing,
            link_previews: self.link_previews,
        }
    }

    /// Whether the other settings differ in nothing but rules.
    pub(crate) fn same_account(&self, other: &Self) -> bool {
        let account = |settings: &Self| Self {
            webhook_url: settings.webhook_url.clone(),
            webhook_listen: settings.webhook_listen,
            webhook_secret: settings.webhook_secret.clone(),
            webhook_connections: settings.webhook_connections,
            token: settings.token.clone(),
            api_url: settings.api_url.clone(),
            ..self.clone()
        };
        account(self) == account(other)
    }

    fn owner_name(&self) -> Option<&str> {
        let name = self.owner_username.as_deref()?.trim().trim_start_matches('@');
        Some(name).filter(|name| !name.is_empty())
    }
}

/// How the plugin behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// `None` serves everybody.
    pub(crate) owner: Option<Owner>,
    pub(crate) groups: Groups,
    reply: Reply,
    pub(crate) edits: Edits,
    pub(crate) images: bool,
    pub(crate) typing: bool,
    pub(crate) link_previews: bool,
}

impl Rules {
    /// What the owner's setting says of somebody; nothing, when the bot serves everybody.
    pub(crate) fn claim(&self, writer: &Writer) -> Option<Claim> {
        let owner = self.owner.as_ref()?;
        Some(if owner.is(writer) { Claim::Owner } else { Claim::Stranger })
    }

    /// The message that an answer in this chat replies to.
    pub(crate) fn reply_to(&self, response: &Response, chat: i64) -> Option<i64> {
        let wanted = match self.reply {
            Reply::Always => true,
            Reply::Groups => chat < 0,
            Reply::Never => false,
        };
        response.attributes["message_id"].as_i64().filter(|_| wanted)
    }
}

/// The rules in force, which may be replaced at any time.
#[derive(Clone, Debug)]
pub(crate) struct SharedRules(Arc<RwLock<Arc<Rules>>>);

impl SharedRules {
    pub(crate) fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    pub(crate) fn now(&self) -> Arc<Rules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
