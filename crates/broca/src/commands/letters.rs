//! The options that choose dead letters, the same for `broca dlq` and `broca replay`.

use std::sync::OnceLock;

use broca_admin::operations::WhichLetters;
pub(crate) use broca_admin::operations::age;
use broca_core::{ConversationId, Instance};
use broca_store::Stage;

use super::moment::{Moment, moment};

/// Whatever is given must hold.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Which")]
pub(crate) struct LetterArgs {
    /// The platform, e.g. telegram
    #[arg(long)]
    platform: Option<String>,
    /// The plugin instance
    #[arg(long)]
    instance: Option<Instance>,
    /// The agent, by its name in the settings
    #[arg(long)]
    agent: Option<String>,
    /// The person, by the platform's id
    #[arg(long)]
    user: Option<String>,
    #[arg(long, value_name = "ID")]
    conversation: Option<ConversationId>,
    /// The class of failure, e.g. rejected, unavailable, blocked
    #[arg(long)]
    class: Option<String>,
    /// turn (at the agent) or delivery (of the answer)
    #[arg(long)]
    pub(crate) stage: Option<Stage>,
    /// Failed since then: 2h, 7d, or 2026-11-23T08:00:00Z
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Moment>,
    /// Failed before then
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Moment>,
    /// Has this in the message or the answer, in any case
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
}

impl LetterArgs {
    /// The stage is left out: on its own it is no filter for every command.
    pub(crate) fn which(&self) -> WhichLetters {
        let Self { platform, instance, agent, user, conversation, class, stage: _, since, until, contains } =
            self.clone();
        WhichLetters { platform, instance, agent, user, conversation, class, stage: None, since, until, contains }
    }

    pub(crate) fn with_stage(&self) -> WhichLetters {
        WhichLetters { stage: self.stage, ..self.which() }
    }
}

/// What `--actor` or BROCA_ACTOR says.
static SAID: OnceLock<String> = OnceLock::new();

/// Somebody says who acts; the first word counts.
pub(crate) fn acts_as(name: &str) {
    SAID.get_or_init(|| name.to_owned());
}

/// Who acts, for the record: who was said to, or the person at this terminal.
pub(crate) fn actor() -> String {
    format!("cli:{}", person())
}

/// The person alone, who may have come another way.
pub(crate) fn person() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    SAID.get().cloned().or(user).unwrap_or_else(|| "unknown".to_owned())
}

/// One line for a table.
pub(crate) fn short(text: &str, characters: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(characters).collect();
    if line.len() < text.len() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_in_dots() {
        assert_eq!(short("a\nb", 9), "a b");
        assert_eq!(short("äöü", 2), "äö…");
    }
}
