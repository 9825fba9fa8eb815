//! `broca check`: is every accepted message over, or on its way? Speaks and ends as monitoring plugins do.

use std::time::Duration;

use broca_admin::{
    check::{Check, Finding, Severity},
    operations::{CheckAll, Span, WhichCheck},
};

use super::send::duration;
use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (nobody could be asked).")]
pub(crate) struct Args {
    /// What should have happened by itself is overdue after this long, e.g. 60s, 5m
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    overdue: Duration,
    /// A message may be under way for this long [default: retry.max_age_s]
    #[arg(long, value_parser = duration, value_name = "TIME")]
    max_age: Option<Duration>,
}

/// How many ids of each kind a person is shown.
const SHOWN: usize = 3;

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let request = WhichCheck { overdue: Some(Span(args.overdue)), max_age: args.max_age.map(Span) };
    let check = app.operate::<CheckAll>(&app.deps().await?, &request).await?;
    app.output.result(&check, || text(&check))?;
    match check.status {
        Severity::Ok => Ok(()),
        status => Err(Failure::said(status as u8)),
    }
}

/// The first line is for the monitor, the others are for whoever it wakes.
fn text(check: &Check) -> String {
    let status = match check.status {
        Severity::Ok => "OK",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    };
    let parts: Vec<String> = check.findings.iter().map(|f| format!("{} {}", f.count, f.kind.name())).collect();
    let summary = if parts.is_empty() { "every message is over or on its way".to_owned() } else { parts.join(", ") };
    let mut lines = vec![format!("BROCA {status} - {summary} | orphans={}", check.orphans)];
    lines.extend(check.findings.iter().map(finding));
    lines.join("\n")
}

fn finding(finding: &Finding) -> String {
    let shown = finding.first.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if finding.count > i64::try_from(SHOWN).unwrap_or(i64::MAX) { ", …" } else { "" };
    let Finding { kind, count, meaning, advice, .. } = finding;
    format!("{}: {count} {meaning}: {shown}{more}\n  help: {advice}", kind.name())
}
