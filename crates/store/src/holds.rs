//! Holds: what an operator keeps back for a while, and why.
//!
//! Putting a hold on and ending it are one row each; `set_aside.rs` takes messages out of their queues while it is on,
//! `settle.rs` brings them back once it has ended.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use broca_core::{ConversationId, EventKind, HoldId, Instance, Timestamp, UserId, agent::FailureClass, clock::micros};
use serde::Serialize;
use serde_json::json;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    decode::parsed,
    journal::{Event, note},
    link::LOCK_USER,
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

/// Who puts a conversation on hold that keeps failing; people act under names of their own.
pub(crate) const BROCA: &str = "broca";

/// What is kept back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "kind", content = "subject", rename_all = "lowercase")]
pub enum HoldSubject {
    /// The whole conversation; its messages keep their places.
    Conversation(ConversationId),
    /// Every conversation with this agent, by its name in the settings.
    Agent(String),
    /// One person's messages, on all platforms.
    User(UserId),
    /// One plugin instance: the messages that came through it, and the answers that go out through it.
    Instance(Instance),
    /// The messages that this route claimed.
    Route(String),
}

impl HoldSubject {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conversation(_) => "conversation",
            Self::Agent(_) => "agent",
            Self::User(_) => "user",
            Self::Instance(_) => "instance",
            Self::Route(_) => "route",
        }
    }

    /// As the column `subject` has it.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Conversation(id) => id.0.simple().to_string(),
            Self::User(id) => id.0.simple().to_string(),
            Self::Instance(instance) => instance.to_string(),
            Self::Agent(name) | Self::Route(name) => name.clone(),
        }
    }

    fn read(kind: &str, key: String) -> Result<Self, StoreError> {
        let id = || Uuid::from_str(&key).map_err(StoreError::unreadable);
        Ok(match kind {
            "conversation" => Self::Conversation(ConversationId(id()?)),
            "user" => Self::User(UserId(id()?)),
            "instance" => Self::Instance(parsed(&key)?),
            "agent" => Self::Agent(key),
            "route" => Self::Route(key),
            other => return Err(StoreError::unreadable(format!("'{other}' is no kind of hold"))),
        })
    }
}

impl fmt::Display for HoldSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversation(id) => write!(f, "conversation {id}"),
            Self::User(id) => write!(f, "user {id}"),
            Self::Instance(instance) => write!(f, "instance {instance}"),
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Route(name) => write!(f, "route {name}"),
        }
    }
}

#[derive(Clone, Debug)]
pub struct NewHold {
    pub subject: HoldSubject,
    pub reason: String,
    pub actor: String,
    /// It ends by itself after this long; `None` is until somebody releases it.
    pub life: Option<Duration>,
}

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    Active,
    /// It has ended, and what it took out of the queues is on its way back.
    Ending,
    Over,
}

impl fmt::Display for HoldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Ending => "ending",
            Self::Over => "over",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Hold {
    pub id: HoldId,
    #[serde(flatten)]
    pub subject: HoldSubject,
    pub state: HoldState,
    pub reason: String,
    pub actor: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// When somebody ended it before its time.
    pub released_at: Option<Timestamp>,
    pub released_by: Option<String>,
    pub settled_at: Option<Timestamp>,
    /// Messages that it took out of their queues, so far. A hold on a conversation or an agent takes none out.
    pub messages: i64,
}

/// What came of putting a hold on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOn {
    New(Hold),
    /// One on the same subject is open; it may be ending.
    Already(Hold),
}

pub(crate) const PUT: &str = "-- hold: put on
INSERT INTO holds (id, kind, subject, reason, actor, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (kind, subject) WHERE settled_at IS NULL DO NOTHING";

macro_rules! hold_rows {
    ($name:literal, $rest:literal) => {
        concat!(
            $name,
            "\nSELECT h.id, h.kind, h.subject, h.reason, h.actor, h.created_at, h.expires_at, h.released_at, h.released_by,
       h.settled_at, (SELECT count(*) FROM messages m WHERE m.held_by = h.id) AS messages
FROM holds h ",
            $rest
        )
    };
}

pub(crate) const OPEN: &str =
    hold_rows!("-- hold: open one", "WHERE h.kind = $1 AND h.subject = $2 AND h.settled_at IS NULL");
pub(crate) const ONE: &str = hold_rows!("-- hold", "WHERE h.id = $1");
pub(crate) const ALL_OPEN: &str =
    hold_rows!("-- holds: open", "WHERE h.settled_at IS NULL AND h.id > $1 ORDER BY h.id LIMIT $2");
pub(crate) const ALL: &str = hold_rows!("-- holds", "WHERE h.id < $1 ORDER BY h.id DESC LIMIT $2");

pub(crate) const RELEASE: &str = "-- hold: release
UPDATE holds SET released_at = $2, released_by = $3
WHERE id = $1 AND settled_at IS NULL AND released_at IS NULL AND COALESCE(expires_at, 9223372036854775807) > $2";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    subject: String,
    reason: String,
    actor: String,
    created_at: i64,
    expires_at: Option<i64>,
    released_at: Option<i64>,
    released_by: Option<String>,
    settled_at: Option<i64>,
    messages: i64,
}

