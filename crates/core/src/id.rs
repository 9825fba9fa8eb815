//! Identifiers. Rows are named by UUID v7 (sortable by creation time); a conversation is named by
//! UUID v5 of its key, so that every process computes the same id without asking the database.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id as the bytes that the database stores.
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

macro_rules! time_ordered {
    ($($name:ident),*) => {$(
        impl $name {
            /// A fresh UUID v7.
            #[expect(clippy::new_without_default, reason = "two calls give two ids; a default would hide that")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }
    )*};
}

id!(
    /// One accepted platform message.
    MessageId
);
id!(
    /// One attempt to have an agent answer. It is also the idempotency key (`otid`) at the agent.
    TurnId
);
id!(
    /// One answer on its way to a platform.
    ResponseId
);
id!(
    /// One person, over all platforms.
    UserId
);
id!(
    /// One person's account on one platform.
    ProfileId
);
id!(
    /// One publish that is owed to the broker.
    OutboxId
);
id!(
    /// A list of messages and answers that an operator is about to replay.
    PlanId
);
id!(
    /// One hold of an operator on a conversation, a user, an instance, an agent or a route.
    HoldId
);
id!(
    /// One change of live settings.
    ChangeId
);
id!(
    /// One rule of an operator's about who may talk.
    RuleId
);
id!(
    /// One act of an operator, in the audit log.
    ActId
);
id!(
    /// One token of a caller of the HTTP or MCP server.
    TokenId
);
id!(
    /// The key of order: one agent and one scope key.
    ConversationId
);

time_ordered!(
    MessageId, TurnId, ResponseId, UserId, ProfileId, OutboxId, PlanId, HoldId, ChangeId, RuleId, ActId, TokenId
);

macro_rules! floor {
    ($($name:ident),*) => {$(
        impl $name {
            /// Not greater than any id that was made at `at` or later, by its maker's clock.
            pub fn floor_of(at: Timestamp) -> Self {
                let millis = u64::try_from(at.micros() / 1_000).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
            }
        }
    )*};
}

floor!(MessageId, ResponseId);

impl ConversationId {
    const NAMESPACE: Uuid = Uuid::from_u128(0x8b5c_1f2e_7a64_4c0e_9d0b_b40c_a000_0001);

    /// The id of the conversation of `agent` (its configured name) under `scope_key`.
    pub fn of(agent: &str, scope_key: &str) -> Self {
        // A NUL cannot occur in either part, so no two keys run together.
        Self(Uuid::new_v5(&Self::NAMESPACE, format!("{agent}\0{scope_key}").as_bytes()))
    }
}

/// The name of one process that takes leases: unique per start, so that a restarted process never
/// mistakes its predecessor's lease for its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// `label` says what the process is (`worker-1`, `out-telegram`); a random suffix makes it unique.
    pub fn unique(label: &str) -> Self {
        let suffix = Uuid::new_v4().simple().to_string();
        Self(format!("{label}.{}", &suffix[..12]))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for WorkerId {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_conversation_id_depends_on_both_parts(a in "[a-z]{1,8}", b in "[a-z:/]{1,16}", c in "[a-z:/]{1,16}") {
            prop_assert_eq!(ConversationId::of(&a, &b), ConversationId::of(&a, &b));
            prop_assert_eq!(b == c, ConversationId::of(&a, &b) == ConversationId::of(&a, &c));
            prop_assert_ne!(ConversationId::of(&a, &format!("{b}{c}")), ConversationId::of(&format!("{a}{b}"), &c));
        }
    }

    #[test]
    fn a_floor_is_below_the_ids_of_its_time_and_above_earlier_ones() {
        let id = MessageId::new();
        let (seconds, nanos) = id.0.get_timestamp().unwrap().to_unix();
        let micros = i64::try_from(seconds).unwrap() * 1_000_000 + i64::from(nanos / 1_000);
        assert!(MessageId::floor_of(Timestamp(micros)) <= id);
        assert!(MessageId::floor_of(Timestamp(micros + 1_000)) > id);
        assert!(MessageId::floor_of(Timestamp(-1)) < id);
    }

    #[test]
    fn ids_sort_by_creation_and_survive_text() {
        let ids: Vec<_> = (0..100).map(|_| MessageId::new()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].to_string().parse::<MessageId>().unwrap(), ids[0]);
        assert_ne!(WorkerId::unique("worker-1"), WorkerId::unique("worker-1"));
    }
}
