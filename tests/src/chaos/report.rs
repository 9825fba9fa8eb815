//! What a run came to, as a table for people.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, time::Duration};

use super::{Chaos, ChaosOptions};
use crate::{Database, Reckoning};

#[derive(Debug)]
pub struct Report {
    options: ChaosOptions,
    messages: usize,
    faults: BTreeMap<String, u64>,
    /// Processes that ended by themselves and were started again, as a supervisor does.
    gave_up: usize,
    /// Publishes that the broker refused because a stream was full.
    refused: usize,
    /// Writes for which a node of the broker found no room on its disk, by its own log.
    no_room: usize,
    reckoning: Reckoning,
    to_rest: Option<Duration>,
    /// Processes that did not stop when told to.
    stuck: Vec<String>,
    /// Where the logs are, if somebody will want to read them.
    kept: Option<PathBuf>,
}

impl Report {
    pub(super) fn of(
        options: ChaosOptions,
        mut chaos: Chaos,
        reckoning: Reckoning,
        to_rest: Option<Duration>,
        stuck: Vec<String>,
    ) -> Self {
        let killed = chaos.killed;
        let replaced: usize = chaos.crews().map(|crew| crew.replaced).sum();
        let refused = chaos.crews().map(|crew| crew.output().matches("maximum bytes exceeded").count()).sum();
        let no_room = chaos.rig.nats.nodes().iter().map(|node| node.logged("no space left on device")).sum();
        let (messages, faults) = (chaos.said.len(), std::mem::take(&mut chaos.faults));
        let gave_up = replaced.saturating_sub(killed);
        let mut report =
            Self { options, messages, faults, gave_up, refused, no_room, reckoning, to_rest, stuck, kept: None };
        if !report.is_good() {
            report.kept = Some(chaos.rig.keep());
        }
        report
    }

    pub fn is_good(&self) -> bool {
        self.reckoning.is_good() && self.to_rest.is_some() && self.stuck.is_empty()
    }

    fn rows(&self) -> Vec<(String, String)> {
        let Reckoning { verdict, overlaps, dead, unknown, lost, dead_letters, unsettled, unsound } = &self.reckoning;
        let number = |name: &str, value: usize| (name.to_owned(), value.to_string());
        let database = match self.options.database {
            Database::Sqlite => "SQLite",
            Database::Postgres => "PostgreSQL",
        };
        let to_rest = self.to_rest.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        let mut rows = vec![
            ("database".to_owned(), database.to_owned()),
            ("seed".to_owned(), self.options.seed.to_string()),
            ("seconds".to_owned(), self.options.length.as_secs().to_string()),
            number("messages", self.messages),
        ];
        rows.extend(self.kinds().into_iter().map(|(kind, count)| (format!("  {kind}"), count.to_string())));
        rows.extend([
            number("  publish refused, stream full", self.refused),
            number("  nats write failed, no space left", self.no_room),
            number("  processes that gave up and were restarted", self.gave_up),
            number("answered", verdict.answered),
            number("failed as scripted, dead-lettered", dead.len()),
            number("unknown, the agent was killed in the turn", unknown.len()),
            number("lost", lost.len()),
            number("answered twice", verdict.answered_twice.len()),
            number("asked twice", verdict.asked_twice.len()),
            number("order violations", verdict.out_of_order.len() + overlaps.len()),
            number("answers to nobody's message", verdict.strays.len()),
            number("answers cut short", verdict.cut_short.len()),
            ("deliveries left unknown".to_owned(), unsettled.to_string()),
            ("dead letters, copies in the stream".to_owned(), format!("{}, {}", dead_letters.0, dead_letters.1)),
            ("broca check".to_owned(), if unsound.is_none() { "OK" } else { "not OK" }.to_owned()),
            ("time to rest".to_owned(), to_rest),
        ]);
        rows
    }

    /// The faults, those of the scripted far sides summed up.
    fn kinds(&self) -> BTreeMap<&str, u64> {
        let mut kinds = BTreeMap::new();
        for (kind, count) in &self.faults {
            let name = match kind.split_once(": ") {
                Some(("agent", _)) => "agent stalls, refuses or breaks off",
                Some(("send", _)) => "platform refuses or cuts a send",
                Some(("poll", _)) => "platform refuses or cuts a poll",
                _ => kind,
            };
            *kinds.entry(name).or_default() += count;
        }
        kinds
    }

    /// What is listed one by one.
    pub fn details(&self) -> String {
        let Reckoning { verdict, overlaps, unknown, lost, unsound, .. } = &self.reckoning;
        let mut text = String::new();
        let mut list = |title: &str, lines: &[String]| {
            for line in lines {
                writeln!(text, "{title}: {line}").expect("a string takes everything");
            }
        };
        let scripted = self.faults.iter().filter(|(kind, _)| kind.contains(": "));
        let scripted: Vec<String> = scripted.map(|(kind, count)| format!("{kind} {count}")).collect();
        list("of the far sides' faults", &[scripted.join(", ")]);
        list("unknown", unknown);
        list("lost", lost);
        list("answered twice", &verdict.answered_twice);
        list("asked twice", &verdict.asked_twice);
        list("out of order", &verdict.out_of_order);
        list("at the same time", overlaps);
        list("to nobody's message", &verdict.strays);
        list("cut short", &verdict.cut_short);
        list("did not stop", &self.stuck);
        list("broca check", unsound.as_slice());
        list(
            "the processes' logs are in",
            &self.kept.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        );
        text
    }
}

/// One column for each run.
pub fn table(reports: &[Report]) -> String {
    let columns: Vec<BTreeMap<String, String>> =
        reports.iter().map(|report| report.rows().into_iter().collect()).collect();
    let mut names: Vec<String> = Vec::new();
    for report in reports {
        // Faults that only one run had stand with the others.
        for (place, (name, _)) in report.rows().into_iter().enumerate() {
            if !names.contains(&name) {
                names.insert(place.min(names.len()), name);
            }
        }
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for name in names {
        let cells = columns.iter().map(|column| column.get(&name).map_or("-", String::as_str));
        let cells: String = cells.map(|cell| format!("  {cell:>12}")).collect();
        writeln!(text, "{name:<width$}{cells}").expect("a string takes everything");
    }
    text
}
