//! `broca users set`.

use broca_admin::operations::{Deps, SetPerson, WhatOfPerson};
use serde_json::{Map, Value};

use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  broca users set telegram/7 --instructions \"answer in French\"\n\n\
    Instructions stand in the header of each of the person's messages, on all platforms; an empty text takes them away.")]
#[group(required = true, multiple = true)]
pub(crate) struct Settings {
    /// What the agent is told with each message of theirs
    #[arg(long, value_name = "TEXT")]
    instructions: Option<String>,
    /// A JSON object that is kept for whoever asks
    #[arg(long, value_name = "JSON", value_parser = object)]
    preferences: Option<Map<String, Value>>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The platform's id, e.g. 7 or telegram/7, or the id of the user
    #[arg(value_name = "WHO")]
    who: String,
    #[command(flatten)]
    settings: Settings,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON object, e.g. {{\"language\": \"fr\"}}: {error}"))
}

pub(crate) async fn set(app: &App, deps: &Deps, args: &Args) -> Result<(), Failure> {
    let Args { who, settings: Settings { instructions, preferences }, reason } = args;
    let (who, instructions, preferences) = (who.clone(), instructions.clone(), preferences.clone());
    let request = WhatOfPerson { who, instructions, preferences, reason: reason.clone() };
    let done = app.operate::<SetPerson>(deps, &request).await?;
    app.output.result(&done, || {
        let instructions = done.custom_instructions.as_deref().unwrap_or("none");
        format!("user {}\ninstructions  {instructions}\npreferences   {}", done.user_id, done.agent_preferences)
    })
}
