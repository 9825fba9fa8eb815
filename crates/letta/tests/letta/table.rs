//! Plays every line of the table in this crate's README: it says what Letta does, and what becomes of the turn.

use std::collections::BTreeSet;

use broca_core::TurnOutcome;
use broca_letta::Agent;
use broca_rehearsal::letta::{Behaviour, LettaScript};

use crate::{
    rig::{Notes, Rig, script, summary, with_image},
    scenes::{self, Played},
};

const README: &str = include_str!("../../README.md");

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    script: &'a str,
    redis: bool,
    images: bool,
    /// `retry busy`, `answered`.
    outcome: String,
    ran: usize,
}

impl<'a> Line<'a> {
    /// `None` for a heading inside the table.
    fn read(row: &'a str) -> Option<Self> {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, script, outcome, class, ran] = cells[..] else { panic!("five cells: {row}") };
        if script.is_empty() {
            assert!(outcome.is_empty() && ran.is_empty(), "a line without a script: {row}");
            return None;
        }
        let script = script.trim_matches('`');
        let (script, redis) = match script.strip_prefix("no redis: ") {
            Some(script) => (script, false),
            None => (script, true),
        };
        let (script, images) = match script.strip_prefix("images: ") {
            Some(script) => (script, true),
            None => (script, false),
        };
        let ran = ran.parse().unwrap_or_else(|_| panic!("how many turns ran: {row}"));
        Some(Self { script, redis, images, outcome: format!("{outcome} {class}").trim().to_owned(), ran })
    }

    fn scene(&self) -> Option<&'a str> {
        self.script.strip_prefix("scene: ")
    }
}

fn table() -> Vec<Line<'static>> {
    let rows = README.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|')).filter_map(Line::read).collect()
}

#[tokio::test]
async fn every_line_of_the_table_is_true() {
    let table = table();
    assert!(table.len() > 50, "the table was not found");
    let mut wrong = Vec::new();
    for line in &table {
        let played = match line.scene() {
            Some(scene) => scenes::play(scene, line.redis).await,
            None => play(line).await,
        };
        let Played { outcome, ran } = played;
        if (summary(&outcome), ran) != (line.outcome.clone(), line.ran) {
            wrong.push(format!("{line:?}\n  but was: {outcome:?}, {ran} ran"));
        }
        if let Some(reason) = reason(&outcome) {
            assert!(!reason.contains("hello"), "{line:?} tells the text: {reason}");
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_that_can_be_played_is_missing() {
    let table = table();
    let mut seen = BTreeSet::new();
    for line in &table {
        assert!(seen.insert((line.script, line.redis, line.images)), "twice in the table: {line:?}");
    }
    let names: BTreeSet<&str> = table.iter().map(|line| line.script.split('=').next().unwrap_or_default()).collect();
    for name in Behaviour::NAMES {
        assert!(names.contains(name), "the script knows '{name}', and no line of the table is about it");
    }
    let scenes: BTreeSet<&str> = table.iter().filter_map(Line::scene).collect();
    assert_eq!(scenes, scenes::NAMES.into_iter().collect(), "the scenes of the table are not those of the test");
}

async fn play(line: &Line<'_>) -> Played {
    let rig = Rig::with(LettaScript { redis: line.redis, min_ms: 20, max_ms: 20, ..script() }).await;
    let behaviour: Behaviour = line.script.parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    // A server without Redis refuses the first message of a client that does not know it yet.
    rig.agent.probe().await.expect("it is there");
    let mut request = rig.request("hello");
    if behaviour == Behaviour::Stuck {
        request.deadline = std::time::Duration::from_millis(150);
    }
    rig.server.push(behaviour);
    let request = if line.images { with_image(request) } else { request };
    let outcome = rig.agent.run_turn(request, &Notes::default()).await;
    Played { outcome, ran: rig.server.turns().len() }
}

fn reason(outcome: &TurnOutcome) -> Option<&str> {
    match outcome {
        TurnOutcome::Answered(_) => None,
        TurnOutcome::Retry { failure, .. }
        | TurnOutcome::NoConversation(failure)
        | TurnOutcome::Dead(failure)
        | TurnOutcome::Unknown(failure) => Some(&failure.reason),
    }
}
