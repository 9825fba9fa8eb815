use broca_core::rights::Access;
use broca_store::PersonSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Acting, Code, Effect, Facts, Operation, OperationError};
use crate::person;

/// What an agent is to bear in mind of a person. What is not given stays as it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatOfPerson {
    /// Our id of the person, or PLATFORM/ID.
    pub who: String,
    /// What the agent is told with each message of theirs; an empty text takes it away.
    #[serde(default)]
    pub instructions: Option<String>,
    /// Whatever is kept for whoever asks.
    #[serde(default)]
    pub preferences: Option<Map<String, Value>>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct SetPerson;

impl Operation for SetPerson {
    type Request = WhatOfPerson;
    type Answer = PersonSettings;
    const FACTS: Facts = Facts {
        name: "users.set",
        summary: "Says what an agent is to bear in mind of a person: instructions with each of their messages, and preferences.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: true,
        cli: "users set",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhatOfPerson) -> Result<PersonSettings, OperationError> {
        let WhatOfPerson { who, instructions, preferences, .. } = request;
        if instructions.is_none() && preferences.is_none() {
            return Err(OperationError::new(Code::Usage, "nothing is to be set")
                .hint("give instructions or preferences; empty instructions take them away"));
        }
        let preferences = preferences.clone().map(Value::Object);
        let done = person::set(act.store(), who, instructions.as_deref(), preferences).await?;
        act.about(done.user_id);
        Ok(done)
    }
}
