//! Pairing: a stranger gets a code, and whoever runs the bot approves it.
//!
//! The code is made in the transaction that stores the stranger's message, with the notice that tells it as a response
//! of that message: it is told once, or not at all. An approved code becomes a rule like any other.

use std::time::Duration;

use broca_core::{
    Instance, MessageId, OutboxId, ResponseId, Timestamp,
    access::{RuleKind, Who, fresh_code, invitation},
    clock::micros,
};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Accepted, Admission, NewRule, Owed, OwedKind, RuleSource, Store, StoreError,
    accept::Entry,
    access,
    decode::parsed,
    lite,
    operation::Each,
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

/// How codes are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairingTerms {
    pub code_life: Duration,
    /// Codes that wait for an operator, of one instance: more strangers than that get none.
    pub max_open: u32,
    /// Codes that one person gets in a day.
    pub per_day: u32,
}

impl Default for PairingTerms {
    fn default() -> Self {
        Self { code_life: Duration::from_secs(3_600), max_open: 20, per_day: 3 }
    }
}

/// Where a code is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PairingState {
    Open,
    Expired,
    Approved,
    Revoked,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Pairing {
    #[serde(skip)]
    pub(crate) id: Uuid,
    pub code: String,
    pub state: PairingState,
    pub instance: Instance,
    pub platform: String,
    pub platform_user_id: String,
    pub username: Option<String>,
    /// The message that the code was given for.
    pub message_id: MessageId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub approved_at: Option<Timestamp>,
    pub approved_by: Option<String>,
    pub revoked_at: Option<Timestamp>,
    pub revoked_by: Option<String>,
}

pub(crate) const GIVEN: &str = "-- pairing: codes given
SELECT (SELECT count(*) FROM pairings
        WHERE instance = $1 AND approved_at IS NULL AND revoked_at IS NULL AND expires_at > $3),
       (SELECT count(*) FROM pairings
        WHERE instance = $1 AND platform_user_id = $2 AND approved_at IS NULL AND revoked_at IS NULL AND expires_at > $3),
       (SELECT count(*) FROM pairings WHERE instance = $1 AND platform_user_id = $2 AND created_at > $4)";

