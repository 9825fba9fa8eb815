//! A plugin's settings: a typed struct, and the JSON schema that it is checked by before anybody sees it.
//!
//! The schema is made from the struct (`schemars`) and checked with a JSON Schema validator rather than by
//! deserialisation alone: a folder plugin brings a schema file and no Rust type, ranges (`#[schemars(range(…))]`)
//! are enforced where they are written, and all problems are said at once. What types and schema cannot say, such as
//! whether two keys fit each other, [`Blueprint`](crate::Blueprint)'s `build` says.

mod error;
mod keys;
mod schema;
mod secret;
mod shape;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::{Problem, SettingsError};
pub use keys::SettingKey;
pub use schema::SettingsSchema;
pub use secret::Secret;

/// What became of settings that were handed to a running plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// They are in force.
    Live,
    /// They need a new start: the host stops the plugin in good order and builds it anew with them.
    Restart,
}

/// Settings in the plugin's own type; an error names the key that does not fit.
pub fn typed<S: DeserializeOwned>(settings: Value) -> Result<S, SettingsError> {
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let key = error.path().to_string();
        let key = if key == "." { String::new() } else { key };
        SettingsError::one(key, error.inner().to_string())
    })
}
