//! JSON schemas of what serialises itself by hand: ids, and the names of states and events.

/// Values that are written as one of the names in `ALL`.
macro_rules! named {
    ($($name:ident),*) => {$(
        impl schemars::JsonSchema for crate::$name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
                schemars::json_schema!({"type": "string", "enum": names})
            }
        }
    )*};
}

named!(MessageState, TurnState, ResponseState, EventKind);

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl schemars::JsonSchema for crate::$name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "format": "uuid"})
            }
        }
    )*};
}

ids!(
    ActId,
    ChangeId,
    TokenId,
    ConversationId,
    HoldId,
    RuleId,
    MessageId,
    OutboxId,
    PlanId,
    ProfileId,
    ResponseId,
    TurnId,
    UserId
);
