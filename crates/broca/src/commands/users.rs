//! `broca users`: people.

use super::active;
use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lets a deactivated person's messages in again
    Activate(active::Args),
    /// Keeps a person's messages out, on all platforms and whatever the rules say
    Deactivate(active::Args),
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Activate(args) => active::set(app, args, true).await,
        Command::Deactivate(args) => active::set(app, args, false).await,
    }
}
