//! `broca workers`: who works on what.

use broca_admin::operations::{ListWorkers, WhichWorkers, WorkersNow};
use broca_store::TurnUnderWay;

use super::status::{age, pace};
use crate::{app::App, failure::Failure, output::table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Turns, at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let request = WhichWorkers { limit: Some(args.limit) };
    let now = app.operate::<ListWorkers>(&app.deps().await?, &request).await?;
    app.output.result(&now, || {
        let parts = [pace::text(&now.pace), turns(&now)];
        let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
        if text.is_empty() { "nobody works".to_owned() } else { text }
    })
}

fn turns(now: &WorkersNow) -> String {
    if now.turns.is_empty() {
        return String::new();
    }
    let row = |turn: &TurnUnderWay| {
        let lease = match turn.lease_until > now.pace.now {
            true => format!("{} more", age(turn.lease_until.since(now.pace.now))),
            false => "over".to_owned(),
        };
        [
            turn.worker.clone(),
            turn.message_id.to_string(),
            turn.agent.clone(),
            age(now.pace.now.since(turn.started_at)),
            turn.attempt.to_string(),
            lease,
        ]
    };
    table(["worker", "message", "agent", "in turn for", "attempt", "lease"], now.turns.iter().map(row))
}
