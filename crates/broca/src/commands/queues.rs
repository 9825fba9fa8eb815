//! `broca queues`: how far the broker's consumers are behind.

use broca_admin::{
    operations::{ShowQueues, WhichQueues},
    status::ConsumerLag,
};

use crate::{
    app::App,
    failure::Failure,
    output::{Tone, paint, table},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _args: &Args) -> Result<(), Failure> {
    let queues = app.operate::<ShowQueues>(&app.deps().await?, &WhichQueues {}).await?;
    app.output.result(&queues, || consumers(&queues.consumers))
}

pub(super) fn consumers(consumers: &[ConsumerLag]) -> String {
    table(
        ["consumer", "waiting", "in hand", "redelivered", "problem"],
        consumers.iter().map(|consumer| {
            let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            [
                consumer.consumer.clone(),
                number(consumer.pending),
                number(consumer.ack_pending),
                number(consumer.redelivered),
                paint(Tone::Bad, consumer.problem.as_deref().unwrap_or_default()),
            ]
        }),
    )
}
