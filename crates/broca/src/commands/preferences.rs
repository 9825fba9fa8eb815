//! `broca users preferences`.

use broca_admin::operations::{
    Deps, GonePreferences, NewPreferences, Preferences, SetPreferences, ShowPreferences, UnsetPreferences, WhichPerson,
};
use serde_json::{Map, Value};

use crate::{app::App, failure::Failure, output::table};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// All of a person's
    Get(WhoArgs),
    /// Keeps something under a name
    Set(SetArgs),
    /// Drops what is kept under some names
    Unset(UnsetArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct WhoArgs {
    /// Our id of the person, or PLATFORM/ID
    who: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  broca users preferences set telegram/7 language '\"fr\"'\n\n\
    Preferences are kept for whoever asks by an operation; no agent is told of them.")]
pub(crate) struct SetArgs {
    /// Our id of the person, or PLATFORM/ID
    who: String,
    /// Letters, digits, dots, lines and underscores
    key: String,
    /// JSON; what is none is a text
    value: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnsetArgs {
    /// Our id of the person, or PLATFORM/ID
    who: String,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, deps: &Deps, command: &Command) -> Result<(), Failure> {
    let known = match command {
        Command::Get(WhoArgs { who }) => {
            app.operate::<ShowPreferences>(deps, &WhichPerson { who: who.clone() }).await?
        }
        Command::Set(SetArgs { who, key, value, reason }) => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.as_str()));
            let preferences = Map::from_iter([(key.clone(), value)]);
            let request = NewPreferences { who: who.clone(), preferences, reason: reason.clone() };
            app.operate::<SetPreferences>(deps, &request).await?
        }
        Command::Unset(UnsetArgs { who, keys, reason }) => {
            let request = GonePreferences { who: who.clone(), keys: keys.clone(), reason: reason.clone() };
            app.operate::<UnsetPreferences>(deps, &request).await?
        }
    };
    app.output.result(&known, || text(&known))
}

fn text(known: &Preferences) -> String {
    if known.preferences.is_empty() {
        return format!("nothing is kept of user {}", known.user_id);
    }
    table(["preference", "value"], known.preferences.iter().map(|(key, value)| [key.clone(), value.to_string()]))
}