pub(crate) const GIVE: &str = "-- pairing: give a code
INSERT INTO pairings (id, code, instance, platform, platform_user_id, username, message_id, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (code) DO NOTHING";

pub(crate) const SENDER: &str = "-- pairing: sender
SELECT profile_id FROM messages WHERE id = $1";

pub(crate) const NOTICE: &str = "-- pairing: notice
INSERT INTO responses (id, kind, message_id, conversation_id, profile_id, instance, lane, text, state, created_at)
VALUES ($1, 'notice', $2, $3, $4, $5, $6, $7, 'pending', $8)";

pub(crate) const OWE: &str = "-- pairing: outbox
INSERT INTO outbox (id, kind, instance, message_id, conversation_id, response_id, created_at)
VALUES ($1, 'response', $2, $3, $4, $1, $5)";

const DAY: Duration = Duration::from_secs(86_400);

/// Gives a code to those strangers whose messages were stored just now and who have none.
pub(crate) async fn invite(
    tx: &mut Tx<'_>,
    entries: &[Entry<'_>],
    accepted: &mut [Each<Accepted>],
    now: i64,
) -> Result<(), StoreError> {
    for (entry, accepted) in entries.iter().zip(accepted) {
        if let (Admission::AskPairing { terms, .. }, Ok(Accepted::Suppressed { notice, .. })) =
            (&entry.message.admission, accepted)
        {
            *notice = give(tx, entry, terms, now).await?.map(Box::new);
        }
    }
    Ok(())
}

async fn give(tx: &mut Tx<'_>, entry: &Entry<'_>, terms: &PairingTerms, now: i64) -> Result<Option<Owed>, StoreError> {
    let (message, sender) = (entry.message, &entry.message.incoming.sender);
    let (instance, person) = (message.instance.as_str(), sender.platform_user_id.as_str());
    let yesterday = now.saturating_sub(micros(DAY));
    let (open, own, lately) = ask!(tx, fetch_one, (i64, i64, i64), GIVEN, instance, person, now, yesterday)?;
    if own > 0 || open >= i64::from(terms.max_open) || lately >= i64::from(terms.per_day) {
        return Ok(None);
    }
    let (code, expires) = (fresh_code(), now.saturating_add(micros(terms.code_life)));
    let (platform, username) = (message.platform.as_str(), sender.username.as_deref());
    let (id, of) = (Uuid::now_v7(), message.id.0);
    // A code that is there already is no news to anybody: the next message gets another one.
    if change!(tx, GIVE, id, code.as_str(), instance, platform, person, username, of, now, expires)? != 1 {
        return Ok(None);
    }
    let (profile,) = ask!(tx, fetch_one, (Uuid,), SENDER, of)?;
    let lane = lite::lane(instance, message.incoming.chat_id.as_deref(), profile);
    let (response, text) = (ResponseId::new(), invitation(&code, terms.code_life));
    let conversation = entry.conversation.0;
    change!(tx, NOTICE, response.0, of, conversation, profile, instance, lane.as_str(), text.as_str(), now)?;
    change!(tx, OWE, response.0, instance, of, conversation, now)?;
    Ok(Some(Owed {
        id: OutboxId(response.0),
        what: OwedKind::Response(response),
        instance: message.instance.clone(),
        message: message.id,
        conversation: entry.conversation,
        text,
        trace: Some(message.trace),
        at: Timestamp(now),
    }))
}

macro_rules! pairing_rows {
    ($name:literal, $rest:literal) => {
        concat!(
            $name,
            "\nSELECT id, code, instance, platform, platform_user_id, username, message_id, created_at, expires_at,
       approved_at, approved_by, revoked_at, revoked_by
FROM pairings ",
            $rest
        )
    };
}

pub(crate) const BY_CODE: &str = pairing_rows!("-- pairing: by code", "WHERE code = $1");
pub(crate) const OPEN: &str = pairing_rows!(
    "-- pairings: open",
    "WHERE approved_at IS NULL AND revoked_at IS NULL AND expires_at > $1 ORDER BY created_at, id"
);
pub(crate) const ALL: &str = pairing_rows!("-- pairings", "ORDER BY id DESC LIMIT $1");

pub(crate) const LOCK: &str = "-- pairing: lock
SELECT id FROM pairings WHERE id = $1 FOR UPDATE";

pub(crate) const APPROVE: &str = "-- pairing: approve
UPDATE pairings SET approved_at = $2, approved_by = $3 WHERE id = $1";

pub(crate) const REVOKE: &str = "-- pairing: revoke
UPDATE pairings SET revoked_at = $2, revoked_by = $3 WHERE id = $1";

/// The rule that the approval of a code put in force.
pub(crate) const UNPAIR: &str = "-- pairing: take the rule back
UPDATE access_rules SET removed_at = $3, removed_by = $4
WHERE who = $1 AND instance = $2 AND source = 'pairing' AND removed_at IS NULL";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    code: String,
    instance: String,
    platform: String,
    platform_user_id: String,
    username: Option<String>,
    message_id: Uuid,
    created_at: i64,
    expires_at: i64,
    approved_at: Option<i64>,
    approved_by: Option<String>,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
}

impl Row {
    fn pairing(self, now: i64) -> Result<Pairing, StoreError> {
        let state = match (self.revoked_at, self.approved_at) {
            (Some(_), _) => PairingState::Revoked,
            (None, Some(_)) => PairingState::Approved,
            (None, None) if self.expires_at <= now => PairingState::Expired,
            (None, None) => PairingState::Open,
        };
        Ok(Pairing {
            id: self.id,
            code: self.code,
            state,
            instance: parsed(&self.instance)?,
            platform: self.platform,
            platform_user_id: self.platform_user_id,
            username: self.username,
            message_id: MessageId(self.message_id),
            created_at: Timestamp(self.created_at),
            expires_at: Timestamp(self.expires_at),
            approved_at: self.approved_at.map(Timestamp),
            approved_by: self.approved_by,
            revoked_at: self.revoked_at.map(Timestamp),
            revoked_by: self.revoked_by,
        })
    }
}

/// An operator's word on a code.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    code: String,
    approve: bool,
    actor: String,
}

