//! `broca bench`: what the whole pipeline does, beside what its parts could do alone, in one run of one program.
//!
//! Machines differ and are shared, so the figures that mean something are the ratios: every row of the table was
//! measured here and now, against the same server and the same database.

mod cpu;
mod load;
mod pipeline;
mod report;
mod stage;
mod yardstick;

use self::{
    report::{Report, Row},
    stage::{Database, Stage},
};
use crate::{app::App, failure::Failure};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Messages of each throughput run
    #[arg(long, default_value_t = 40_000)]
    messages: usize,
    /// People, each with a conversation of their own
    #[arg(long, default_value_t = 2_000)]
    people: usize,
    /// Messages that are accepted and not yet delivered, at most, in throughput runs
    #[arg(long, default_value_t = 2_000)]
    in_flight: usize,
    /// Messages a second of the latency run
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds of the latency run
    #[arg(long, default_value_t = 15)]
    seconds: u32,
    /// Turns in flight in one worker, for its memory; 0 leaves that run out
    #[arg(long, default_value_t = 10_000)]
    turns: usize,
    /// An empty PostgreSQL database to measure too, postgres://…; `tests/bench` makes one
    #[arg(long, env = "BROCA_BENCH_POSTGRES", value_name = "URL", hide_env_values = true)]
    postgres: Option<String>,
    /// Leave SQLite out
    #[arg(long)]
    no_sqlite: bool,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let sqlite = (!args.no_sqlite).then_some(Database::Sqlite);
    let databases = sqlite.into_iter().chain(args.postgres.clone().map(Database::Postgres));
    let mut rows = Vec::new();
    for database in databases {
        let stage = Stage::set(app, database).await?;
        let measured = measure(app, &stage, args).await;
        stage.strike(app).await;
        rows.extend(measured?);
    }
    let report = Report { release_build: !cfg!(debug_assertions), rows };
    app.output.result(&report, || report.to_string())
}

async fn measure(app: &App, stage: &Stage, args: &Args) -> Result<Vec<Row>, Failure> {
    app.note(&format!("{}: JetStream alone", stage.name));
    let mut rows = yardstick::jetstream(stage, args).await?;
    app.note(&format!("{}: SQL alone", stage.name));
    rows.push(yardstick::sql(stage, args).await?);
    app.note(&format!("{}: the bare floor", stage.name));
    rows.push(yardstick::floor(stage, args).await?);
    app.note(&format!("{}: the pipeline, throughput", stage.name));
    rows.push(pipeline::throughput(app, stage, args).await?);
    app.note(&format!("{}: the pipeline, latency at {} messages/s", stage.name, args.rate));
    rows.push(pipeline::latency(app, stage, args).await?);
    if args.turns > 0 {
        app.note(&format!("{}: {} turns in flight in one worker", stage.name, args.turns));
        rows.push(pipeline::memory(app, stage, args).await?);
    }
    Ok(rows)
}
