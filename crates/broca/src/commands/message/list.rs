//! `broca message list`: looks for messages.

use broca_admin::operations::{ListMessages, WhichFound, WhichMessages};
use broca_core::{Instance, MessageId, MessageState};
use broca_store::MessageLine;

use crate::{
    app::App,
    commands::{
        letters::short,
        moment::{Moment, moment, relative},
    },
    failure::Failure,
    output::{state, table},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A page looks at 20000 messages at most: one with few lines, or none, may have another behind it."
)]
pub(crate) struct Args {
    /// The platform, e.g. telegram
    #[arg(long)]
    platform: Option<String>,
    /// The plugin instance
    #[arg(long)]
    instance: Option<Instance>,
    /// The agent, by its name in the settings
    #[arg(long)]
    agent: Option<String>,
    /// The route, by its name in the settings
    #[arg(long)]
    route: Option<String>,
    /// The person, by the platform's id
    #[arg(long)]
    user: Option<String>,
    /// How they stand, e.g. received, completed, failed
    #[arg(long)]
    state: Option<MessageState>,
    /// Accepted since then: 2h, 7d, or 2026-11-23T08:00:00Z
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Moment>,
    /// Accepted before then
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Moment>,
    /// Has this in the message or an answer, in any case
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<MessageId>,
}

pub(super) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let filter = WhichMessages {
        platform: args.platform.clone(),
        instance: args.instance.clone(),
        agent: args.agent.clone(),
        route: args.route.clone(),
        user: args.user.clone(),
        state: args.state,
        since: args.since,
        until: args.until,
        contains: args.contains.clone(),
    };
    let request = WhichFound { filter, limit: Some(args.limit), cursor: args.cursor };
    let found = app.operate::<ListMessages>(&app.deps().await?, &request).await?;
    app.output.result(&found, || {
        let header = ["message", "accepted", "state", "from", "agent", "text"];
        let mut text = match found.items.is_empty() {
            true => "none was found".to_owned(),
            false => table(header, found.items.iter().map(line)),
        };
        if let Some(cursor) = &found.next_cursor {
            text.push_str(&format!("\nthere are more to look through: --cursor {cursor}"));
        }
        text
    })
}

fn line(line: &MessageLine) -> [String; 6] {
    let stands = state(line.state.as_str());
    [
        line.message_id.to_string(),
        relative(line.received_at),
        line.class.as_ref().map_or_else(|| stands.clone(), |class| format!("{stands} ({class})")),
        format!("{}/{}", line.platform, line.platform_user_id),
        line.agent.clone(),
        short(&line.text, 60),
    ]
}
