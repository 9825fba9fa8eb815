//! What is over for long enough is removed: by whichever worker's janitor is on duty, or at once, on somebody's word.
//!
//! It works in small batches with pauses between them, so that a million old rows slow nothing down, and remembers how
//! far it got. Nothing rests on that: two who remove the same rows remove them once.

use std::time::{Duration, Instant};

use broca_core::{MessageId, Timestamp, metric};
use broca_store::{Cuts, Kept, Removed, RetentionPolicy, Store, StoreError};
use metrics::{counter, gauge};
use serde::Serialize;

/// Rows that are looked at in one statement, and removed in one transaction.
const BATCH: u32 = 200;
/// After a batch that removed something, the others have the database for so many times as long as it took.
const REST: u32 = 2;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Removes, round by round.
#[derive(Debug)]
pub struct Remover {
    policy: RetentionPolicy,
    /// How far the walks got.
    messages: Option<MessageId>,
    events: i64,
}

/// Where a round is.
enum Part {
    Messages,
    Events,
    Records,
}

impl Remover {
    pub fn new(policy: RetentionPolicy) -> Self {
        Self { policy, messages: None, events: 0 }
    }

    /// Works for `longest` at most, adds to `removed` what went, and says whether nothing is left to be done now.
    ///
    /// # Errors
    /// The database does not answer; what was removed until then is.
    pub async fn round(&mut self, store: &Store, longest: Duration, removed: &mut Removed) -> Result<bool, StoreError> {
        let (began, cuts) = (Instant::now(), store.retention_cuts(&self.policy).await?);
        let mut part = Part::Messages;
        while began.elapsed() < longest {
            let (step_began, before) = (Instant::now(), *removed);
            let over = match part {
                Part::Messages => self.some_messages(store, &cuts, removed).await?,
                Part::Events => self.some_events(store, &cuts, removed).await?,
                Part::Records => some_records(store, &cuts, removed).await?,
            };
            part = match (part, over) {
                (part, false) => part,
                (Part::Messages, true) => Part::Events,
                (Part::Events, true) => Part::Records,
                (Part::Records, true) => return Ok(true),
            };
            let rest = if *removed == before { Duration::ZERO } else { step_began.elapsed() * REST };
            tokio::time::sleep(rest.min(LONGEST_REST)).await;
        }
        Ok(false)
    }

    async fn some_messages(&mut self, store: &Store, cuts: &Cuts, removed: &mut Removed) -> Result<bool, StoreError> {
        let chosen = store.retention_choose(cuts, self.messages, BATCH).await?;
        *removed += store.retention_remove(cuts, &chosen.going).await?;
        self.messages = chosen.next;
        Ok(chosen.next.is_none())
    }

    async fn some_events(&mut self, store: &Store, cuts: &Cuts, removed: &mut Removed) -> Result<bool, StoreError> {
        let step = store.retention_events(cuts, self.events, BATCH).await?;
        removed.events += store.retention_remove_events(&step.going).await?;
        self.events = step.next.unwrap_or_default();
        Ok(step.next.is_none())
    }
}

/// They go by the thousand.
async fn some_records(store: &Store, cuts: &Cuts, removed: &mut Removed) -> Result<bool, StoreError> {
    let gone = store.retention_remove_records(cuts).await?;
    *removed += gone;
    Ok(gone.is_nothing())
}

/// Removes everything that is to go now, in rounds of the janitor's pace.
///
/// # Errors
/// The database does not answer. Run it again.
pub async fn run(store: &Store, policy: RetentionPolicy, removed: &mut Removed) -> Result<(), StoreError> {
    let mut remover = Remover::new(policy);
    while !remover.round(store, Duration::from_secs(60), removed).await? {}
    Ok(())
}

/// What would go now. What hangs on a message goes with it, and is not counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Planned {
    pub messages: u64,
    /// Of the messages.
    pub dead_letters: u64,
    /// Steps without a message, or of messages that stay.
    pub events: u64,
    pub plans: u64,
    pub holds: u64,
    pub marks: u64,
    /// Lines of the audit log.
    pub acts: u64,
    /// Codes that strangers were given and nobody approved.
    pub codes: u64,
    /// Counts of what people said who were silent since.
    pub counters: u64,
}

