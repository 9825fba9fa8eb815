//! `broca events`: what happens, as it happens.

use broca_core::{Event, EventType, Instance, format::rfc3339, subject};
use serde_json::Value;

use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "An event may be missed, and what happened before the command began is not shown: `broca message show` and\n\
    `broca status` tell from the rows. With --json one object a line."
)]
pub(crate) struct Args {
    /// Goes on until it is interrupted
    #[arg(long, required = true)]
    follow: bool,
    /// message, status, error, or a plugin's own, e.g. x-joined [default: all]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<EventType>,
    /// Those of one plugin instance
    #[arg(long)]
    instance: Option<Instance>,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let bus = app.bus("events").await?;
    let of = args.instance.as_ref().map_or("*", Instance::as_str);
    let subject = match &args.kind {
        Some(kind) => subject::events(kind, args.instance.as_ref()),
        None => format!("broca.events.*.{of}"),
    };
    let mut heard = bus.listen(subject).await?;
    while let Some((_, payload)) = heard.next().await {
        let Some(event) = Event::decode(&payload) else { continue };
        if app.output.is_json() {
            app.output.json_line(&event)?;
        } else {
            app.output.text(&line(&event))?;
        }
    }
    Err(Failure::new(Code::Unavailable, "the connection to NATS is closed"))
}

fn line(event: &Event) -> String {
    let said: Vec<String> = match &event.data {
        Value::Object(data) => data.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect(),
        other => vec![plain(other)],
    };
    format!("{}  {:<8}  {:<12}  {}", rfc3339(event.at), event.kind.as_str(), event.instance, said.join(" "))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if !text.contains(' ') => text.clone(),
        other => other.to_string(),
    }
}
