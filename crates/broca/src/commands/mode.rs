//! `broca mode`: what is done with messages, while everything runs.

use std::time::Duration;

use broca_admin::{
    live::InForce,
    modes::{self, ModesNow},
    operations::{
        ClearMode, ListModeChanges, ModeChanged, ModesShown, NewMode, SetMode, ShowModes, Span, WhichMode,
        WhichModeChanges, WhichModes,
    },
};
use broca_core::{Instance, format::rfc3339, route::Mode};
use broca_store::Applied;
use serde_json::json;

use super::{
    plugin::settings::{said, told},
    send::duration,
};
use crate::{
    app::App,
    failure::Failure,
    output::{pairs, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The modes that hold instead of the configured ones, and the workers that go by them
    Show,
    /// Sets a mode for everything, a plugin instance or a route
    Set(SetArgs),
    /// Lets the configured mode hold again
    Clear(ClearArgs),
    /// Who set what when
    History,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca mode set listen --for 10m\n  broca mode set echo --plugin telegram\n\n\
    What is set for a route goes before what is set for a plugin, and that before what is set for everything; all of them\n\
    go before broca.toml, also where a route there has a mode of its own. It holds within a second on all workers. A\n\
    message whose turn has begun goes on as it was begun. Exit code 7: it is set, but a worker does not go by it.")]
pub(crate) struct SetArgs {
    /// echo, listen or live
    mode: Mode,
    #[command(flatten)]
    of: OfArgs,
    /// It ends by itself after this long, e.g. 30m, 2h [default: when it is cleared]
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    life: Option<Duration>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClearArgs {
    #[command(flatten)]
    of: OfArgs,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Neither is everything.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct OfArgs {
    /// The messages of a plugin instance
    #[arg(long, value_name = "INSTANCE")]
    plugin: Option<Instance>,
    /// The messages that a route claims, by its name in the settings
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::Show => {
            let shown = app.operate::<ShowModes>(&deps, &WhichModes {}).await?;
            app.output.result(&shown, || text(&shown))
        }
        Command::History => {
            let changes = app.operate::<ListModeChanges>(&deps, &WhichModeChanges::default()).await?;
            told(app, &changes)
        }
        Command::Set(args) => changed(app, app.operate::<SetMode>(&deps, &args.request()).await?),
        Command::Clear(args) => changed(app, app.operate::<ClearMode>(&deps, &args.request()).await?),
    }
}

pub(crate) async fn set(app: &App, args: &SetArgs) -> Result<(), Failure> {
    changed(app, app.operate::<SetMode>(&app.deps().await?, &args.request()).await?)
}

fn changed(app: &App, changed: ModeChanged) -> Result<(), Failure> {
    let ModeChanged { revision, processes, others } = changed;
    match revision {
        Some(revision) => said(app, &InForce { revision, processes, others }),
        None => app.output.result(&json!({"revision": null}), || "nothing to change: it is so already".to_owned()),
    }
}

impl SetArgs {
    pub(crate) fn everything(mode: Mode) -> Self {
        Self { mode, of: OfArgs { plugin: None, route: None }, life: None, reason: None }
    }

    fn request(&self) -> NewMode {
        let OfArgs { plugin, route } = &self.of;
        let (plugin, route, reason) = (plugin.clone(), route.clone(), self.reason.clone());
        NewMode { mode: self.mode, plugin, route, life: self.life.map(Span), reason }
    }
}

impl ClearArgs {
    fn request(&self) -> WhichMode {
        let OfArgs { plugin, route } = &self.of;
        WhichMode { plugin: plugin.clone(), route: route.clone(), reason: self.reason.clone() }
    }
}

fn text(ModesShown { configured, set: now, workers }: &ModesShown) -> String {
    let set = lines(now).unwrap_or_else(|| "no mode is set at run time".to_owned());
    let going = workers.iter().map(|worker| [worker.process.clone(), goes_by(worker, now.revision)]);
    let going: Vec<[String; 2]> = going.collect();
    let going = if going.is_empty() { "no worker runs".to_owned() } else { pairs(&going) };
    format!("configured: {configured}\n\n{set}\n\n{going}")
}

/// The modes that are set, for people; `None` when there are none.
pub(crate) fn lines(now: &ModesNow) -> Option<String> {
    let line = |held: &modes::Held| {
        let until = held.until.map_or_else(|| "until it is cleared".to_owned(), |at| format!("until {}", rfc3339(at)));
        [held.of.clone(), held.mode.to_string(), until]
    };
    let by = now.by.as_deref().zip(now.at).map(|(by, at)| format!("\nlast changed by {by} at {}", rfc3339(at)));
    let rows = table(["set for", "mode", "until"], now.modes.iter().map(line));
    (!now.modes.is_empty()).then(|| rows + &by.unwrap_or_default())
}

fn goes_by(worker: &Applied, newest: u64) -> String {
    match &worker.problem {
        Some(problem) => format!("goes by revision {}: {problem}", worker.revision),
        None if worker.revision == newest => "goes by them".to_owned(),
        None => format!("goes by revision {}, the newest is {newest}", worker.revision),
    }
}
