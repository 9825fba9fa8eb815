//! A message for people: what it is, and its journey as a timeline.

use broca_admin::{
    journey::Shown,
    telling::{lasting, sentence},
};
use broca_core::{MessageId, Timestamp, format::rfc3339};
use broca_store::{JourneyEvent, MessageRecord, ReplayRecord, ResponseRecord, TurnRecord};

/// A message and its journey.
pub(crate) fn shown(shown: &Shown) -> String {
    let mut timeline = Timeline::of(shown.message.id);
    let as_of = shown.as_of.map(|at| format!("as of         {}\n", moment(at))).unwrap_or_default();
    let facts = [head(&shown.message), answers(&shown.message)].concat();
    let steps: Vec<String> = shown.journey.iter().map(|event| timeline.line(event)).collect();
    format!("{as_of}{}\n\n{}", facts.join("\n"), steps.join("\n"))
}

/// Lines of a journey, each with its time and the time since the one before.
pub(crate) struct Timeline {
    message: MessageId,
    before: Option<Timestamp>,
}

impl Timeline {
    pub(crate) fn of(message: MessageId) -> Self {
        Self { message, before: None }
    }

    pub(crate) fn line(&mut self, event: &JourneyEvent) -> String {
        let delta = self.before.map(|before| format!("+{}", lasting(event.at.since(before)))).unwrap_or_default();
        self.before = Some(event.at);
        format!("{}  {delta:>9}  {}", moment(event.at), sentence(event, self.message))
    }
}

/// With milliseconds, which steps of one second are told apart by.
fn moment(at: Timestamp) -> String {
    let second = rfc3339(at);
    match second.strip_suffix('Z') {
        Some(second) => format!("{second}.{:03}Z", at.micros().rem_euclid(1_000_000) / 1_000),
        None => second,
    }
}

/// A message and what became of it, without its journey.
pub(crate) fn text(record: &MessageRecord) -> String {
    let turns = record.turns.iter().map(turn);
    let replays = record.replays.iter().flat_map(replay);
    let lines: Vec<String> = head(record).into_iter().chain(turns).chain(answers(record)).chain(replays).collect();
    lines.join("\n")
}

fn why(class: Option<&str>, reason: Option<&str>) -> String {
    match (class, reason) {
        (Some(class), Some(reason)) => format!("  {class}: {reason}"),
        (Some(one), None) | (None, Some(one)) => format!("  {one}"),
        (None, None) => String::new(),
    }
}

fn head(record: &MessageRecord) -> Vec<String> {
    let why = why(record.class.as_deref(), record.reason.as_deref());
    // What was not let in stands before all places.
    let place = if record.seq > 0 { format!("at place {}", record.seq) } else { "in no queue".to_owned() };
    let mut lines = vec![
        format!("message       {}", record.id),
        format!("state         {}{why}", record.state),
        format!("from          {} on {} (instance {})", record.platform_user_id, record.platform, record.instance),
        format!("conversation  {} {place}", record.conversation_id),
        format!("route, agent  {}, {}", record.route, record.agent),
        format!("trace         {}", record.trace_id.as_deref().unwrap_or("none")),
        format!("received      {}", rfc3339(record.received_at)),
        format!("text          {}", record.text),
    ];
    lines.extend(record.finished_at.map(|at| format!("finished      {}", rfc3339(at))));
    lines
}

fn turn(turn: &TurnRecord) -> String {
    let run = turn.run.as_deref().map(|run| format!(" run {run}")).unwrap_or_default();
    let why = why(turn.class.as_deref(), turn.reason.as_deref());
    let at = rfc3339(turn.started_at);
    format!("turn {}        {at} {} by {}{run}{why}", turn.attempt, turn.state, turn.worker)
}

fn answers(record: &MessageRecord) -> Vec<String> {
    let lines = |response: &ResponseRecord| {
        let why = why(response.class.as_deref(), response.reason.as_deref());
        let (kind, id, state) = (response.kind.as_str(), response.id, response.state);
        let head = format!("{kind:<12}  {id} {state} after {} attempts{why}", response.attempts);
        [head, format!("              {}", response.text)]
    };
    record.responses.iter().flat_map(lines).collect()
}

fn replay(replay: &ReplayRecord) -> Vec<String> {
    let was = why(replay.class.as_deref(), replay.reason.as_deref());
    let ReplayRecord { stage, actor, attempts, was_state, .. } = replay;
    let at = rfc3339(replay.at);
    let head =
        format!("replayed      {at} at stage {stage} by {actor} after {attempts} attempts; was {was_state}{was}");
    let text = replay.was_text.as_ref().map(|text| format!("text before   {text}"));
    [head].into_iter().chain(text).collect()
}
