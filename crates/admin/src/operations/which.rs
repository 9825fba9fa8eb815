//! Which message: by its id, or by as much of it as tells it apart.

use std::{borrow::Cow, fmt, str::FromStr};

use broca_core::MessageId;
use broca_store::Store;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Code, OperationError, error::unknown_message};

/// The digits of a UUID.
const DIGITS: usize = 32;
/// Enough for a millisecond: with fewer, ids of a whole minute begin alike.
const ENOUGH: usize = 8;

/// The first digits of a message id, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhichMessage {
    first: MessageId,
    last: MessageId,
}

impl From<MessageId> for WhichMessage {
    fn from(id: MessageId) -> Self {
        Self { first: id, last: id }
    }
}

impl FromStr for WhichMessage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() > DIGITS || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(format!("'{text}' is no message id: `broca status` and the logs show some"));
        }
        if digits.len() < ENOUGH {
            return Err(format!("'{text}' is too short: give at least the first {ENOUGH} digits of the id"));
        }
        let filled = |with: &str| {
            let id = format!("{digits}{}", with.repeat(DIGITS - digits.len()));
            id.parse().map_err(|error| format!("'{text}' is no message id: {error}"))
        };
        Ok(Self { first: filled("0")?, last: filled("f")? })
    }
}

/// What was given of the id, as it stands in one.
impl fmt::Display for WhichMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.to_string(), self.last.to_string());
        let same: String =
            first.chars().zip(last.chars()).take_while(|(a, b)| a == b).map(|(digit, _)| digit).collect();
        f.write_str(&same)
    }
}

impl WhichMessage {
    pub async fn find(&self, store: &Store) -> Result<MessageId, OperationError> {
        if self.first == self.last {
            return Ok(self.first);
        }
        match store.messages_between(self.first, self.last, 2).await?.as_slice() {
            [] => Err(unknown_message(self)),
            [id] => Ok(*id),
            [one, another, ..] => Err(OperationError::new(Code::Usage, format!("several messages begin with {self}"))
                .hint(format!("give more of the id: {one}, {another}, …"))),
        }
    }
}

impl Serialize for WhichMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WhichMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for WhichMessage {
    fn schema_name() -> Cow<'static, str> {
        "WhichMessage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The id of a message, or at least the first eight digits of it.",
            "examples": ["01a20a75-2634"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_its_id_or_the_beginning_of_it() {
        let id = MessageId::new();
        assert_eq!(id.to_string().parse(), Ok(WhichMessage::from(id)));
        assert_eq!(id.uuid().simple().to_string().parse(), Ok(WhichMessage::from(id)));
        let beginning: WhichMessage = id.to_string()[..14].parse().unwrap();
        assert!(beginning.first < id && id < beginning.last);
        assert_eq!(beginning.to_string(), id.to_string()[..14]);
        for wrong in ["seven", "", "0192f", "0192f-xyzxyzxyz"] {
            assert!(wrong.parse::<WhichMessage>().is_err(), "{wrong}");
        }
        assert!(format!("{id}0").parse::<WhichMessage>().is_err());
    }
}
