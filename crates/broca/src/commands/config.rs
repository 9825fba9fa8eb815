//! `broca config`, also called `broca settings`: what is in force, where it comes from, and what can be changed of it while
//! everything runs.

use std::time::Duration;

use broca_core::{Instance, route::Mode};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{mode, plugin::settings, send::duration};
use crate::{
    app::App,
    config::{self, Shown, shown},
    failure::{Blame, Code, Failure},
    output::table,
    progress::Progress,
    run_file::RunFile,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Every value with where it comes from, and the modes that are set at run time; secrets as ***
    Show,
    /// One value, or all below a key
    Get(GetArgs),
    /// What broca.toml may have, as a JSON schema
    Schema,
    /// Changes what can be changed while everything runs: `mode`, and the settings of plugins
    Set(SetArgs),
    /// Has the running `broca up` read its settings anew: its workers and plugins are started anew, one after the other
    Reload(ReloadArgs),
    /// Sets a mode; the same as `broca mode set`
    Mode(mode::SetArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// Dotted, e.g. worker.slots or agents.default
    key: String,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  broca settings set mode=listen\n  broca settings set plugins.telegram.groups=all\n\n\
    The one is `broca mode set`, the other `broca plugin set`. All else is read when a process starts: write it into\n\
    broca.toml, and `broca settings reload`. Exit code 4: KEY is of that kind."
)]
pub(crate) struct SetArgs {
    #[arg(value_name = "KEY=VALUE", value_parser = settings::assignment)]
    assignment: settings::Assignment,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is under way ends first. Agents, routes, access, limits and the like are in force then. Where the servers\n\
    are, how many workers there are and which plugin instances, a new start of `broca up` alone takes up. The settings are\n\
    checked before anything is stopped. Exit code 4: they are not in force everywhere."
)]
pub(crate) struct ReloadArgs {
    /// How long to wait until it is done
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    timeout: Duration,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show => show(app).await,
        Command::Get(GetArgs { key }) => get(app, key),
        Command::Schema => app.output.json(&config::schema()),
        Command::Set(SetArgs { assignment }) => set(app, assignment).await,
        Command::Reload(args) => reload(app, args.timeout).await,
        Command::Mode(args) => mode::set(app, args).await,
    }
}

async fn show(app: &App) -> Result<(), Failure> {
    let rows = shown(&app.config);
    let file = app.config.file.as_ref().map(|path| path.display().to_string());
    let modes = app.modes_now().await;
    let all = json!({"file": file, "context": app.context, "items": rows, "modes": modes});
    app.output.result(&all, || {
        let settings = listed(&rows);
        let set = modes.as_ref().and_then(mode::lines);
        set.map_or(settings.clone(), |set| format!("{settings}\n\nset at run time, instead of `mode`:\n{set}"))
    })
}

fn listed(rows: &[Shown]) -> String {
    table(["key", "value", "from"], rows.iter().map(|row| [row.key.clone(), text(&row.value), row.source.clone()]))
}

fn get(app: &App, key: &str) -> Result<(), Failure> {
    let mut rows = shown(&app.config);
    rows.retain(|row| row.key == key || row.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
    if rows.is_empty() {
        return Err(
            Failure::new(Code::NotFound, format!("there is no setting {key}")).hint("`broca config show` has them all")
        );
    }
    app.output.result(&json!({"items": rows}), || match rows.as_slice() {
        [one] if one.key == key => text(&one.value),
        rows => listed(rows),
    })
}

async fn set(app: &App, assignment: &settings::Assignment) -> Result<(), Failure> {
    let (key, value) = (assignment.key.as_str(), assignment.value.as_str());
    if key == "mode" {
        let mode: Mode = value.parse().map_err(|error: String| Failure::new(Code::Usage, error))?;
        return mode::set(app, &mode::SetArgs::everything(mode)).await;
    }
    let of_plugin = key.strip_prefix("plugins.").and_then(|rest| rest.split_once('.'));
    if let Some((instance, rest)) = of_plugin {
        let instance: Instance = instance.parse().map_err(|error| Failure::new(Code::Usage, format!("{error}")))?;
        let rest = rest.strip_prefix("settings.").unwrap_or(rest);
        if !["enabled", "plugin"].contains(&rest) && !rest.starts_with("access") {
            let assignment = settings::Assignment { key: rest.to_owned(), value: value.to_owned() };
            return settings::set(app, &settings::SetArgs::one(instance, assignment)).await;
        }
    }
    Err(Failure::new(Code::Conflict, format!("{key} is read when a process starts, and cannot be set while it runs"))
        .hint("write it into broca.toml, and `broca settings reload`; `broca plugin enable` and `broca access` have their own commands"))
}

/// How often it is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

async fn reload(app: &App, timeout: Duration) -> Result<(), Failure> {
    let data_dir = &app.config.settings.data_dir;
    let here = || -> Result<RunFile, Failure> { RunFile::read(data_dir)?.ok_or_else(|| app.nothing_runs()) };
    let before = here()?;
    let number = |file: &RunFile| file.reloaded.as_ref().map_or(0, |reloaded| reloaded.number);
    let pid = i32::try_from(before.pid).map_err(|error| Failure::new(Code::Failure, error.to_string()))?;
    signal::kill(Pid::from_raw(pid), Signal::SIGUSR1)
        .blame(Code::Unauthorised, format!("process {pid} cannot be told to"))?;
    let done = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = here()?;
            if number(&now) > number(&before) {
                return Ok::<_, Failure>(now);
            }
        }
    };
    let _working = Progress::of("workers and plugins are started anew");
    let late = |_| Failure::new(Code::Unavailable, "it is not done yet").hint("its log says how far it is");
    let reloaded = tokio::time::timeout(timeout, done).await.map_err(late)??.reloaded;
    match reloaded.and_then(|reloaded| reloaded.problem) {
        Some(problem) => Err(Failure::new(Code::Conflict, problem)),
        None => app.output.result(&json!({"pid": pid, "reloaded": true}), || "the settings are in force".to_owned()),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
