//! `broca mode`: what is done with messages, while everything runs.

use std::time::Duration;

use broca_admin::{
    live,
    modes::{self, ModesNow},
};
use broca_core::{
    Instance,
    format::rfc3339,
    live::ModeSubject,
    route::{DEFAULT_AGENT, Mode},
    subject::KEY_MODES,
};
use broca_store::Applied;
use serde_json::json;

use super::{
    letters::actor,
    plugin::settings::{said, told},
    send::duration,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::{pairs, table},
};

/// How long a command waits for the workers.
const PATIENCE: Duration = Duration::from_secs(3);

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
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClearArgs {
    #[command(flatten)]
    of: OfArgs,
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
    match command {
        Command::Show => show(app).await,
        Command::Set(args) => {
            let of = args.of.subject(app)?;
            if args.mode == Mode::Live {
                has_agents(app, &of)?;
            }
            set(app, &of, Some((args.mode, args.life))).await
        }
        Command::Clear(args) => set(app, &args.of.subject(app)?, None).await,
        Command::History => {
            let (store, bus) = app.both("mode").await?;
            let changes = live::history(&store, &bus, KEY_MODES, 50).await?;
            told(app, &changes)
        }
    }
}

impl OfArgs {
    /// A name that the settings do not have is a slip of the pen.
    fn subject(&self, app: &App) -> Result<ModeSubject, Failure> {
        let unknown = |what: &str, name: &str, known: Vec<String>| {
            Err(Failure::new(Code::NotFound, format!("the settings have no {what} '{name}'"))
                .hint(format!("they have: {}", known.join(", "))))
        };
        match (&self.plugin, &self.route) {
            (Some(instance), _) if app.config.settings.plugins.contains_key(instance) => {
                Ok(ModeSubject::Plugin(instance.clone()))
            }
            (Some(instance), _) => {
                let known = app.config.settings.plugins.keys().map(ToString::to_string).collect();
                unknown("plugin instance", instance.as_str(), known)
            }
            (None, Some(name)) => {
                let known: Vec<String> = app.routes().names().map(str::to_owned).collect();
                if known.contains(name) { Ok(ModeSubject::Route(name.clone())) } else { unknown("route", name, known) }
            }
            (None, None) => Ok(ModeSubject::Everything),
        }
    }
}

/// Whoever goes live needs somebody who answers: the messages would only wait.
fn has_agents(app: &App, of: &ModeSubject) -> Result<(), Failure> {
    let settings = &app.config.settings;
    let agents: Vec<&str> = match of {
        ModeSubject::Route(name) => {
            let route = settings.routes.iter().find(|route| route.name == *name);
            vec![route.and_then(|route| route.agent.as_deref()).unwrap_or(DEFAULT_AGENT)]
        }
        ModeSubject::Everything | ModeSubject::Plugin(_) => vec![DEFAULT_AGENT],
    };
    match agents.into_iter().find(|agent| !settings.agents.contains_key(*agent)) {
        None => Ok(()),
        Some(agent) => Err(Failure::new(Code::Usage, format!("there is no agent '{agent}': messages would only wait"))
            .hint(format!("set agents.{agent}.endpoint and agents.{agent}.agent_id and start again"))),
    }
}

async fn set(app: &App, of: &ModeSubject, mode: Option<(Mode, Option<Duration>)>) -> Result<(), Failure> {
    let (store, bus) = app.both("mode").await?;
    match modes::set((&store, &bus), &actor(), of, mode).await? {
        Some(revision) => said(app, &live::in_force(&store, KEY_MODES, revision, PATIENCE).await?),
        None => app.output.result(&json!({"revision": null}), || "nothing to change: it is so already".to_owned()),
    }
}

async fn show(app: &App) -> Result<(), Failure> {
    let (store, bus) = app.both("mode").await?;
    let now = modes::now(&store, &bus).await?;
    let workers = modes::workers(&store).await?;
    let configured = app.config.settings.effective_mode();
    app.output.result(&json!({"configured": configured, "set": now, "workers": workers}), || {
        let set = lines(&now).unwrap_or_else(|| "no mode is set at run time".to_owned());
        let going = workers.iter().map(|worker| [worker.process.clone(), goes_by(worker, now.revision)]);
        let going: Vec<[String; 2]> = going.collect();
        let going = if going.is_empty() { "no worker runs".to_owned() } else { pairs(&going) };
        format!("configured: {configured}\n\n{set}\n\n{going}")
    })
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
