//! What comes of a command that somebody wrote in a chat. Its message was stored before, aside, with class `command`; what
//! it does to people and the reply that tells of it are one transaction, so it is done once however often its platform
//! repeats it.

use std::time::Duration;

use broca_core::{
    ConversationId, MessageId, OutboxId, ProfileId, ResponseId, Timestamp, UserId,
    access::{Who, fresh_code, typed_code},
    chat_command as said,
    clock::micros,
};
use serde_json::json;
use sqlx::types::Uuid;

use crate::{
    CannotLink, Owed, OwedKind, Store, StoreError,
    decode::{parsed, trace},
    link, lite,
    pairing::{NOTICE, OWE},
    tx::{Tx, ask, change, operation},
};

/// How link codes are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTerms {
    pub code_life: Duration,
    /// Wrong codes that one account may write in an hour.
    pub wrong_per_hour: u32,
}

impl Default for LinkTerms {
    fn default() -> Self {
        Self { code_life: Duration::from_secs(600), wrong_per_hour: 5 }
    }
}

/// What a command wants.
#[derive(Clone, Debug)]
pub enum Command {
    /// A code.
    Code(LinkTerms),
    /// To be the person that a code was given to.
    Link {
        code: String,
        terms: LinkTerms,
    },
    Unlink,
    /// It was dealt with elsewhere; this is what it came to.
    Reply(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Commanded {
    message: MessageId,
    command: Command,
}

const HOUR: Duration = Duration::from_secs(3_600);
const CODES: Uuid = Uuid::from_u128(0x8b5c_1f2e_7a64_4c0e_9d0b_b40c_a000_0004);

fn hashed(code: &str) -> Uuid {
    Uuid::new_v5(&CODES, typed_code(code).as_bytes())
}

pub(crate) const LOCK: &str = "-- command: lock message
SELECT id FROM messages WHERE id = $1 FOR UPDATE";

/// Nothing of one that has its reply.
pub(crate) const OPEN: &str = "-- command: message
SELECT m.id, m.instance, m.conversation_id, m.profile_id, m.chat_id, m.trace, p.user_id, p.platform, p.platform_user_id
FROM messages m JOIN profiles p ON p.id = m.profile_id
WHERE m.id = $1 AND m.state = 'suppressed' AND m.class = 'command'
  AND NOT EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id)";

pub(crate) const STALE: &str = "-- link codes: stale
DELETE FROM link_codes WHERE profile_id = $1 OR expires_at <= $2";

pub(crate) const GIVE: &str = "-- link codes: give
INSERT INTO link_codes (hash, profile_id, expires_at) VALUES ($1, $2, $3)";

pub(crate) const TAKE: &str = "-- link codes: take
DELETE FROM link_codes WHERE hash = $1 AND expires_at > $2 AND profile_id <> $3 RETURNING profile_id";

pub(crate) const IS_OWN: &str = "-- link codes: own
SELECT count(*) FROM link_codes WHERE hash = $1 AND profile_id = $2";

pub(crate) const WRONG: &str = "-- link codes: wrong tries
SELECT wrong FROM link_tries WHERE profile_id = $1 AND since > $2";

pub(crate) const TRIED: &str = "-- link codes: tried
INSERT INTO link_tries (profile_id, since, wrong) VALUES ($1, $2, 1)
ON CONFLICT (profile_id) DO UPDATE
    SET wrong = CASE WHEN link_tries.since > $3 THEN link_tries.wrong + 1 ELSE 1 END,
        since = CASE WHEN link_tries.since > $3 THEN link_tries.since ELSE excluded.since END";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    instance: String,
    conversation_id: Uuid,
    profile_id: Uuid,
    chat_id: Option<String>,
    trace: Option<String>,
    user_id: Uuid,
    platform: String,
    platform_user_id: String,
}

impl Row {
    fn actor(&self) -> String {
        Who::id(&self.platform, &self.platform_user_id).to_string()
    }
}

async fn obey(tx: &mut Tx<'_>, wish: &Commanded) -> Result<Option<Owed>, StoreError> {
    tx.lock(LOCK, wish.message.0).await?;
    let Some(row) = ask!(tx, fetch_optional, Row, OPEN, wish.message.0)? else { return Ok(None) };
    let text = match &wish.command {
        Command::Code(terms) => give(tx, &row, terms).await?,
        Command::Link { code, terms } => redeem(tx, &row, (code, terms)).await?.to_owned(),
        Command::Unlink => part(tx, &row).await?.to_owned(),
        Command::Reply(text) => text.clone(),
    };
    reply(tx, row, text).await.map(Some)
}