impl Row {
    fn hold(self, now: i64) -> Result<Hold, StoreError> {
        let ended = self.released_at.is_some() || self.expires_at.is_some_and(|at| at <= now);
        let state = match self.settled_at {
            Some(_) => HoldState::Over,
            None if ended => HoldState::Ending,
            None => HoldState::Active,
        };
        Ok(Hold {
            id: HoldId(self.id),
            subject: HoldSubject::read(&self.kind, self.subject)?,
            state,
            reason: self.reason,
            actor: self.actor,
            created_at: Timestamp(self.created_at),
            expires_at: self.expires_at.map(Timestamp),
            released_at: self.released_at.map(Timestamp),
            released_by: self.released_by,
            settled_at: self.settled_at.map(Timestamp),
            messages: self.messages,
        })
    }
}

async fn put_on(tx: &mut Tx<'_>, new: &NewHold) -> Result<PutOn, StoreError> {
    if let HoldSubject::User(user) = new.subject {
        // Nobody's accounts move while they are put on hold.
        tx.lock(LOCK_USER, user.0).await?;
    }
    let (now, id) = (tx.now().await?, HoldId::new());
    let (kind, key) = (new.subject.kind(), new.subject.key());
    let expires = new.life.map(|life| now.saturating_add(micros(life)));
    let written = change!(tx, PUT, id.0, kind, key.as_str(), new.reason.as_str(), new.actor.as_str(), now, expires)?;
    // It may have been settled between the two statements.
    let open = ask!(tx, fetch_optional, Row, OPEN, kind, key.as_str())?;
    let open = open.ok_or_else(|| StoreError::Contention("another hold on it has just ended".to_owned()))?.hold(now)?;
    if written != 1 {
        return Ok(PutOn::Already(open));
    }
    let detail = json!({"hold": id, "reason": new.reason, "until": open.expires_at});
    tell(tx, EventKind::Held, &open, (now, &new.actor, detail)).await?;
    Ok(PutOn::New(open))
}

/// What concerns each message of one conversation. Of what a user, an instance or a route keeps back, each message that
/// it takes out of its queue has an event of its own.
async fn tell(
    tx: &mut Tx<'_>,
    kind: EventKind,
    hold: &Hold,
    (now, actor, detail): (i64, &str, serde_json::Value),
) -> Result<(), StoreError> {
    let HoldSubject::Conversation(conversation) = hold.subject else { return Ok(()) };
    note(tx, &Event::new(kind, now).conversation(conversation.0).actor(actor).detail(detail)).await
}

operation!(PutHoldOn: NewHold => PutOn, "put a hold on", put_on);

#[derive(Clone, Debug)]
pub(crate) struct Release {
    id: HoldId,
    actor: String,
}

pub(crate) const COUNT: &str = "-- quarantine: count
UPDATE conversations SET failures = failures + 1 WHERE id = $1 RETURNING failures";

/// Counts a failure of a conversation that the caller has locked; the so-manieth in a row puts it on hold.
pub(crate) async fn count_failure(
    tx: &mut Tx<'_>,
    conversation: ConversationId,
    (after, class): (NonZeroU32, FailureClass),
    now: i64,
) -> Result<Option<HoldId>, StoreError> {
    let (failures,) = ask!(tx, fetch_one, (i64,), COUNT, conversation.0)?;
    if failures < i64::from(after.get()) {
        return Ok(None);
    }
    let (id, key) = (HoldId::new(), HoldSubject::Conversation(conversation).key());
    let reason = format!("quarantined after {failures} failures in a row: {class}");
    if change!(tx, PUT, id.0, "conversation", key.as_str(), reason.as_str(), BROCA, now, None::<i64>)? != 1 {
        return Ok(None);
    }
    let event = Event::new(EventKind::Quarantined, now).conversation(conversation.0).actor(BROCA);
    note(tx, &event.detail(json!({"hold": id, "reason": reason}))).await?;
    Ok(Some(id))
}

pub(crate) const LOCK_CONVERSATION: &str = "-- hold: lock conversation
SELECT id FROM conversations WHERE id = $1 FOR UPDATE";

/// Whoever is answered, or released, has another chance: its failures are counted anew.
pub(crate) const FORGIVE: &str = "-- hold: count failures anew
UPDATE conversations SET failures = 0 WHERE id = $1 AND failures <> 0";

