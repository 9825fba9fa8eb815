//! What both databases need to know of a batch of incoming messages before they write it.

use std::collections::HashMap;

use broca_core::{ConversationId, MessageId, OutboxId, ProfileId, Timestamp, UserId, route::Facts, route::Scope};
use serde_json::{Map, Value};
use sqlx::types::Uuid;

use crate::{
    Accepted, NewMessage, StoreError,
    operation::{Each, index},
};

/// A profile that did not change is written again once its `last_active` is older than this.
pub(crate) const TOUCH_EVERY_MICROS: i64 = 60_000_000;
/// The sweep wakes a conversation whose wake got lost after this long.
pub(crate) const WAKE_AFTER_MICROS: i64 = 5_000_000;

/// A batch with its repetitions folded: each event once, each person once.
pub(crate) struct Batch<'a> {
    /// Sorted by platform and id: rows are locked in this order.
    pub(crate) people: Vec<Person<'a>>,
    /// The first of each event, with its person's index.
    unique: Vec<(&'a NewMessage, usize)>,
    /// For each item of the batch, its place in `unique`.
    places: Vec<usize>,
}

pub(crate) struct Person<'a> {
    /// The ids that they get, should they be new.
    pub(crate) profile_id: ProfileId,
    pub(crate) user_id: UserId,
    /// Who they were at the last look, for the ids of conversations of scope `user`.
    known_user: Option<UserId>,
    pub(crate) platform: &'a str,
    pub(crate) platform_user_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) display_name: Option<&'a str>,
    pub(crate) metadata: Map<String, Value>,
}

impl Person<'_> {
    pub(crate) fn metadata_text(&self) -> String {
        Value::Object(self.metadata.clone()).to_string()
    }
}

/// One message, with everything that the statements need.
pub(crate) struct Entry<'a> {
    pub(crate) message: &'a NewMessage,
    /// The index of the sender in [`Batch::people`].
    pub(crate) person: usize,
    pub(crate) conversation: ConversationId,
    pub(crate) scope_key: String,
    pub(crate) outbox: OutboxId,
    /// See [`event_key`].
    pub(crate) event_key: Uuid,
    /// The user that the conversation's id was computed with, where it depends on one.
    pub(crate) assumed_user: Option<UserId>,
}

impl<'a> Batch<'a> {
    pub(crate) fn of(items: &'a [NewMessage]) -> Self {
        let mut events = HashMap::new();
        let mut first = Vec::new();
        let mut places = Vec::with_capacity(items.len());
        for item in items {
            let place = *events.entry((&item.instance, item.incoming.event_id.as_str())).or_insert_with(|| {
                first.push(item);
                first.len() - 1
            });
            places.push(place);
        }
        let people = people_of(&first);
        let of_person = |item: &NewMessage| {
            let key = (item.platform.as_str(), item.incoming.sender.platform_user_id.as_str());
            people.binary_search_by(|p| (p.platform, p.platform_user_id).cmp(&key)).unwrap_or_default()
        };
        let unique = first.iter().map(|item| (*item, of_person(item))).collect();
        Self { people, unique, places }
    }

    pub(crate) fn needs_users(&self) -> bool {
        self.unique.iter().any(|(item, _)| item.scope == Scope::User)
    }

    /// `k` counts people from 1.
    pub(crate) fn assume_users(&mut self, users: impl IntoIterator<Item = (i64, Uuid)>) {
        for (k, user) in users {
            if let Some(person) = index(k).and_then(|k| self.people.get_mut(k)) {
                person.known_user = Some(UserId(user));
            }
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry<'a>> {
        self.unique.iter().map(|(item, person)| self.entry(item, *person)).collect()
    }

    fn entry(&self, message: &'a NewMessage, person: usize) -> Entry<'a> {
        let who = &self.people[person];
        let user = who.known_user.unwrap_or(who.user_id);
        let facts = Facts {
            instance: &message.instance,
            platform: &message.platform,
            platform_user_id: &message.incoming.sender.platform_user_id,
            chat_id: message.incoming.chat_id.as_deref(),
            is_group: message.incoming.is_group,
        };
        let scope_key = message.scope.key(&facts, user);
        Entry {
            message,
            person,
            conversation: ConversationId::of(&message.agent, &scope_key),
            scope_key,
            // The broker knows a message's first wake by the message's own id.
            outbox: OutboxId(message.id.0),
            event_key: event_key(message.instance.as_str(), &message.incoming.event_id),
            assumed_user: (message.scope == Scope::User).then_some(user),
        }
    }

    /// From one answer per event to one per item: a repetition inside the batch is a duplicate of the first.
    pub(crate) fn answers(&self, accepted: Vec<Each<Accepted>>) -> Vec<Each<Accepted>> {
        let mut given = vec![false; accepted.len()];
        let answer = |place: &usize| {
            let repeated = std::mem::replace(&mut given[*place], true);
            match &accepted[*place] {
                Ok(Accepted::New { message, .. }) if repeated => Ok(Accepted::Duplicate { message: *message }),
                answer => answer.clone(),
            }
        };
        self.places.iter().map(answer).collect()
    }
}

impl Entry<'_> {
    /// Most messages have none.
    pub(crate) fn budget_text(&self) -> Option<String> {
        self.message.incoming.budget.and_then(|budget| serde_json::to_string(&budget).ok())
    }

    pub(crate) fn accepted(&self, seen: Option<Uuid>, at: i64) -> Accepted {
        match seen {
            Some(seen) => Accepted::Duplicate { message: MessageId(seen) },
            None => Accepted::New {
                message: self.message.id,
                conversation: self.conversation,
                outbox: self.outbox,
                at: Timestamp(at),
            },
        }
    }
}

const EVENTS: Uuid = Uuid::from_u128(0x8b5c_1f2e_7a64_4c0e_9d0b_b40c_a000_0002);

/// What is kept of a platform's event once its message is removed: enough to know it again, too little to read it.
pub(crate) fn event_key(instance: &str, event_id: &str) -> Uuid {
    Uuid::new_v5(&EVENTS, format!("{instance}\0{event_id}").as_bytes())
}

/// The sender's profile was created, or moved to another user, after the conversation's id was computed with theirs.
pub(crate) fn user_changed() -> StoreError {
    StoreError::Contention("the sender's user changed meanwhile".to_owned())
}

/// Each sender once, the later message's names and metadata over the earlier's, sorted.
fn people_of<'a>(items: &[&'a NewMessage]) -> Vec<Person<'a>> {
    let mut people: HashMap<(&str, &str), Person<'a>> = HashMap::new();
    for item in items {
        let sender = &item.incoming.sender;
        let key = (item.platform.as_str(), sender.platform_user_id.as_str());
        let person = people.entry(key).or_insert_with(|| Person {
            profile_id: ProfileId::new(),
            user_id: UserId::new(),
            known_user: None,
            platform: key.0,
            platform_user_id: key.1,
            username: None,
            display_name: None,
            metadata: Map::new(),
        });
        person.username = sender.username.as_deref().or(person.username);
        person.display_name = sender.display_name.as_deref().or(person.display_name);
        // Only an object can be merged; nothing else says anything about a person.
        if let Value::Object(metadata) = &sender.metadata {
            person.metadata.extend(metadata.clone());
        }
    }
    let mut people: Vec<_> = people.into_values().collect();
    people.sort_by(|a, b| (a.platform, a.platform_user_id).cmp(&(b.platform, b.platform_user_id)));
    people
}
