//! `broca config`: the settings.

use serde_json::Value;

use super::mode;
use crate::{app::App, config::shown, failure::Failure, output::table};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Every value with where it comes from, and the modes that are set at run time; secrets as ***
    Show,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let Command::Show = command;
    let rows = shown(&app.config);
    let file = app.config.file.as_ref().map(|path| path.display().to_string());
    let modes = app.modes_now().await;
    app.output.result(&serde_json::json!({"file": file, "items": rows, "modes": modes}), || {
        let rows = rows.iter().map(|row| [row.key.clone(), text(&row.value), row.source.clone()]);
        let settings = table(["key", "value", "from"], rows);
        let set = modes.as_ref().and_then(mode::lines);
        set.map_or(settings.clone(), |set| format!("{settings}\n\nset at run time, instead of `mode`:\n{set}"))
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
