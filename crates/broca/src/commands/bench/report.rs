//! The table.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use crate::output::table;

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) release_build: bool,
    pub(super) rows: Vec<Row>,
}

/// One run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) database: String,
    pub(super) run: &'static str,
    pub(super) messages: usize,
    pub(super) per_second: Option<f64>,
    /// Milliseconds from the platform's event to the plugin's delivery.
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    /// Microseconds of CPU for each message, by process.
    pub(super) cpu_us: BTreeMap<&'static str, f64>,
    /// Of one worker, in MiB.
    pub(super) resident_mib: Option<f64>,
}

/// The run that the others are held against.
pub(super) const FLOOR: &str = "bare floor";

impl Row {
    pub(super) fn new(database: &str, run: &'static str, messages: usize) -> Self {
        Self { database: database.to_owned(), run, messages, ..Self::default() }
    }

    pub(super) fn took(mut self, elapsed: Duration) -> Self {
        self.per_second = Some(self.messages as f64 / elapsed.as_secs_f64());
        self
    }

    pub(super) fn cpu(mut self, used: BTreeMap<&'static str, Duration>) -> Self {
        let each = |used: Duration| used.as_secs_f64() * 1e6 / self.messages as f64;
        self.cpu_us = used.into_iter().map(|(role, used)| (role, each(used))).collect();
        self
    }

    pub(super) fn latencies(mut self, mut sorted: Vec<Duration>) -> Self {
        sorted.sort_unstable();
        let at = |share: f64| {
            let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
            sorted.get(place).map(|latency| latency.as_secs_f64() * 1e3)
        };
        (self.p50_ms, self.p99_ms) = (at(0.50), at(0.99));
        self
    }
}

impl Report {
    fn of_floor(&self, row: &Row) -> Option<f64> {
        let floor = self.rows.iter().find(|r| r.database == row.database && r.run == FLOOR)?;
        Some(row.per_second? / floor.per_second?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.release_build {
            writeln!(f, "This is a development build: build with --release for figures that mean something.\n")?;
        }
        let number = |value: Option<f64>, digits: usize| value.map_or(String::new(), |v| format!("{v:.digits$}"));
        let rows = self.rows.iter().map(|row| {
            let cpu: Vec<String> = row.cpu_us.iter().map(|(role, us)| format!("{role} {us:.0}")).collect();
            [
                row.database.clone(),
                row.run.to_owned(),
                row.messages.to_string(),
                number(row.per_second, 0),
                self.of_floor(row).map_or(String::new(), |share| format!("{:.0} %", share * 100.0)),
                number(row.p50_ms, 1),
                number(row.p99_ms, 1),
                cpu.join(", "),
                number(row.resident_mib, 0),
            ]
        });
        let header =
            ["database", "run", "messages", "per s", "of floor", "p50 ms", "p99 ms", "CPU us/message", "worker MiB"];
        f.write_str(&table(header, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_percentiles_are_of_the_same_database() {
        let floor = Row::new("sqlite", FLOOR, 1000).took(Duration::from_millis(100));
        let other = Row::new("postgres", FLOOR, 1000).took(Duration::from_secs(1));
        let latencies: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let run = Row::new("sqlite", "pipeline", 1000).took(Duration::from_millis(250)).latencies(latencies);
        let report = Report { release_build: true, rows: vec![other, floor, run] };
        assert_eq!(report.of_floor(&report.rows[2]), Some(0.4));
        assert_eq!((report.rows[2].p50_ms, report.rows[2].p99_ms), (Some(51.0), Some(99.0)));
    }
}
