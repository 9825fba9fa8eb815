//! `broca message`: one message, all that happened to it, and its end before its time.

use broca_admin::cancel::{Cancel, cancel};
use broca_core::MessageId;
use broca_store::{Cancelled, MessageRecord};

use super::letters::actor;
use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Its text, its state, every attempt at the agent and every answer
    Show(ShowArgs),
    /// Ends it if it still waits for its turn, or keeps its answer from being delivered
    Cancel(CancelArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    id: MessageId,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 4: it is over, or a worker or a plugin is at it. A cancelled message can be replayed."
)]
pub(crate) struct CancelArgs {
    id: MessageId,
    /// Why; kept with the message
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show(args) => show(app, args).await,
        Command::Cancel(args) => end(app, args).await,
    }
}

async fn end(app: &App, CancelArgs { id, reason }: &CancelArgs) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let asked = Cancel { message: *id, actor: actor(), reason: reason.clone() };
    let report = cancel(&store, &asked).await?;
    let conflict = |message: String, hint: &str| Err(Failure::new(Code::Conflict, message).hint(hint));
    match &report.cancelled {
        Cancelled::Message => app.output.result(&report, || format!("cancelled {id}")),
        Cancelled::Answers { suppressed } => app.output.result(&report, || {
            let answers: Vec<_> = suppressed.iter().map(ToString::to_string).collect();
            format!("{id} was answered; the answer is not delivered: {}", answers.join(", "))
        }),
        Cancelled::Running => conflict(
            format!("a worker is at message {id}: it is not cancelled"),
            "once it is answered, its answer can be kept back the same way",
        ),
        Cancelled::Over { state } => conflict(
            format!("message {id} is {state}, and no answer of it waits: there is nothing to cancel"),
            "`broca message show ID` tells what became of it",
        ),
        Cancelled::Unknown => Err(unknown(*id)),
    }
}

async fn show(app: &App, ShowArgs { id }: &ShowArgs) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let record = store.message(*id).await?.ok_or_else(|| unknown(*id))?;
    app.output.result(&record, || text(&record))
}

pub(super) fn unknown(id: MessageId) -> Failure {
    Failure::new(Code::NotFound, format!("there is no message {id}"))
        .hint("is this the right database? `broca config show` prints which one is asked")
}

pub(super) fn text(record: &MessageRecord) -> String {
    let time = |at: broca_core::Timestamp| broca_core::format::rfc3339(at);
    let why = |class: &Option<String>, reason: &Option<String>| match (class, reason) {
        (Some(class), Some(reason)) => format!("  {class}: {reason}"),
        (Some(one), None) | (None, Some(one)) => format!("  {one}"),
        (None, None) => String::new(),
    };
    let mut lines = vec![
        format!("message       {}", record.id),
        format!("state         {}{}", record.state, why(&record.class, &record.reason)),
        format!("from          {} on {} (instance {})", record.platform_user_id, record.platform, record.instance),
        format!("conversation  {} at place {}", record.conversation_id, record.seq),
        format!("route, agent  {}, {}", record.route, record.agent),
        format!("received      {}", time(record.received_at)),
        format!("text          {}", record.text),
    ];
    lines.extend(record.finished_at.map(|at| format!("finished      {}", time(at))));
    for turn in &record.turns {
        let run = turn.run.as_deref().map(|run| format!(" run {run}")).unwrap_or_default();
        let why = why(&turn.class, &turn.reason);
        lines.push(format!(
            "turn {}        {} {} by {}{run}{why}",
            turn.attempt,
            time(turn.started_at),
            turn.state,
            turn.worker
        ));
    }
    for response in &record.responses {
        let why = why(&response.class, &response.reason);
        lines.push(format!(
            "answer        {} {} after {} attempts{why}",
            response.id, response.state, response.attempts
        ));
        lines.push(format!("              {}", response.text));
    }
    for replay in &record.replays {
        let was = why(&replay.class, &replay.reason);
        lines.push(format!(
            "replayed      {} at stage {} by {} after {} attempts; was {}{was}",
            time(replay.at),
            replay.stage,
            replay.actor,
            replay.attempts,
            replay.was_state
        ));
        lines.extend(replay.was_text.as_ref().map(|text| format!("text before   {text}")));
    }
    lines.join("\n")
}