/// What the code was before, and what it is now; `None` when there is no such code.
type Changed = Option<(PairingState, Pairing)>;

async fn decide(tx: &mut Tx<'_>, word: &Word) -> Result<Changed, StoreError> {
    let Some(found) = ask!(tx, fetch_optional, Row, BY_CODE, word.code.as_str())? else { return Ok(None) };
    tx.lock(LOCK, found.id).await?;
    let now = tx.now().await?;
    let before = ask!(tx, fetch_one, Row, BY_CODE, word.code.as_str())?.pairing(now)?;
    let (was, actor) = (before.state, word.actor.as_str());
    match (word.approve, was) {
        (true, PairingState::Open) => {
            change!(tx, APPROVE, before.id, now, actor)?;
            access::put(tx, &rule(&before, actor)).await?;
        }
        (false, PairingState::Open | PairingState::Approved) => {
            change!(tx, REVOKE, before.id, now, actor)?;
            access::raise(tx).await?;
            let who = Who::id(&before.platform, &before.platform_user_id).to_string();
            change!(tx, UNPAIR, who.as_str(), before.instance.as_str(), now, actor)?;
        }
        _ => return Ok(Some((was, before))),
    }
    let after = ask!(tx, fetch_one, Row, BY_CODE, word.code.as_str())?.pairing(now)?;
    Ok(Some((was, after)))
}

fn rule(pairing: &Pairing, actor: &str) -> NewRule {
    NewRule {
        kind: RuleKind::Allow,
        who: Who::id(&pairing.platform, &pairing.platform_user_id),
        instance: Some(pairing.instance.clone()),
        reason: Some(format!("paired with {}", pairing.code)),
        source: RuleSource::Pairing,
        actor: actor.to_owned(),
        life: None,
    }
}

operation!(Decide: Word => Changed, "decide about a pairing", decide);

impl Store {
    /// Lets the person in whom an open code was given to. Gives what the code was before and what it is now: only an open
    /// one becomes approved.
    pub async fn approve_pairing(&self, code: &str, actor: &str) -> Result<Changed, StoreError> {
        self.once::<Decide>(Word { code: code.to_owned(), approve: true, actor: actor.to_owned() }).await
    }

    /// Takes an open or approved code back, and with it the rule that it became.
    pub async fn revoke_pairing(&self, code: &str, actor: &str) -> Result<Changed, StoreError> {
        self.once::<Decide>(Word { code: code.to_owned(), approve: false, actor: actor.to_owned() }).await
    }

    /// A code, whatever became of it.
    pub async fn pairing(&self, code: &str) -> Result<Option<Pairing>, StoreError> {
        let now = self.now().await?.micros();
        fetch!(self, fetch_optional, Row, BY_CODE, code)?.map(|row| row.pairing(now)).transpose()
    }

    /// The codes that wait for an operator, oldest first.
    pub async fn open_pairings(&self) -> Result<Vec<Pairing>, StoreError> {
        let now = self.now().await?.micros();
        fetch!(self, fetch_all, Row, OPEN, now)?.into_iter().map(|row| row.pairing(now)).collect()
    }

    /// The latest codes, also those that are over, newest first.
    pub async fn pairings(&self, limit: u32) -> Result<Vec<Pairing>, StoreError> {
        let now = self.now().await?.micros();
        fetch!(self, fetch_all, Row, ALL, i64::from(limit))?.into_iter().map(|row| row.pairing(now)).collect()
    }
}
