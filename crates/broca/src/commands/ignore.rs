//! `broca ignore`: the ignore list.

use std::path::PathBuf;

use broca_admin::access as rules;
use broca_core::{Instance, access::RuleKind};
use broca_store::Store;

use super::{
    access::{self, ListArgs, RemoveArgs, RuleArgs},
    letters::actor,
};
use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Takes nothing of somebody any more
    Add(RuleArgs),
    /// Whoever is ignored
    List(ListArgs),
    /// Takes somebody's messages again
    Remove(RemoveArgs),
    /// Takes over the original's telegram_ignore_list.json
    Import(ImportArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Whose id is known there is ignored by the id alone. Importing a file twice is harmless.")]
pub(crate) struct ImportArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The platform whose ids and names the file has
    #[arg(long, default_value = "telegram")]
    platform: String,
    /// On this plugin instance alone
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    match command {
        Command::Add(args) => access::put(app, &store, RuleKind::Ignore, args).await,
        Command::List(args) => access::list(app, &store, Some(RuleKind::Ignore), args).await,
        Command::Remove(args) => access::remove(app, &store, Some(RuleKind::Ignore), args).await,
        Command::Import(args) => import(app, &store, args).await,
    }
}

async fn import(app: &App, store: &Store, args: &ImportArgs) -> Result<(), Failure> {
    if let Some(instance) = &args.instance {
        access::known_instance(app, instance)?;
    }
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::new(Code::Usage, format!("{} cannot be read: {error}", args.file.display())))?;
    let imported = rules::import(store, &text, (&args.platform, args.instance.as_ref()), &actor()).await?;
    app.output.result(&imported, || {
        let known =
            if imported.known > 0 { format!("; {} were ignored already", imported.known) } else { String::new() };
        format!("{} are ignored from now on{known}", imported.added.len())
    })
}
