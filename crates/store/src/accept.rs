//! What both databases need to know of a batch of incoming messages before they write it.

use std::collections::HashMap;

use broca_core::{
    ConversationId, MessageId, OutboxId, ProfileId, Timestamp, UserId,
    access::{Reason, Suppression},
    route::Facts,
    route::Scope,
};
use serde_json::{Map, Value};
use sqlx::types::Uuid;

use crate::{
    Accepted, Admission, NewMessage, StoreError,
    operation::{Each, index},
};

/// A profile that did not change is written again once its `last_active` is older than this.
pub(crate) const TOUCH_EVERY_MICROS: i64 = 60_000_000;
/// The sweep wakes a conversation whose wake got lost after this long.
pub(crate) const WAKE_AFTER_MICROS: i64 = 5_000_000;
/// What is not let in stands at places from here on, which are before all places of a queue. A conversation counts it
/// by itself (`aside`), so that `tail` stays the place of the last message that somebody waits for.
pub(crate) const ASIDE: i64 = -1_000_000_000_000;

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
    /// Why it is not let in.
    pub(crate) suppressed: Option<Suppression>,
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

    /// Whether nothing has to be counted and nobody gets a code.
    pub(crate) fn is_plain(&self) -> bool {
        let plain = |admission: &Admission| match admission {
            Admission::Open | Admission::Suppressed { .. } | Admission::Command { allowance: None } => true,
            Admission::Within { .. } | Admission::AskPairing { .. } | Admission::Command { .. } => false,
        };
        self.unique.iter().all(|(item, _)| plain(&item.admission))
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
            suppressed: match &message.admission {
                Admission::Open | Admission::Within { .. } => None,
                Admission::Command { .. } => Some(Suppression::of(Reason::Command)),
                Admission::Suppressed { suppression, .. } | Admission::AskPairing { suppression, .. } => {
                    Some(suppression.clone())
                }
            },
        }
    }

    /// From one answer per event to one per item: a repetition inside the batch is a duplicate of the first.
    pub(crate) fn answers(&self, accepted: Vec<Each<Accepted>>) -> Vec<Each<Accepted>> {
        let mut given = vec![false; accepted.len()];
        let answer = |place: &usize| {
            let repeated = std::mem::replace(&mut given[*place], true);
            match &accepted[*place] {
                Ok(Accepted::New { message, .. } | Accepted::Suppressed { message, .. }) if repeated => {
                    Ok(Accepted::Duplicate { message: *message })
                }
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

    pub(crate) fn class(&self) -> Option<&'static str> {
        self.suppressed.as_ref().map(|suppressed| suppressed.reason.as_str())
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.suppressed.as_ref().map(|suppressed| suppressed.why.as_str())
    }

    fn keeps_text(&self) -> bool {
        match &self.message.admission {
            _ if self.suppressed.is_none() => true,
            Admission::Open | Admission::Command { .. } => true,
            Admission::Within { keep_text, .. }
            | Admission::Suppressed { keep_text, .. }
            | Admission::AskPairing { keep_text, .. } => *keep_text,
        }
    }

    pub(crate) fn text(&self) -> &str {
        if self.keeps_text() { &self.message.incoming.text } else { "" }
    }

    /// They may name what was attached. Where nothing is kept, a notice finds its chat all the same.
    pub(crate) fn attributes_text(&self) -> String {
        if self.keeps_text() { self.message.incoming.attributes.to_string() } else { "{}".to_owned() }
    }

    /// Most messages have none. What is not kept of a message is not kept of its files.
    pub(crate) fn files_text(&self) -> Option<String> {
        let files = Some(&self.message.files).filter(|files| !files.is_empty() && self.keeps_text())?;
        serde_json::to_string(files).ok()
    }

    pub(crate) fn accepted(&self, seen: Option<Uuid>, at: i64) -> Accepted {
        match (seen, &self.suppressed) {
            (Some(seen), _) => Accepted::Duplicate { message: MessageId(seen) },
            (None, Some(suppression)) => {
                Accepted::Suppressed { message: self.message.id, suppression: suppression.clone(), notice: None }
            }
            (None, None) => Accepted::New {
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
