//! The lines between host and program: JSON objects, one a line, UTF-8, each with the version and its type.
//!
//! These types are the contract, apart from our own of the same meaning, so that the latter can change. What a reader
//! does not know in an object is ignored; a type that it does not know is not.

mod from_child;
mod parties;
mod schema;
mod to_child;

pub use from_child::{Cause, Class, FromChild, LogLevel, Outcome, Ready, State};
pub use parties::{Answer, Entry, IncomingMessage, Part, Person, Sender, Standing, ToDeliver};
pub use schema::schema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
pub use to_child::{Bounds, ToChild, Withdrawn};

/// The version of the protocol. A change that an older program would misread gets a new one.
pub const VERSION: u32 = 1;

/// A message as it stands in its line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line<M> {
    /// The protocol's version.
    #[serde(rename = "v")]
    pub version: u32,
    #[serde(flatten)]
    pub message: M,
}

/// The number or text by which a program knows its own question again; the answer carries it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestId {
    Number(i64),
    Text(String),
}

/// A message as its line, with the line's end.
pub fn write<M: Serialize>(message: &M) -> Result<String, serde_json::Error> {
    let mut line = serde_json::to_string(&Line { version: VERSION, message })?;
    line.push('\n');
    Ok(line)
}

/// A line as its message.
///
/// # Errors
/// Says what is wrong with it, and nothing of what it holds.
pub fn read<M: DeserializeOwned>(line: &str) -> Result<M, &'static str> {
    #[derive(Deserialize)]
    struct Head {
        v: u32,
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { return Err("no JSON") };
    match Head::deserialize(&value) {
        Ok(Head { v: VERSION }) => {}
        Ok(_) => return Err("of another version of the protocol than 1"),
        Err(_) => return Err("without the protocol's version (\"v\": 1)"),
    }
    M::deserialize(value).map_err(|_| "of no type that is known here, or with a field that does not fit its type")
}
