use broca_core::{UserId, rights::Access};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Acting, Code, Effect, Facts, Operation, OperationError, users::WhichPerson};
use crate::person;

/// What is kept of a person for whoever asks. No agent is told of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Preferences {
    pub user_id: UserId,
    pub preferences: Map<String, Value>,
}

#[derive(Debug)]
pub struct ShowPreferences;

impl Operation for ShowPreferences {
    type Request = WhichPerson;
    type Answer = Preferences;
    const FACTS: Facts = Facts {
        name: "preferences.show",
        summary: "What is kept of a person for whoever asks.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "users preferences get",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichPerson) -> Result<Preferences, OperationError> {
        let (user_id, preferences) = person::prefer(act.store(), &request.who, Map::new(), &[]).await?;
        Ok(Preferences { user_id, preferences })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreferences {
    /// Our id of the person, or PLATFORM/ID.
    pub who: String,
    /// Those that are given become what is given; the others stay.
    pub preferences: Map<String, Value>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct SetPreferences;

impl Operation for SetPreferences {
    type Request = NewPreferences;
    type Answer = Preferences;
    const FACTS: Facts = Facts {
        name: "preferences.set",
        summary: "Keeps something of a person for whoever asks, under a name.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: false,
        cli: "users preferences set",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &NewPreferences) -> Result<Preferences, OperationError> {
        if request.preferences.is_empty() {
            return Err(OperationError::new(Code::Usage, "nothing is to be set").hint("give at least one preference"));
        }
        let (user_id, preferences) =
            person::prefer(act.store(), &request.who, request.preferences.clone(), &[]).await?;
        act.about(user_id);
        Ok(Preferences { user_id, preferences })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GonePreferences {
    /// Our id of the person, or PLATFORM/ID.
    pub who: String,
    /// The names of those that go; one that is not there changes nothing.
    pub keys: Vec<String>,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug)]
pub struct UnsetPreferences;

impl Operation for UnsetPreferences {
    type Request = GonePreferences;
    type Answer = Preferences;
    const FACTS: Facts = Facts {
        name: "preferences.unset",
        summary: "Drops something that is kept of a person for whoever asks.",
        access: Access::Operate,
        effect: Effect::Changes { again: true },
        reaches_people: false,
        cli: "users preferences unset",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &GonePreferences) -> Result<Preferences, OperationError> {
        let (user_id, preferences) = person::prefer(act.store(), &request.who, Map::new(), &request.keys).await?;
        act.about(user_id);
        Ok(Preferences { user_id, preferences })
    }
}
