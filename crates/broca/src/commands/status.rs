//! `broca status`: what waits, what runs, what failed.

mod pace;

use std::time::Duration;

use broca_admin::{
    control::Standing,
    operations::{ShowStatus, WhichStatus},
    status::{Process, Status},
};

use super::mode;
use crate::{
    app::App,
    failure::Failure,
    output::{Tone, paint, pairs, table},
    run_file::RunFile,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _args: &Args) -> Result<(), Failure> {
    if RunFile::read(&app.config.settings.data_dir)?.is_none() && app.config.settings.nats.url.is_none() {
        return Err(app.nothing_runs());
    }
    let whole = app.operate::<ShowStatus>(&app.deps().await?, &WhichStatus {}).await?;
    app.output.result(&whole, || {
        let rows = whole.processes.iter().map(|process: &Process| {
            let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let metrics =
                process.metrics.as_ref().map_or_else(|| "-".to_owned(), |address| format!("http://{address}/metrics"));
            let state = process.standing.map_or("", Standing::as_str).to_owned();
            [process.name.clone(), pid, process.restarts.to_string(), state, metrics]
        });
        let processes = if rows.len() == 0 {
            String::new()
        } else {
            format!("\n\n{}", table(["process", "pid", "restarts", "state", "metrics"], rows))
        };
        format!("{}{processes}", text(&whole.status))
    })
}

fn text(status: &Status) -> String {
    let counts = &status.counts;
    let states = |name: &str, states: &std::collections::BTreeMap<String, i64>| {
        let parts: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        [name.to_owned(), if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }]
    };
    let quarantined = match counts.quarantined_conversations {
        0 => String::new(),
        n => format!(", {n} quarantined: `broca hold list`"),
    };
    let conversations = format!(
        "{} ({} with work, {} held by a worker{quarantined})",
        counts.conversations, counts.pending_conversations, counts.leased_conversations
    );
    let oldest = counts.oldest_open.map_or_else(|| "none is open".to_owned(), age);
    let mut lines = vec![states("messages", &counts.messages), states("answers", &counts.responses)];
    if !counts.notices.is_empty() {
        lines.push(states("notices", &counts.notices));
    }
    lines.extend([
        ["conversations".to_owned(), conversations],
        ["people".to_owned(), counts.users.to_string()],
        ["oldest open".to_owned(), oldest],
        ["owed publishes".to_owned(), counts.outbox.to_string()],
        ["NATS".to_owned(), format!("{} ({})", status.broker.version, status.broker.name)],
    ]);
    let overview = pairs(&lines);
    let consumers = table(
        ["consumer", "waiting", "in hand", "redelivered", "problem"],
        status.consumers.iter().map(|consumer| {
            let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            [
                consumer.consumer.clone(),
                number(consumer.pending),
                number(consumer.ack_pending),
                number(consumer.redelivered),
                paint(Tone::Bad, consumer.problem.as_deref().unwrap_or_default()),
            ]
        }),
    );
    let modes = status.modes.as_ref().and_then(mode::lines).unwrap_or_default();
    let parts = [overview, modes, consumers, pace::text(&status.pace)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn age(age: Duration) -> String {
    match age.as_secs() {
        0 => format!("{} ms", age.as_millis()),
        s @ 1..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}
