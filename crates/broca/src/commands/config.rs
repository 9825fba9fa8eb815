//! `broca config`: the settings.

use serde_json::Value;

use crate::{app::App, config::shown, failure::Failure, output::table};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Every value with where it comes from; secrets as ***
    Show,
}

pub(crate) fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let Command::Show = command;
    let rows = shown(&app.config);
    let file = app.config.file.as_ref().map(|path| path.display().to_string());
    app.output.result(&serde_json::json!({"file": file, "items": rows}), || {
        table(["key", "value", "from"], rows.iter().map(|row| [row.key.clone(), text(&row.value), row.source.clone()]))
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