impl Planned {
    /// All of them, in a sentence.
    pub fn sentence(&self) -> String {
        let Self { messages, dead_letters, events, plans, holds, marks, acts, codes, counters } = self;
        format!(
            "{messages} messages with all that hangs on them ({dead_letters} of them dead letters), {events} steps apart from \
             theirs, {plans} plans, {holds} holds, {marks} marks of messages removed before, {acts} lines of the audit log, \
             {codes} codes that nobody approved, {counters} counts of silent people"
        )
    }

    pub fn rows(&self) -> u64 {
        let Self { messages, dead_letters: _, events, plans, holds, marks, acts, codes, counters } = self;
        messages + events + plans + holds + marks + acts + codes + counters
    }
}

/// Looks at everything and changes nothing.
pub async fn plan(store: &Store, policy: &RetentionPolicy) -> Result<Planned, StoreError> {
    let cuts = store.retention_cuts(policy).await?;
    let records = store.retention_records(&cuts).await?;
    let Removed { plans, holds, marks, acts, codes, counters, .. } = records;
    let mut planned = Planned { plans, holds, marks, acts, codes, counters, ..Planned::default() };
    let mut after = None;
    loop {
        let chosen = store.retention_choose(&cuts, after, BATCH).await?;
        planned.messages += chosen.going.len() as u64;
        planned.dead_letters += chosen.dead_letters;
        after = chosen.next;
        if after.is_none() {
            break;
        }
    }
    let mut after = 0;
    loop {
        let step = store.retention_events(&cuts, after, BATCH).await?;
        planned.events += step.going.len() as u64;
        match step.next {
            Some(next) => after = next,
            None => return Ok(planned),
        }
    }
}

/// How long things are kept, and what is there.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Shown {
    pub policy: Policy,
    #[serde(flatten)]
    pub kept: Kept,
    pub now: Timestamp,
}

/// In days; nothing is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Policy {
    pub messages_days: Option<u64>,
    pub dead_letters_days: Option<u64>,
    pub open_dead_letters_days: Option<u64>,
    pub max_messages: Option<u64>,
    pub events_days: Option<u64>,
    pub records_days: Option<u64>,
    pub audit_days: Option<u64>,
    pub dedupe_days: u64,
}

impl From<&RetentionPolicy> for Policy {
    fn from(policy: &RetentionPolicy) -> Self {
        let days = |age: Duration| age.as_secs() / 86_400;
        Self {
            messages_days: policy.messages.map(days),
            dead_letters_days: policy.dead_letters.map(days),
            open_dead_letters_days: policy.open_dead_letters.map(days),
            max_messages: policy.max_messages,
            events_days: policy.events.map(days),
            records_days: policy.records.map(days),
            audit_days: policy.audit.map(days),
            dedupe_days: days(policy.dedupe),
        }
    }
}

pub async fn show(store: &Store, policy: &RetentionPolicy) -> Result<Shown, StoreError> {
    Ok(Shown { policy: policy.into(), kept: store.kept().await?, now: store.now().await? })
}

/// The kinds that are counted: the others hang on messages.
fn kinds(removed: &Removed) -> impl Iterator<Item = (&'static str, u64)> {
    const COUNTED: [&str; 8] = ["messages", "events", "plans", "holds", "marks", "acts", "codes", "counters"];
    removed.kinds().into_iter().filter(|(kind, _)| COUNTED.contains(kind))
}

/// What never happened is zero, and not absent.
pub(crate) fn begin_measuring() {
    measure(&Removed::default());
}

pub(crate) fn measure(removed: &Removed) {
    for (kind, rows) in kinds(removed) {
        counter!(metric::RETENTION_REMOVED.name, "kind" => kind).increment(rows);
    }
}

pub(crate) async fn show_oldest(store: &Store) -> Result<(), StoreError> {
    let oldest = store.oldest_message().await?;
    let now = store.now().await?;
    let age = oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
    gauge!(metric::OLDEST_KEPT.name).set(age);
    Ok(())
}

/// One line for a round that removed something.
pub(crate) fn log(removed: &Removed) {
    if removed.is_nothing() {
        return;
    }
    let what: Vec<String> = removed
        .kinds()
        .into_iter()
        .filter(|(_, rows)| *rows > 0)
        .map(|(kind, rows)| format!("{rows} {}", kind.replace('_', " ")))
        .collect();
    tracing::info!(messages = removed.messages, removed = what.join(", "), "removed what is over for long enough");
}
