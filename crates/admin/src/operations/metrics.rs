use std::time::Duration;

use broca_core::rights::Access;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Effect, Facts, Operation, OperationError};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichMetrics {}

/// How much there is to do, and how old it is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Numbers {
    /// With work that nobody does yet.
    pub conversations_waiting: i64,
    /// With work that a worker holds.
    pub conversations_in_hand: i64,
    /// With work that is tried again later.
    pub conversations_parked: i64,
    /// Of those that are not over; nothing when all are.
    pub oldest_message_s: Option<f64>,
    /// Neither delivered nor given up.
    pub answers: i64,
    pub oldest_answer_s: Option<f64>,
    pub owed_publishes: i64,
    pub oldest_owed_s: Option<f64>,
    /// Open dead letters: stuck at the agent, and on their way to the platform.
    pub dead_letters_turn: i64,
    pub dead_letters_delivery: i64,
}

#[derive(Debug)]
pub struct ShowMetrics;

impl Operation for ShowMetrics {
    type Request = WhichMetrics;
    type Answer = Numbers;
    const FACTS: Facts = Facts {
        name: "metrics.show",
        summary: "The numbers of the whole deployment: what waits, how old it is, what failed. Cheap, and needs no broker.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "metrics",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, _request: &WhichMetrics) -> Result<Numbers, OperationError> {
        let load = act.store().workload().await?;
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs_f64());
        Ok(Numbers {
            conversations_waiting: load.waiting,
            conversations_in_hand: load.in_hand,
            conversations_parked: load.parked,
            oldest_message_s: seconds(load.oldest_message),
            answers: load.answers,
            oldest_answer_s: seconds(load.oldest_answer),
            owed_publishes: load.owed,
            oldest_owed_s: seconds(load.oldest_owed),
            dead_letters_turn: load.failed_turns,
            dead_letters_delivery: load.failed_deliveries,
        })
    }
}
