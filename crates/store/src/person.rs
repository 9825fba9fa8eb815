//! What operators say of a person: instructions, which go into the header of each of their messages, and preferences,
//! which are kept for whoever asks.

use broca_core::UserId;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::types::Json;

use crate::{
    Store, StoreError,
    link::LOCK_USER,
    tx::{Tx, ask, change, operation},
};

#[derive(Clone, Debug)]
pub struct PersonChange {
    pub user: UserId,
    /// `Some(None)` takes them away.
    pub instructions: Option<Option<String>>,
    /// An object.
    pub preferences: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct PersonSettings {
    pub user_id: UserId,
    pub custom_instructions: Option<String>,
    pub agent_preferences: Value,
}

pub(crate) const INSTRUCT: &str = "-- person: instructions
UPDATE users SET custom_instructions = $2 WHERE id = $1";

/// Under the lock of the user's row, which the statement before has.
pub(crate) const INSTRUCT_PROFILES: &str = "-- person: instructions of the profiles
UPDATE profiles SET instructions = $2 WHERE user_id = $1";

pub(crate) const PREFER: &str = "-- person: preferences
UPDATE users SET agent_preferences = $2 WHERE id = $1";

pub(crate) const LOOK: &str = "-- person
SELECT custom_instructions, agent_preferences FROM users WHERE id = $1";

async fn set(tx: &mut Tx<'_>, change: &PersonChange) -> Result<Option<PersonSettings>, StoreError> {
    let user = change.user.0;
    if let Some(instructions) = &change.instructions {
        change!(tx, INSTRUCT, user, instructions.as_deref())?;
        change!(tx, INSTRUCT_PROFILES, user, instructions.as_deref())?;
    }
    if let Some(preferences) = &change.preferences {
        change!(tx, PREFER, user, Json(preferences))?;
    }
    let found = ask!(tx, fetch_optional, (Option<String>, Json<Value>), LOOK, user)?;
    Ok(found.map(|(custom_instructions, Json(agent_preferences))| PersonSettings {
        user_id: change.user,
        custom_instructions,
        agent_preferences,
    }))
}

/// Preferences to be set and to be dropped by their names.
#[derive(Clone, Debug)]
pub(crate) struct Prefer {
    user: UserId,
    set: Map<String, Value>,
    unset: Vec<String>,
    most_bytes: usize,
}

/// The bytes of what would be too much.
type Preferred = Option<Result<Map<String, Value>, usize>>;

async fn prefer(tx: &mut Tx<'_>, wish: &Prefer) -> Result<Preferred, StoreError> {
    let user = wish.user.0;
    tx.lock(LOCK_USER, user).await?;
    type Row = (Option<String>, Json<Map<String, Value>>);
    let Some((_, Json(mut preferences))) = ask!(tx, fetch_optional, Row, LOOK, user)? else { return Ok(None) };
    if wish.set.is_empty() && wish.unset.is_empty() {
        return Ok(Some(Ok(preferences)));
    }
    preferences.retain(|key, _| !wish.unset.contains(key));
    preferences.extend(wish.set.clone());
    let bytes = Value::Object(preferences.clone()).to_string().len();
    if bytes > wish.most_bytes {
        return Ok(Some(Err(bytes)));
    }
    change!(tx, PREFER, user, Json(&preferences))?;
    Ok(Some(Ok(preferences)))
}

operation!(PreferOf: Prefer => Preferred, "set preferences", prefer);
operation!(SetPerson: PersonChange => Option<PersonSettings>, "set a person", set);

impl Store {
    /// Changes what is given, and says how it is now; `None` when there is no such person. A turn that is under way goes on
    /// with what it began with.
    pub async fn set_person(&self, change: PersonChange) -> Result<Option<PersonSettings>, StoreError> {
        self.once::<SetPerson>(change).await
    }

    /// Sets and drops some of a person's preferences, and gives all of them; `Err` has the bytes that they would have, which
    /// are more than `most_bytes`. `None` when there is no such person.
    pub async fn prefer(
        &self,
        user: UserId,
        set: Map<String, Value>,
        unset: &[String],
        most_bytes: usize,
    ) -> Result<Option<Result<Map<String, Value>, usize>>, StoreError> {
        self.once::<PreferOf>(Prefer { user, set, unset: unset.to_vec(), most_bytes }).await
    }
}
