//! Who a plugin is, and what its platform can do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who the plugin is and what its platform can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name, unique among plugins.
    pub name: String,
    /// The platform it speaks to; several instances may share one.
    pub platform: String,
    /// The plugin's own version.
    pub version: String,
    #[serde(default)]
    pub capabilities: Capabilities,
}

impl Manifest {
    /// A plugin that is named like its platform and carries plain text. Change what differs.
    pub fn new(platform: &str, version: &str) -> Self {
        Self {
            name: platform.to_owned(),
            platform: platform.to_owned(),
            version: version.to_owned(),
            capabilities: Capabilities::default(),
        }
    }
}

/// What the platform can do beyond plain text. Everything is optional: plain text alone works. Declare only what
/// the plugin really does; write it as `Capabilities { typing: true, ..Capabilities::default() }`, so that a
/// capability that is added later is off until you say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Characters in one platform message; the plugin splits what is longer.
    pub max_text_chars: Option<usize>,
    /// The platform can be asked whether it has an answer ([`Plugin::settle`](crate::Plugin::settle) says more than
    /// `CannotTell`).
    pub settles: bool,
    /// Several processes may serve one account at a time. Without it one process has the account and the others wait.
    pub replicas: bool,
    /// It shows that an answer is on its way ([`Plugin::typing`](crate::Plugin::typing)).
    pub typing: bool,
    /// What was sent can be changed.
    pub edit: bool,
    /// People may react to a message without writing one.
    pub reactions: bool,
    /// Files come with messages. Images are kept only for such a plugin: its instances have a bucket for them.
    pub attachments: bool,
    /// A chat has threads or topics; `chat_id` then names the thread.
    pub threads: bool,
    /// The marks that the platform understands in a text.
    pub markdown: Markdown,
}

/// A dialect of marks within a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Markdown {
    /// The text is shown as it is.
    #[default]
    None,
    /// CommonMark, as agents write it.
    Common,
    /// Telegram's MarkdownV2 or HTML; the plugin converts.
    Telegram,
    /// Slack's mrkdwn.
    Slack,
    /// Discord's.
    Discord,
    Html,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_says_nothing_carries_plain_text() {
        let manifest: Manifest =
            serde_json::from_value(serde_json::json!({"name": "pigeon", "platform": "pigeon", "version": "1"}))
                .unwrap();
        assert_eq!(manifest, Manifest::new("pigeon", "1"));
        assert_eq!(manifest.capabilities.markdown, Markdown::None);
        assert!(!manifest.capabilities.replicas, "two processes on one account is nobody's default");
    }

    #[test]
    fn a_capability_that_is_misspelt_is_refused() {
        let misspelt = serde_json::from_value::<Capabilities>(serde_json::json!({"typings": true})).unwrap_err();
        assert!(misspelt.to_string().contains("typings"), "{misspelt}");
    }
}
