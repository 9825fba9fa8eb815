//! `broca config`, also called `broca settings`: what is in force, where it comes from, and what can be changed of it while
//! everything runs.

use broca_core::{Instance, route::Mode};
use serde_json::{Value, json};

use super::{mode, plugin::settings};
use crate::{
    app::App,
    config::{self, Shown, shown},
    failure::{Code, Failure},
    output::table,
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
    broca.toml, and start again. Exit code 4: KEY is of that kind."
)]
pub(crate) struct SetArgs {
    #[arg(value_name = "KEY=VALUE", value_parser = settings::assignment)]
    assignment: settings::Assignment,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show => show(app).await,
        Command::Get(GetArgs { key }) => get(app, key),
        Command::Schema => app.output.json(&config::schema()),
        Command::Set(SetArgs { assignment }) => set(app, assignment).await,
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
        .hint("write it into broca.toml and start again; `broca plugin enable` and `broca access` have their own commands"))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