async fn give(tx: &mut Tx<'_>, row: &Row, terms: &LinkTerms) -> Result<String, StoreError> {
    let (code, now) = (fresh_code(), tx.now().await?);
    // One at a time: the last one told is the one that is good.
    change!(tx, STALE, row.profile_id, now)?;
    change!(tx, GIVE, hashed(&code), row.profile_id, now.saturating_add(micros(terms.code_life)))?;
    Ok(said::told_code(&code, terms.code_life))
}

async fn redeem(tx: &mut Tx<'_>, row: &Row, (code, terms): (&str, &LinkTerms)) -> Result<&'static str, StoreError> {
    let now = tx.now().await?;
    let since = now.saturating_sub(micros(HOUR));
    let wrong = ask!(tx, fetch_optional, (i64,), WRONG, row.profile_id, since)?;
    if wrong.is_some_and(|(wrong,)| wrong >= i64::from(terms.wrong_per_hour)) {
        return Ok(said::TOO_MANY_TRIES);
    }
    let taken = ask!(tx, fetch_optional, (Uuid,), TAKE, hashed(code), now, row.profile_id)?;
    let Some((given_to,)) = taken else {
        let (own,) = ask!(tx, fetch_one, (i64,), IS_OWN, hashed(code), row.profile_id)?;
        if own > 0 {
            return Ok(said::OWN_CODE);
        }
        change!(tx, TRIED, row.profile_id, now, since)?;
        return Ok(said::NO_SUCH_CODE);
    };
    let Some((into,)) = ask!(tx, fetch_optional, (Uuid,), link::OWNER, given_to)? else {
        return Ok(said::NO_SUCH_CODE);
    };
    Ok(match link::link(tx, (UserId(into), UserId(row.user_id))).await? {
        Ok(linked) => {
            let subjects = vec![linked.user_id.0, linked.absorbed.0];
            link::note(tx, (&row.actor(), "users.link", row.id), (json!(linked), subjects)).await?;
            said::LINKED
        }
        Err(CannotLink::Same) => said::LINKED_BEFORE,
        Err(_) => said::NOT_NOW,
    })
}

async fn part(tx: &mut Tx<'_>, row: &Row) -> Result<&'static str, StoreError> {
    Ok(match link::unlink(tx, ProfileId(row.profile_id)).await? {
        Ok(parted) => {
            let subjects = vec![parted.user_id.0, parted.former.0];
            link::note(tx, (&row.actor(), "users.unlink", row.id), (json!(parted), subjects)).await?;
            said::UNLINKED
        }
        Err(CannotLink::OnlyAccount) => said::NOT_LINKED,
        Err(_) => said::NOT_NOW,
    })
}

async fn reply(tx: &mut Tx<'_>, row: Row, text: String) -> Result<Owed, StoreError> {
    let now = tx.now().await?;
    let (response, instance) = (ResponseId::new(), row.instance.as_str());
    let lane = lite::lane(instance, row.chat_id.as_deref(), row.profile_id);
    let (of, conversation, profile) = (row.id, row.conversation_id, row.profile_id);
    change!(tx, NOTICE, response.0, of, conversation, profile, instance, lane.as_str(), text.as_str(), now)?;
    change!(tx, OWE, response.0, instance, of, conversation, now)?;
    Ok(Owed {
        id: OutboxId(response.0),
        what: OwedKind::Response(response),
        instance: parsed(instance)?,
        message: MessageId(of),
        conversation: ConversationId(conversation),
        text,
        trace: trace(row.trace.as_deref()),
        at: Timestamp(now),
    })
}

operation!(Obey: Commanded => Option<Owed>, "obey a command", obey);

pub(crate) const IS_OPEN: &str = "-- command: is it open
SELECT count(*) FROM messages m
WHERE m.id = $1 AND m.state = 'suppressed' AND m.class = 'command'
  AND NOT EXISTS (SELECT 1 FROM responses r WHERE r.message_id = m.id)";

impl Store {
    /// Does what a command wants, and writes its reply; the reply's publish. `None` when the message is no command, or was
    /// replied to before.
    pub async fn obey(&self, message: MessageId, command: Command) -> Result<Option<Owed>, StoreError> {
        self.once::<Obey>(Commanded { message, command }).await
    }

    /// Whether the message is a command that has no reply yet.
    pub async fn is_command_open(&self, message: MessageId) -> Result<bool, StoreError> {
        let (count,) = crate::reading::fetch!(self, fetch_one, (i64,), IS_OPEN, message.0)?;
        Ok(count > 0)
    }
}
