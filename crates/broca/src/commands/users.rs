//! `broca users`: people.

use super::{active, person};
use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lets a deactivated person's messages in again
    Activate(active::Args),
    /// Keeps a person's messages out, on all platforms and whatever the rules say
    Deactivate(active::Args),
    /// Says what an agent is to bear in mind of a person
    Set(person::Args),
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Activate(args) => active::set(app, args, true).await,
        Command::Deactivate(args) => active::set(app, args, false).await,
        Command::Set(args) => person::set(app, args).await,
    }
}
