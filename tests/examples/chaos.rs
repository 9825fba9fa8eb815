//! `tests/chaos`: breaks everything for a while and counts what became of every message.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use broca_tests::{
    Database,
    chaos::{ChaosOptions, run, table},
};

const USAGE: &str = "usage: tests/chaos [--seconds N] [--seed N] [--database sqlite|postgres|both]";

struct Arguments {
    seconds: u64,
    seed: u64,
    databases: Vec<Database>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = read(std::env::args().skip(1))?;
    // The scripted servers go on while the driver waits for a server to start or to end.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(6).enable_all().build()?;
    let mut reports = Vec::new();
    for database in arguments.databases {
        let length = Duration::from_secs(arguments.seconds);
        let report = runtime.block_on(run(ChaosOptions { database, seed: arguments.seed, length }));
        eprint!("{}", report.details());
        reports.push(report);
    }
    io::stdout().write_all(table(&reports).as_bytes())?;
    let good = reports.iter().all(broca_tests::chaos::Report::is_good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let mut arguments = Arguments { seconds: 60, seed: 1, databases: vec![Database::Sqlite, Database::Postgres] };
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value\n{USAGE}"))?;
        match word.as_str() {
            "--seconds" => arguments.seconds = value.parse().context(USAGE)?,
            "--seed" => arguments.seed = value.parse().context(USAGE)?,
            "--database" => {
                arguments.databases = match value.as_str() {
                    "sqlite" => vec![Database::Sqlite],
                    "postgres" => vec![Database::Postgres],
                    "both" => vec![Database::Sqlite, Database::Postgres],
                    _ => bail!("{USAGE}"),
                }
            }
            _ => bail!("{USAGE}"),
        }
    }
    Ok(arguments)
}
