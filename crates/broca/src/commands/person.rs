//! `broca users set`.

use broca_admin::person::{self, PersonError};
use serde_json::Value;

use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  broca users set telegram/7 --instructions \"answer in French\"\n\n\
    Instructions stand in the header of each of the person's messages, on all platforms; an empty text takes them away.")]
#[group(required = true, multiple = true)]
pub(crate) struct Settings {
    /// What the agent is told with each message of theirs
    #[arg(long, value_name = "TEXT")]
    instructions: Option<String>,
    /// A JSON object that is kept for whoever asks
    #[arg(long, value_name = "JSON", value_parser = json)]
    preferences: Option<Value>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The platform's id, e.g. 7 or telegram/7, or the id of the user
    #[arg(value_name = "WHO")]
    who: String,
    #[command(flatten)]
    settings: Settings,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

pub(crate) async fn set(app: &App, args: &Args) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let Settings { instructions, preferences } = &args.settings;
    let done = person::set(&store, &args.who, instructions.as_deref(), preferences.clone()).await?;
    app.output.result(&done, || {
        let instructions = done.custom_instructions.as_deref().unwrap_or("none");
        format!("user {}\ninstructions  {instructions}\npreferences   {}", done.user_id, done.agent_preferences)
    })
}

impl From<PersonError> for Failure {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Store(error) => error.into(),
            PersonError::Nobody(error) => error.into(),
            error => Self::new(Code::Usage, error.to_string()),
        }
    }
}
