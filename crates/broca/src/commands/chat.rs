//! `broca chat`: a conversation from the terminal.

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use broca_core::Instance;
use broca_plugin_cli::{ChatOptions, ChatStyle, Keyboard, Terminal, TerminalError};

use super::send::duration;
use crate::{
    app::App,
    failure::{Code, Failure},
};

/// Who talks, and through which plugin.
#[derive(Debug, clap::Args)]
pub(crate) struct PersonArgs {
    /// Who you are on the `cli` platform
    #[arg(long = "as", value_name = "NAME")]
    user: String,
    /// The instance of the cli plugin
    #[arg(long, default_value = "cli", value_name = "INSTANCE")]
    instance: Instance,
    /// Its socket [default: as in the settings]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl PersonArgs {
    pub(super) fn terminal(&self, app: &App) -> Result<Terminal, Failure> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => app.cli_settings(&self.instance)?.socket,
        };
        Ok(Terminal::new(socket, &self.user))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    person: PersonArgs,
    /// How long a piped chat waits for missing answers after the end of its input
    #[arg(long, default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let style = if std::io::stdin().is_terminal() { ChatStyle::Interactive } else { ChatStyle::Piped };
    let options = ChatOptions { style, patience: args.timeout };
    let terminal = args.person.terminal(app)?;
    let summary = terminal
        .chat(Keyboard::stdin()?, tokio::io::stdout(), tokio::io::stderr(), options)
        .await
        .map_err(terminal_failure)?;
    match (style, summary.failed, summary.open) {
        (ChatStyle::Interactive, ..) | (ChatStyle::Piped, 0, 0) => Ok(()),
        (ChatStyle::Piped, failed, open) => {
            let answered = summary.answered;
            Err(Failure::new(
                Code::Partial,
                format!("{answered} messages were answered, {failed} failed, {open} are open"),
            )
            .hint("see what waits: `broca status`"))
        }
    }
}

pub(super) fn terminal_failure(error: TerminalError) -> Failure {
    let code = match &error {
        TerminalError::NobodyListens(_) => Code::Unavailable,
        TerminalError::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Code::Unauthorised
        }
        TerminalError::Refused(_) => Code::Conflict,
        _ => Code::Failure,
    };
    Failure::new(code, error.to_string())
}
