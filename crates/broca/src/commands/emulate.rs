//! `broca emulate`: a conversation with a plugin, without its platform.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    app::App,
    emulation::{Emulated, Stand, Turn},
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A plugin's name, or its folder
    #[arg(value_name = "NAME|PATH")]
    plugin: String,
    /// Who you are on its platform
    #[arg(long = "as", value_name = "NAME", default_value = "alice")]
    user: String,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let emulated = emulated(app, &args.plugin)?;
    let mut stand = Stand::set(emulated).await?;
    app.note("write as the person would; Ctrl-D ends");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line.trim().is_empty() {
            continue;
        }
        let turn = stand.says(&args.user, &line).await?;
        if app.output.is_json() { app.output.json_line(&turn)? } else { app.output.text(&text(&turn))? }
    }
    stand.strike().await
}

/// A folder, a kind of plugin of a folder, or one that is compiled in.
fn emulated(app: &App, plugin: &str) -> Result<Emulated, Failure> {
    let kinds = app.kinds();
    let kind = kinds.named(plugin);
    if let Some(folder) = kind.and_then(|kind| kind.folder.clone()) {
        return Emulated::folder(&folder);
    }
    if let Some(kind) = kind {
        return Emulated::compiled_in(&kind.blueprint);
    }
    if Path::new(plugin).is_dir() {
        return Emulated::folder(Path::new(plugin));
    }
    Err(Failure::new(Code::NotFound, format!("'{plugin}' is neither a plugin nor the folder of one"))
        .hint("`broca plugin list` names the plugins that there are"))
}

fn text(turn: &Turn) -> String {
    let mut lines = Vec::new();
    if let Some(message) = &turn.message {
        let chat = message.chat_id.as_ref().map(|chat| format!(" in {chat}")).unwrap_or_default();
        let user = &message.sender.platform_user_id;
        lines.push(format!("in   event {} from {user}{chat}: {}", message.event_id, message.text));
        if message.attributes.as_object().is_some_and(|attributes| !attributes.is_empty()) {
            lines.push(format!("     attributes {}", message.attributes));
        }
    }
    lines.extend(turn.outcome.iter().map(|outcome| format!("     {outcome}")));
    lines.extend(turn.agent.iter().map(|text| format!("     the agent reads and answers: {text}")));
    for sent in &turn.sent {
        let marks = sent.marks.as_ref().map(|marks| format!(" ({marks})")).unwrap_or_default();
        lines.push(format!("out  {}{marks}: {}", sent.id, sent.text));
    }
    lines.extend(turn.receipt.iter().map(|receipt| format!("     {receipt}")));
    lines.join("\n")
}
