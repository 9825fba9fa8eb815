//! `broca explain`: why is there no answer?

use broca_admin::{
    explain::Explanation,
    operations::{ExplainMessage, WhichExplained},
};
use broca_core::Instance;

use super::which::Which;
use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("one").required(true))]
pub(crate) struct Args {
    /// The message's id, or the first digits of it
    #[arg(value_name = "ID", group = "one")]
    which: Option<Which>,
    /// The platform's own event, with the instance it came through
    #[arg(long, value_name = "INSTANCE/EVENT", group = "one", value_parser = event)]
    event: Option<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    instance: Instance,
    id: String,
}

fn event(text: &str) -> Result<Event, String> {
    let (instance, id) = text.split_once('/').ok_or("give the instance too, e.g. telegram/118327")?;
    let instance = instance.parse().map_err(|error| format!("'{instance}' is no instance: {error}"))?;
    Ok(Event { instance, id: id.to_owned() })
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let (instance, event) = args.event.clone().map(|event| (event.instance, event.id)).unzip();
    let request = WhichExplained { id: args.which.clone(), instance, event };
    let explanation = app.operate::<ExplainMessage>(&app.deps().await?, &request).await?;
    app.output.result(&explanation, || text(&explanation))
}

fn text(explanation: &Explanation) -> String {
    let mut lines = vec![format!("{}: {}", explanation.message_id, explanation.sentence)];
    lines.extend(explanation.evidence.iter().map(|fact| format!("  - {fact}")));
    lines.extend(explanation.next.iter().map(|next| format!("  next: {next}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_with_its_instance() {
        let found = event("telegram/118/327").unwrap();
        assert_eq!((found.instance.as_str(), found.id.as_str()), ("telegram", "118/327"));
        assert!(event("118327").unwrap_err().contains("instance"));
        assert!(event("Not An Instance/7").is_err());
    }
}
