//! What callers of the HTTP and MCP servers show, and what they were shown before they may do something.
//!
//! Only hashes are kept. Whoever reads the database cannot call as somebody else.

use std::time::Duration;

use broca_core::{Timestamp, TokenId, clock::micros, rights::Access};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    decode::parsed,
    reading::fetch,
    tx::{Tx, ask, change, operation},
};

#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub hash: Vec<u8>,
    pub access: Access,
    /// It may read what people and agents wrote.
    pub contents: bool,
    pub created_by: String,
    /// `None` is until it is revoked.
    pub life: Option<Duration>,
}

/// A token, without what it takes to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ApiToken {
    pub id: TokenId,
    pub name: String,
    pub access: Access,
    /// It may read what people and agents wrote.
    pub contents: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    pub revoked_by: Option<String>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    /// It can be used now.
    pub live: bool,
}

/// The use of a token is written down this often at most.
const NOTED_EVERY: Duration = Duration::from_secs(60);

pub(crate) const ADD: &str = "-- token: add
INSERT INTO api_tokens (id, name, hash, access, contents, created_at, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING";

macro_rules! tokens {
    ($name:literal, $rest:literal) => {
        concat!(
            $name,
            "\nSELECT id, name, access, contents, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at
FROM api_tokens ",
            $rest
        )
    };
}

pub(crate) const ONE: &str = tokens!("-- token", "WHERE id = $1");
pub(crate) const BY_HASH: &str = tokens!("-- token: shown", "WHERE hash = $1");
pub(crate) const NAMED: &str = tokens!("-- token: named", "WHERE name = $1 AND revoked_at IS NULL");
pub(crate) const LIST: &str = tokens!("-- tokens", "ORDER BY created_at DESC, id DESC");

pub(crate) const REVOKE: &str = "-- token: revoke
UPDATE api_tokens SET revoked_at = $2, revoked_by = $3 WHERE name = $1 AND revoked_at IS NULL";

pub(crate) const USED: &str = "-- token: used
UPDATE api_tokens SET last_used_at = $2 WHERE id = $1 AND COALESCE(last_used_at, 0) < $3";

pub(crate) const OFFER: &str = "-- confirmation: offer
INSERT INTO confirmations (hash, actor, operation, request, ceiling, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (hash) DO NOTHING";

pub(crate) const STALE: &str = "-- confirmation: stale
DELETE FROM confirmations WHERE expires_at <= $1";

pub(crate) const CONFIRM: &str = "-- confirmation: take
DELETE FROM confirmations
WHERE hash = $1 AND actor = $2 AND operation = $3 AND request = $4 AND expires_at > $5
RETURNING ceiling";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    access: String,
    contents: bool,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
    last_used_at: Option<i64>,
}

impl Row {
    fn token(self, now: i64) -> Result<ApiToken, StoreError> {
        Ok(ApiToken {
            id: TokenId(self.id),
            name: self.name,
            access: parsed(&self.access)?,
            contents: self.contents,
            created_at: Timestamp(self.created_at),
            created_by: self.created_by,
            expires_at: self.expires_at.map(Timestamp),
            revoked_at: self.revoked_at.map(Timestamp),
            revoked_by: self.revoked_by,
            last_used_at: self.last_used_at.map(Timestamp),
            live: self.revoked_at.is_none() && self.expires_at.is_none_or(|at| at > now),
        })
    }
}

async fn add(tx: &mut Tx<'_>, new: &NewToken) -> Result<Option<ApiToken>, StoreError> {
    let (now, id) = (tx.now().await?, TokenId::new());
    let expires = new.life.map(|life| now.saturating_add(micros(life)));
    let (name, hash, access) = (new.name.as_str(), new.hash.as_slice(), new.access.as_str());
    change!(tx, ADD, id.0, name, hash, access, new.contents, now, new.created_by.as_str(), expires)?;
    ask!(tx, fetch_optional, Row, ONE, id.0)?.map(|row| row.token(now)).transpose()
}

#[derive(Clone, Debug)]
pub(crate) struct Revoke {
    name: String,
    actor: String,
}

async fn revoke(tx: &mut Tx<'_>, revoke: &Revoke) -> Result<Option<ApiToken>, StoreError> {
    let now = tx.now().await?;
    let Some(token) = ask!(tx, fetch_optional, Row, NAMED, revoke.name.as_str())? else { return Ok(None) };
    let id = token.id;
    change!(tx, REVOKE, revoke.name.as_str(), now, revoke.actor.as_str())?;
    ask!(tx, fetch_optional, Row, ONE, id)?.map(|row| row.token(now)).transpose()
}

async fn used(tx: &mut Tx<'_>, id: &TokenId) -> Result<(), StoreError> {
    let now = tx.now().await?;
    change!(tx, USED, id.0, now, now.saturating_sub(micros(NOTED_EVERY)))?;
    Ok(())
}

/// Lets one caller do one thing once, after they saw what it comes to.
#[derive(Clone, Debug)]
pub struct Confirmation {
    /// Of the secret that the caller was given.
    pub hash: Vec<u8>,
    pub actor: String,
    pub operation: String,
    /// A digest of the request.
    pub request: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Offer {
    confirmation: Confirmation,
    ceiling: i64,
    life: Duration,
}

async fn offer(tx: &mut Tx<'_>, offer: &Offer) -> Result<Timestamp, StoreError> {
    let (now, of) = (tx.now().await?, &offer.confirmation);
    let expires = now.saturating_add(micros(offer.life));
    change!(tx, STALE, now)?;
    let (hash, request) = (of.hash.as_slice(), of.request.as_slice());
    change!(tx, OFFER, hash, of.actor.as_str(), of.operation.as_str(), request, offer.ceiling, expires)?;
    Ok(Timestamp(expires))
}

async fn confirm(tx: &mut Tx<'_>, given: &Confirmation) -> Result<Option<i64>, StoreError> {
    let (hash, request) = (given.hash.as_slice(), given.request.as_slice());
    let now = tx.now().await?;
    let row =
        ask!(tx, fetch_optional, (i64,), CONFIRM, hash, given.actor.as_str(), given.operation.as_str(), request, now)?;
    Ok(row.map(|(ceiling,)| ceiling))
}

operation!(AddToken: NewToken => Option<ApiToken>, "add token", add);
operation!(RevokeToken: Revoke => Option<ApiToken>, "revoke token", revoke);
operation!(UseToken: TokenId => (), "use token", used);
operation!(OfferConfirmation: Offer => Timestamp, "offer confirmation", offer);
operation!(TakeConfirmation: Confirmation => Option<i64>, "take confirmation", confirm);

impl Store {
    /// `None` when there is one of that name that is not revoked.
    pub async fn add_token(&self, new: NewToken) -> Result<Option<ApiToken>, StoreError> {
        self.once::<AddToken>(new).await
    }

    /// The newest first, those that can be used no more among them.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        let now = self.now().await?;
        let rows = fetch!(self, fetch_all, Row, LIST)?;
        rows.into_iter().map(|row| row.token(now.micros())).collect()
    }

    /// Ends a token; `None` when there is none of that name, or it was revoked before.
    pub async fn revoke_token(&self, name: &str, actor: &str) -> Result<Option<ApiToken>, StoreError> {
        self.once::<RevokeToken>(Revoke { name: name.to_owned(), actor: actor.to_owned() }).await
    }

    /// The token of which this is the hash, if it can be used now. Notes that it is used.
    pub async fn token_shown(&self, hash: &[u8]) -> Result<Option<ApiToken>, StoreError> {
        let Some(row) = fetch!(self, fetch_optional, Row, BY_HASH, hash)? else { return Ok(None) };
        let now = self.now().await?;
        let token = row.token(now.micros())?;
        if !token.live {
            return Ok(None);
        }
        if token.last_used_at.is_none_or(|at| now.since(at) > NOTED_EVERY) {
            self.once::<UseToken>(token.id).await?;
        }
        Ok(Some(token))
    }

    /// Offers a confirmation, for so long and for so many rows at most; says until when.
    pub async fn offer_confirmation(
        &self,
        confirmation: Confirmation,
        ceiling: i64,
        life: Duration,
    ) -> Result<Timestamp, StoreError> {
        self.once::<OfferConfirmation>(Offer { confirmation, ceiling, life }).await
    }

    /// Takes a confirmation, which is gone then; its ceiling, or `None` when it is not that caller's for that request,
    /// is over, or was taken.
    pub async fn take_confirmation(&self, given: Confirmation) -> Result<Option<i64>, StoreError> {
        self.once::<TakeConfirmation>(given).await
    }
}
