//! `broca ignore`: the ignore list.

use std::path::PathBuf;

use broca_admin::{
    access as rules,
    operations::{AddIgnored, ListIgnored, RemoveIgnored},
};
use broca_core::Instance;
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
    let deps = app.deps().await?;
    match command {
        Command::Add(args) => access::put::<AddIgnored>(app, &deps, args).await,
        Command::List(args) => access::list::<ListIgnored>(app, &deps, args).await,
        Command::Remove(args) => access::remove::<RemoveIgnored>(app, &deps, args).await,
        Command::Import(args) => import(app, &deps.store, args).await,
    }
}

async fn import(app: &App, store: &Store, args: &ImportArgs) -> Result<(), Failure> {
    if let Some(instance) = &args.instance {
        known_instance(app, instance)?;
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

/// A name that the settings do not have is a slip of the pen.
fn known_instance(app: &App, instance: &Instance) -> Result<(), Failure> {
    let plugins = &app.config.settings.plugins;
    if plugins.contains_key(instance) {
        return Ok(());
    }
    let names: Vec<&str> = plugins.keys().map(Instance::as_str).collect();
    Err(Failure::new(Code::NotFound, format!("the settings have no instance '{instance}'"))
        .hint(format!("they have: {}", names.join(", "))))
}
