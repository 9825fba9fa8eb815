//! The options that choose dead letters, the same for `broca dlq` and `broca replay`.

use std::time::Duration;

use broca_core::{ConversationId, Instance, Timestamp};
use broca_store::{ClosedLetters, LetterFilter, Stage, Store};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::send::duration;
use crate::failure::Failure;

/// Whatever is given must hold.
#[derive(Debug, clap::Args)]
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
    /// Whether a filter is given; the stage is none by itself.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { platform, instance, agent, user, conversation, class, stage: _, since, until, contains } = self;
        let texts = [platform, agent, user, class, contains];
        texts.iter().all(|text| text.is_none())
            && instance.is_none()
            && conversation.is_none()
            && since.is_none()
            && until.is_none()
    }

    pub(crate) async fn filter(&self, store: &Store, closed: ClosedLetters) -> Result<LetterFilter, Failure> {
        let now = store.now().await?;
        Ok(LetterFilter {
            instance: self.instance.clone(),
            platform: self.platform.clone(),
            agent: self.agent.clone(),
            user: self.user.clone(),
            conversation: self.conversation,
            class: self.class.clone(),
            stage: self.stage,
            since: self.since.map(|moment| moment.at(now)),
            until: self.until.map(|moment| moment.at(now)),
            contains: self.contains.clone(),
            closed,
        })
    }
}

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Ago(Duration),
    At(Timestamp),
}

impl Moment {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => Timestamp(now.micros().saturating_sub(broca_core::clock::micros(duration))),
            Self::At(at) => at,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = duration(text) {
        return Ok(Moment::Ago(ago));
    }
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("'{text}' is no time: use e.g. 2h, 7d or 2026-11-23T08:00:00Z"))?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000)
        .map(|micros| Moment::At(Timestamp(micros)))
        .map_err(|_| format!("'{text}' is too far away"))
}

/// Who acts, for the record: the person at this terminal.
pub(crate) fn actor() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    format!("cli:{}", user.as_deref().unwrap_or("unknown"))
}

/// An age as people say it.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
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
    fn a_time_is_an_age_or_a_date() {
        assert_eq!(moment("2h"), Ok(Moment::Ago(Duration::from_secs(7_200))));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Moment::At(Timestamp(1_000_000))));
        assert_eq!(moment("1970-01-01T01:00:00+01:00"), Ok(Moment::At(Timestamp(0))));
        assert!(moment("yesterday").unwrap_err().contains("7d"));
        assert_eq!(moment("1s").unwrap().at(Timestamp(3_000_000)), Timestamp(2_000_000));
    }

    #[test]
    fn long_texts_end_in_dots() {
        assert_eq!(short("a\nb", 9), "a b");
        assert_eq!(short("äöü", 2), "äö…");
    }
}