async fn release(tx: &mut Tx<'_>, release: &Release) -> Result<Option<Hold>, StoreError> {
    let now = tx.now().await?;
    let subject = ask!(tx, fetch_optional, Row, ONE, release.id.0)?.map(|row| row.hold(now)).transpose()?;
    if let Some(HoldSubject::Conversation(conversation)) = subject.map(|hold| hold.subject) {
        // The end of a turn takes the two rows in this order, too.
        tx.lock(LOCK_CONVERSATION, conversation.0).await?;
    }
    let ended = change!(tx, RELEASE, release.id.0, now, release.actor.as_str())? == 1;
    let hold = ask!(tx, fetch_optional, Row, ONE, release.id.0)?.map(|row| row.hold(now)).transpose()?;
    if let Some(hold) = hold.as_ref().filter(|_| ended) {
        tell(tx, EventKind::Released, hold, (now, &release.actor, json!({"hold": hold.id}))).await?;
        if let HoldSubject::Conversation(conversation) = hold.subject {
            change!(tx, FORGIVE, conversation.0)?;
        }
    }
    Ok(hold)
}

operation!(ReleaseHold: Release => Option<Hold>, "release a hold", release);

/// Somebody's account on one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    pub user_id: UserId,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
}

/// Without a platform it reads every profile: for people.
pub(crate) const PEOPLE: &str = "-- people
SELECT user_id, platform, platform_user_id, username FROM profiles
WHERE platform_user_id = $1 AND platform = COALESCE($2, platform)
ORDER BY user_id, platform LIMIT 20";

impl Store {
    pub async fn has_conversation(&self, id: ConversationId) -> Result<bool, StoreError> {
        const COUNT: &str = "-- is there a conversation\nSELECT count(*) FROM conversations WHERE id = $1";
        let (count,) = fetch!(self, fetch_one, (i64,), COUNT, id.0)?;
        Ok(count > 0)
    }

    /// Who is known by this id on a platform, or on any.
    pub async fn people(&self, platform: Option<&str>, id: &str) -> Result<Vec<Person>, StoreError> {
        type Row = (Uuid, String, String, Option<String>);
        let rows = fetch!(self, fetch_all, Row, PEOPLE, id, platform)?;
        let person = |(user, platform, platform_user_id, username): Row| Person {
            user_id: UserId(user),
            platform,
            platform_user_id,
            username,
        };
        Ok(rows.into_iter().map(person).collect())
    }

    /// Puts a hold on. It works from now on: a turn that is under way goes to its end, none is begun.
    pub async fn put_hold(&self, hold: NewHold) -> Result<PutOn, StoreError> {
        self.once::<PutHoldOn>(hold).await
    }

    /// Ends a hold before its time; gives it as it is now, `None` when there is no such hold. What it took out of
    /// the queues is brought back by [`Store::settle_hold`], which every worker's sweep calls.
    pub async fn release_hold(&self, id: HoldId, actor: &str) -> Result<Option<Hold>, StoreError> {
        self.once::<ReleaseHold>(Release { id, actor: actor.to_owned() }).await
    }

    pub async fn hold(&self, id: HoldId) -> Result<Option<Hold>, StoreError> {
        let now = self.now().await?.micros();
        fetch!(self, fetch_optional, Row, ONE, id.0)?.map(|row| row.hold(now)).transpose()
    }

    /// The hold on this very subject that is not over.
    pub async fn open_hold(&self, subject: &HoldSubject) -> Result<Option<Hold>, StoreError> {
        let now = self.now().await?.micros();
        let row = fetch!(self, fetch_optional, Row, OPEN, subject.kind(), subject.key())?;
        row.map(|row| row.hold(now)).transpose()
    }

    /// The holds that are not over, oldest first, from behind `after` on.
    pub async fn open_holds(&self, after: Option<HoldId>, limit: u32) -> Result<Vec<Hold>, StoreError> {
        let (now, after) = (self.now().await?.micros(), after.map_or(Uuid::nil(), |id| id.0));
        fetch!(self, fetch_all, Row, ALL_OPEN, after, i64::from(limit))?.into_iter().map(|row| row.hold(now)).collect()
    }

    /// All holds, also those that are over, newest first, from behind `after` on.
    pub async fn holds(&self, after: Option<HoldId>, limit: u32) -> Result<Vec<Hold>, StoreError> {
        let (now, after) = (self.now().await?.micros(), after.map_or(Uuid::max(), |id| id.0));
        fetch!(self, fetch_all, Row, ALL, after, i64::from(limit))?.into_iter().map(|row| row.hold(now)).collect()
    }
}
