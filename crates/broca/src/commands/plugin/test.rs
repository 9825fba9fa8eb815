//! `broca plugin test`: the conformance suite.

use std::path::PathBuf;

use super::exec::{option, pair};
use crate::{
    app::App,
    conformance::{self, Extent, Item, Subject},
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin's folder, with its plugin.toml
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    path: Option<PathBuf>,
    /// Only what takes seconds: no flood, and no pipeline of its own
    #[arg(long, conflicts_with = "chaos")]
    quick: bool,
    /// Lets more go wrong, at random: duplicates, disorder, delays, crashes, limits, restarts
    #[arg(long)]
    chaos: bool,
    /// Repeats what `--chaos` chose in another run
    #[arg(long, value_name = "N", requires = "chaos")]
    seed: Option<u64>,
    /// Of a bare command: one of its settings; {url} in it is the address of the platform that the suite plays. May be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = pair, requires = "command")]
    options: Vec<(String, String)>,
    /// A program that speaks the protocol, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let subject = match &args.path {
        Some(path) => Subject::of_folder(path)?,
        None => {
            let options = args.options.iter().map(|(key, text)| (key.clone(), option(text)));
            Subject::of_command(&args.command, options.collect())?
        }
    };
    let chaos = args.chaos.then(|| args.seed.unwrap_or_else(|| u64::from(rand::random::<u16>())));
    let said = |item: &Item| app.note(&format!("{:<12} {}", item.result.to_string(), item.check));
    let report = conformance::run(app, &subject, Extent { quick: args.quick, chaos }, &said).await?;
    app.output.result(&report, || report.text())?;
    if report.failed > 0 { Err(Failure::said(Code::Failure as u8)) } else { Ok(()) }
}
