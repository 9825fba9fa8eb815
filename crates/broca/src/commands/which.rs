//! Which message: by its id, or by as much of it as tells it apart.

use std::str::FromStr;

use broca_core::MessageId;
use broca_store::Store;

use super::message::unknown;
use crate::failure::{Code, Failure};

/// The digits of a UUID.
const DIGITS: usize = 32;
/// Enough for a millisecond: with fewer, ids of a whole minute begin alike.
const ENOUGH: usize = 8;

/// The first digits of a message id, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Which {
    first: MessageId,
    last: MessageId,
}

impl FromStr for Which {
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

impl Which {
    pub(crate) async fn find(&self, store: &Store) -> Result<MessageId, Failure> {
        if self.first == self.last {
            return Ok(self.first);
        }
        match store.messages_between(self.first, self.last, 2).await?.as_slice() {
            [] => Err(unknown(&self.shown())),
            [id] => Ok(*id),
            [one, another, ..] => {
                Err(Failure::new(Code::Usage, format!("several messages begin with {}", self.shown()))
                    .hint(format!("give more of the id: {one}, {another}, …")))
            }
        }
    }

    /// What was given of the id, as it stands in one.
    fn shown(&self) -> String {
        let (first, last) = (self.first.to_string(), self.last.to_string());
        let same = first.chars().zip(last.chars()).take_while(|(a, b)| a == b);
        same.map(|(digit, _)| digit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_its_id_or_the_beginning_of_it() {
        let id = MessageId::new();
        assert_eq!(id.to_string().parse(), Ok(Which { first: id, last: id }));
        assert_eq!(id.uuid().simple().to_string().parse(), Ok(Which { first: id, last: id }));
        let beginning: Which = id.to_string()[..14].parse().unwrap();
        assert!(beginning.first < id && id < beginning.last);
        assert_eq!(beginning.shown(), id.to_string()[..14]);
        for wrong in ["seven", "", "0192f", "0192f-xyzxyzxyz"] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong}");
        }
        assert!(format!("{id}0").parse::<Which>().is_err());
    }
}
