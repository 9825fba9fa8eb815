//! `broca metrics`: the numbers of the whole deployment.

use broca_admin::operations::{ShowMetrics, WhichMetrics};

use crate::{app::App, failure::Failure, output::pairs};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _args: &Args) -> Result<(), Failure> {
    let numbers = app.operate::<ShowMetrics>(&app.deps().await?, &WhichMetrics {}).await?;
    app.output.result(&numbers, || {
        let seconds = |age: Option<f64>| age.map_or_else(|| "-".to_owned(), |age| format!("{age:.1} s"));
        pairs(
            &[
                ["conversations waiting", &numbers.conversations_waiting.to_string()],
                ["conversations in hand", &numbers.conversations_in_hand.to_string()],
                ["conversations parked", &numbers.conversations_parked.to_string()],
                ["oldest message", &seconds(numbers.oldest_message_s)],
                ["answers to deliver", &numbers.answers.to_string()],
                ["oldest answer", &seconds(numbers.oldest_answer_s)],
                ["owed publishes", &numbers.owed_publishes.to_string()],
                ["oldest owed publish", &seconds(numbers.oldest_owed_s)],
                ["dead letters at the agent", &numbers.dead_letters_turn.to_string()],
                ["dead letters in delivery", &numbers.dead_letters_delivery.to_string()],
            ]
            .map(|row| row.map(str::to_owned)),
        )
    })
}
