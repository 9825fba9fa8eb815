//! `broca users forget`: all that is kept of a person is deleted.

use std::time::Duration;

use broca_admin::{
    forget::{self, Forget, ForgetError},
    holds::{self, HoldError},
};
use broca_core::{ConversationId, UserId};
use broca_store::{AgentSide, Forgotten, PersonData, Store};
use serde::Serialize;

use super::{letters::actor, send::duration, users::nobody};
use crate::{
    agents,
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --yes it only says what there is. It may be repeated, also after it was killed. Exit code 4: \
                  something is in a turn or in delivery; exit code 3: nobody is known by that name (any more). It does not \
                  reach what platforms, backups, logs and the freed pages of the database have, nor what the broker still has \
                  under way or in BROCA_EVENTS."
)]
pub(crate) struct Args {
    /// Our id of the person, or PLATFORM/ID
    who: String,
    /// Says what there is, and deletes nothing; the same as without --yes
    #[arg(long, conflicts_with = "yes")]
    plan: bool,
    /// Deletes it
    #[arg(long)]
    yes: bool,
    /// Deletes their own conversations at the agents, too; Letta marks them as deleted and shows them no more
    #[arg(long, requires = "yes")]
    agent: bool,
    /// Why; kept with the numbers, so name nobody
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for turns and deliveries under way
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    wait: Duration,
}

#[derive(Debug, Serialize)]
struct Report {
    user: UserId,
    /// What there was before.
    found: Option<PersonData>,
    /// What was done; nothing when it was only asked.
    forgotten: Option<Forgotten>,
}

pub(crate) async fn run(app: &App, store: &Store, args: &Args) -> Result<(), Failure> {
    let user = match holds::person(store, &args.who).await {
        Ok(user) => user,
        Err(HoldError::Nobody(_)) => return Err(nobody(&args.who)),
        Err(error) => return Err(error.into()),
    };
    if store.user(user).await?.is_none() {
        // Only who has the id can ask again.
        let forgotten = store.forgotten(user).await?.ok_or_else(|| nobody(&args.who))?;
        let report = Report { user, found: None, forgotten: Some(forgotten) };
        return app.output.result(&report, || text(&report, app.context.as_ref()));
    }
    let found = store.forget_look(user).await?;
    if !args.yes {
        let report = Report { user, found: Some(found), forgotten: None };
        return app.output.result(&report, || text(&report, app.context.as_ref()));
    }
    let wish = Forget {
        user,
        actor: actor(),
        reason: args.reason.clone(),
        wait: args.wait,
        dedupe: app.config.settings.retention.policy().dedupe,
    };
    // Before anything is changed: the copies of dead letters lie there.
    let bus = app.bus("admin").await?;
    let data = forget::quieten(store, &wish).await?;
    if args.agent {
        delete_at_agents(app, store, user).await?;
    }
    let own: Vec<ConversationId> =
        data.conversations.iter().filter(|conversation| conversation.own).map(|conversation| conversation.id).collect();
    let forgotten = forget::remove(store, &bus, &wish, &own).await?;
    let report = Report { user, found: Some(found), forgotten: Some(forgotten) };
    app.output.result(&report, || text(&report, app.context.as_ref()))
}

/// What could not be deleted stays on the record, and so does what others are in.
async fn delete_at_agents(app: &App, store: &Store, user: UserId) -> Result<(), Failure> {
    let agents = agents::configured(&app.config.settings)?;
    let there = store.forgotten(user).await?.map(|record| record.agent_conversations).unwrap_or_default();
    let (shared, mut own): (Vec<AgentSide>, Vec<AgentSide>) = there.into_iter().partition(|side| side.shared);
    while let Some(side) = own.last() {
        let AgentSide { agent: name, conversation, .. } = side;
        let agent = agents.get(name).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!("agent '{name}' has conversation {conversation}, and is not configured"),
            )
            .hint("configure it, or leave --agent out and delete the conversation there by hand")
        })?;
        agent.agent.delete_conversation(conversation).await.map_err(|failure| {
            Failure::new(Code::Unavailable, format!("agent '{name}' did not delete {conversation}: {failure}"))
                .hint("nothing of the person's rows was deleted; run it again")
        })?;
        own.pop();
        store.forget_agents(user, &[shared.as_slice(), own.as_slice()].concat()).await?;
    }
    Ok(())
}

impl From<ForgetError> for Failure {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Busy(_) => Self::new(Code::Conflict, error.to_string()).hint(
                "what waited was cancelled, the rest is as it was; run it again once they are over, or with a longer --wait",
            ),
            ForgetError::Store(error) => error.into(),
            ForgetError::Bus(error) => error.into(),
        }
    }
}

fn text(report: &Report, context: Option<&String>) -> String {
    match (&report.found, &report.forgotten) {
        (_, Some(forgotten)) => done(report.user, forgotten),
        (Some(found), None) => plan(report.user, found, context),
        (None, None) => String::new(),
    }
}

fn plan(user: UserId, data: &PersonData, context: Option<&String>) -> String {
    let shared = data.conversations.iter().filter(|conversation| !conversation.own).count();
    let mut lines = vec![
        format!("user {user} has"),
        format!("  {} accounts, {} holds, {} chats that take no answers", data.profiles, data.holds, data.dead_targets),
        format!(
            "  {} messages, {} of them waiting (cancelled first), {} in a turn",
            data.messages, data.waiting, data.in_turn
        ),
        format!(
            "  {} turns, {} steps, {} replays, {} items of plans",
            data.turns, data.events, data.replays, data.plan_items
        ),
        format!(
            "  {} answers, {} of them in delivery; {} delivery attempts",
            data.answers, data.in_delivery, data.deliveries
        ),
        format!("  {} conversations, {shared} of them with others, where only theirs goes", data.conversations.len()),
    ];
    lines.extend(data.agent_conversations.iter().map(agent_line));
    let place = context.map(|name| format!(" in context {name}")).unwrap_or_default();
    lines.push(format!("nothing was deleted{place}; --yes does it"));
    lines.join("\n")
}

fn agent_line(side: &AgentSide) -> String {
    let whose = if side.shared { "with others: it stays there" } else { "theirs: --agent deletes it there, too" };
    format!("  agent '{}' has conversation {} {whose}", side.agent, side.conversation)
}

fn done(user: UserId, forgotten: &Forgotten) -> String {
    let Some(at) = forgotten.done_at else {
        return format!("user {user}: the forgetting was begun and not ended");
    };
    let removed = &forgotten.removed;
    let mut lines = vec![format!(
        "user {user} is forgotten since {}: {} messages, {} answers and {} steps were deleted",
        broca_core::format::rfc3339(at),
        removed.messages,
        removed.responses,
        removed.events
    )];
    let stays = |side: &AgentSide| {
        let whose = if side.shared { " with others" } else { "" };
        format!("  agent '{}' still has conversation {}{whose}", side.agent, side.conversation)
    };
    lines.extend(forgotten.agent_conversations.iter().map(stays));
    lines.join("\n")
}
