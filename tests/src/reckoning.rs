//! The verdict of the logs, and for every message without an answer: why. A message may end without one, but then the
//! rows say so with a reason, the dead-letter stream has its copy, and nobody is left to guess.

use broca_core::{MessageState, ResponseState, TurnState};
use broca_store::{MessageRecord, Store};

use crate::{Rig, Verdict, audit::first_word, overlapping_turns};

/// A text with this marker fails at the agent for good, after the message is in the agent's context.
pub const DOOMED: &str = "#letta(later_step_fails=llm_error x99)";

/// What became of everything that was said.
#[derive(Debug)]
pub struct Reckoning {
    pub verdict: Verdict,
    /// Turns of one conversation at the same time.
    pub overlaps: Vec<String>,
    /// Dead-lettered because the agent said that they never will succeed, as the script wanted it.
    pub dead: Vec<String>,
    /// Dead-lettered because the agent was killed in the turn, after it had stored a part of it.
    pub unknown: Vec<String>,
    /// Without an answer, and without a good reason for it.
    pub lost: Vec<String>,
    /// Deliveries that are recorded as unknown. The scripted platform can always be asked, so there are none.
    pub unsettled: i64,
    /// Failed messages in the rows, and what the stream of dead letters holds.
    pub dead_letters: (u64, u64),
    /// What `broca check` complained of.
    pub unsound: Option<String>,
}

impl Reckoning {
    /// Reads the logs, and the rows of every message that has no answer.
    pub async fn of(rig: &Rig, said: &[(String, String)]) -> Self {
        let store = rig.store().await;
        let verdict = Verdict::of(rig, said);
        let (mut dead, mut unknown, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for word in &verdict.lost {
            let (person, text) = said.iter().find(|(_, text)| first_word(text) == word).expect("it was said");
            let record = record_of(&store, person, text).await;
            match record.as_ref().map(|record| fate(rig, record)) {
                Some(Fate::Dead) if text.contains(DOOMED) => dead.push(word.clone()),
                Some(Fate::Unknown { destroyed: true }) => unknown.push(story(word, record.as_ref())),
                _ => lost.push(story(word, record.as_ref())),
            }
        }
        let counts = store.counts().await.expect("the store answers");
        let failed = counts.messages.get(MessageState::Failed.as_str()).copied().unwrap_or(0)
            + counts.responses.get(ResponseState::Dead.as_str()).copied().unwrap_or(0);
        let copies = rig.nats.messages_in("BROCA_DLQ").expect("the broker has the stream of dead letters");
        Self {
            overlaps: overlapping_turns(rig),
            dead,
            unknown,
            lost,
            unsettled: counts.responses.get(ResponseState::Unknown.as_str()).copied().unwrap_or(0),
            dead_letters: (u64::try_from(failed).unwrap_or(0), copies),
            unsound: rig.is_sound().err(),
            verdict,
        }
    }

    /// Every figure is as promised.
    pub fn is_good(&self) -> bool {
        let (failed, copies) = self.dead_letters;
        self.lost.is_empty()
            && self.verdict.wrong().is_empty()
            && self.overlaps.is_empty()
            && self.unsettled == 0
            && failed == copies
            && self.unsound.is_none()
    }
}

/// How a message ended that has no answer.
enum Fate {
    Dead,
    /// `destroyed`: the agent was killed while it worked on that very turn.
    Unknown {
        destroyed: bool,
    },
    Other,
}

fn fate(rig: &Rig, record: &MessageRecord) -> Fate {
    match (record.state, record.turns.last()) {
        (MessageState::Failed, Some(turn)) => {
            let destroyed = rig.destroyed.contains(&turn.id.to_string());
            match turn.state {
                // What the agent had stored of a turn when it was killed makes a second try impossible, too.
                TurnState::Unknown => Fate::Unknown { destroyed },
                TurnState::Dead if destroyed => Fate::Unknown { destroyed },
                TurnState::Dead => Fate::Dead,
                _ => Fate::Other,
            }
        }
        _ => Fate::Other,
    }
}

async fn record_of(store: &Store, person: &str, text: &str) -> Option<MessageRecord> {
    let lines = store.history("demo", person, 100_000).await.expect("the store answers");
    let line = lines.into_iter().find(|line| line.text == text)?;
    store.message(line.message).await.expect("the store answers")
}

/// One line for a person to begin with.
fn story(word: &str, record: Option<&MessageRecord>) -> String {
    let Some(record) = record else { return format!("{word}: never accepted") };
    let turns = record.turns.iter().map(|turn| format!("{}:{}", turn.state, turn.class.as_deref().unwrap_or("-")));
    let answers = record.responses.iter().map(|answer| answer.state.to_string());
    format!(
        "{word}: message {} is {} ({}: {}); turns {:?}, answers {:?}",
        record.id,
        record.state,
        record.class.as_deref().unwrap_or("-"),
        record.reason.as_deref().unwrap_or("-"),
        turns.collect::<Vec<_>>(),
        answers.collect::<Vec<_>>(),
    )
}
