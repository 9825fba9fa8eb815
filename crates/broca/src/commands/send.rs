//! `broca send`: one message from the terminal and its answer.

use std::time::Duration;

pub(super) use broca_admin::operations::duration;
use broca_core::retry::Budget;
use broca_plugin_cli::{SendOutcome, Terminal};

use super::chat::{PersonArgs, terminal_failure};
use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    person: PersonArgs,
    /// How long to wait for the answer, e.g. 30s, 5m
    #[arg(long, default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// The agent is asked at most so often, whatever the route says
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    max_attempts: Option<u32>,
    /// After this long nothing more is tried, whatever the route says; 0 is no limit
    #[arg(long, value_parser = duration, value_name = "TIME")]
    max_age: Option<Duration>,
    text: String,
}

impl Args {
    fn budget(&self) -> Option<Budget> {
        let budget = Budget {
            max_attempts: self.max_attempts,
            max_age_s: self.max_age.map(|age| age.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
        };
        (budget != Budget::default()).then_some(budget)
    }
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    let terminal: Terminal = args.person.terminal(app)?;
    match terminal.send_within(&args.text, args.budget(), args.timeout).await.map_err(terminal_failure)? {
        SendOutcome::Answered { message_id, text } => app
            .output
            .result(&serde_json::json!({"message_id": message_id, "state": "completed", "answer": text}), || {
                text.clone()
            }),
        SendOutcome::Ended { message_id, state, reason } => {
            let reason_text = reason.unwrap_or_else(|| "there was nothing to say".to_owned());
            let fine = matches!(state, broca_core::MessageState::Completed | broca_core::MessageState::Stored);
            if !fine {
                return Err(Failure::new(Code::Failure, format!("message {message_id} is {state}: {reason_text}"))
                    .hint(format!("see all that happened to it: `broca message show {message_id}`")));
            }
            app.output.result(&serde_json::json!({"message_id": message_id, "state": state, "answer": null}), || {
                format!("({state}, no answer)")
            })
        }
        SendOutcome::Refused(reason) => Err(Failure::new(Code::Usage, reason)),
        SendOutcome::TimedOut { message_id: Some(id) } => Err(Failure::new(
            Code::Unavailable,
            format!("no answer within {:?}; message {id} is accepted and goes on", args.timeout),
        )
        .hint(format!("see where it is: `broca message show {id}`"))),
        SendOutcome::TimedOut { message_id: None } => {
            Err(Failure::new(Code::Unavailable, format!("the message was not accepted within {:?}", args.timeout))
                .hint("see what is wrong: `broca status`"))
        }
    }
}
