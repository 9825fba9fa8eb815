//! Two accounts become one person's, and part again.
//!
//! What moves is the profile's `user_id` alone. Messages, answers and conversations name profiles, so they come along
//! without being touched: no conversation's queue changes, and a turn under way ends where it began. A conversation of
//! scope `user` stays what it is; whoever writes next goes on in that of the person whom the account belongs to then.
//!
//! Locks are taken in one order: the version of the rules (who deactivates somebody waits), the users, their profiles as
//! `ingest` takes them. A person who is on hold, deactivated, or being forgotten is left as they are, because each of these
//! follows the user: a message that a hold took out of its queue would otherwise be overtaken.

use broca_core::{ActId, ProfileId, UserId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::types::{Json, Uuid};

use crate::{
    Store, StoreError, access,
    audit_log::about,
    forget,
    operation::column,
    tx::{Tx, ask, change, operation},
};

/// Why nothing was linked or parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotLink {
    #[error("there is no such person")]
    Nobody,
    #[error("they are one person already")]
    Same,
    #[error("it is this person's only account")]
    OnlyAccount,
    #[error("one of them is on hold, or what a hold took back is not in its queue yet")]
    OnHold,
    #[error("one of them is deactivated")]
    Inactive,
    #[error("one of them is being forgotten")]
    Forgetting,
}

/// Who was linked: all accounts of `absorbed` are `user_id`'s, and `absorbed` is nobody any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Linked {
    pub user_id: UserId,
    pub absorbed: UserId,
    /// The accounts that moved.
    pub profiles: Vec<ProfileId>,
}

/// Who was parted: the account is `user_id`'s, who is new, and no longer `former`'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Unlinked {
    pub profile_id: ProfileId,
    pub user_id: UserId,
    pub former: UserId,
}

pub(crate) const LOCK_USER: &str = "-- link: lock user
SELECT id FROM users WHERE id = $1 FOR UPDATE";

/// In the order in which `ingest` locks them.
pub(crate) const LOCK_PROFILES: &str = "-- link: lock profiles
SELECT id FROM profiles WHERE user_id IN ($1, $2) ORDER BY platform, platform_user_id FOR UPDATE";

pub(crate) const USER: &str = "-- link: user
SELECT is_active, custom_instructions, agent_preferences FROM users WHERE id = $1";

pub(crate) const HELD: &str = "-- link: is on hold
SELECT count(*) FROM holds WHERE settled_at IS NULL AND kind = 'user' AND subject = $1";

pub(crate) const ACCOUNTS: &str = "-- link: accounts
SELECT id FROM profiles WHERE user_id = $1 ORDER BY created_at, id";

pub(crate) const KEEP: &str = "-- link: what is known of both
UPDATE users SET custom_instructions = $2, agent_preferences = $3 WHERE id = $1";

pub(crate) const MOVE: &str = "-- link: move profiles
UPDATE profiles SET user_id = $2 WHERE user_id = $1";

pub(crate) const INSTRUCT: &str = "-- link: instructions
UPDATE profiles SET instructions = $2 WHERE user_id = $1";

/// An agent that has a block of both goes on with `into`'s.
pub(crate) const RETIRE_BLOCKS: &str = "-- link: retire blocks
UPDATE user_blocks SET retired = TRUE
WHERE user_id = $1 AND agent IN (SELECT agent FROM user_blocks WHERE user_id = $2 AND NOT retired)";

pub(crate) const BLOCKS: &str = "-- link: blocks
UPDATE user_blocks SET user_id = $2 WHERE user_id = $1";

pub(crate) const PAST: &str = "-- link: earlier links
UPDATE past_users SET user_id = $2 WHERE user_id = $1";

pub(crate) const ABSORBED: &str = "-- link: scope key
INSERT INTO past_users (scope_key, user_id) VALUES ($1, $2)";

pub(crate) const DROP: &str = "-- link: absorbed user
DELETE FROM users WHERE id = $1";

pub(crate) const OWNER: &str = "-- link: owner of a profile
SELECT user_id FROM profiles WHERE id = $1";

pub(crate) const PART: &str = "-- link: a person of its own
INSERT INTO users (id, display_name, created_at)
SELECT $2, COALESCE(display_name, username), $3 FROM profiles WHERE id = $1";

pub(crate) const PART_PROFILE: &str = "-- link: part a profile
UPDATE profiles SET user_id = $2, instructions = NULL WHERE id = $1";

type UserRow = (bool, Option<String>, Json<Map<String, Value>>);

/// Nobody deactivates, holds or links one of these people until the end of the transaction.
async fn lock(tx: &mut Tx<'_>, people: [Uuid; 2]) -> Result<(), StoreError> {
    access::raise(tx).await?;
    let mut sorted = people;
    sorted.sort_unstable();
    for user in sorted {
        tx.lock(LOCK_USER, user).await?;
    }
    if let Tx::Pg(conn) = tx {
        sqlx::query(LOCK_PROFILES).bind(people[0]).bind(people[1]).execute(&mut **conn).await?;
    }
    Ok(())
}

/// A person whose accounts may come and go.
async fn free(tx: &mut Tx<'_>, user: Uuid) -> Result<Result<UserRow, CannotLink>, StoreError> {
    let Some(row) = ask!(tx, fetch_optional, UserRow, USER, user)? else { return Ok(Err(CannotLink::Nobody)) };
    let (holds,) = ask!(tx, fetch_one, (i64,), HELD, user.simple().to_string())?;
    Ok(if holds > 0 {
        Err(CannotLink::OnHold)
    } else if !row.0 {
        Err(CannotLink::Inactive)
    } else if forget::is_under_way(tx, UserId(user)).await? {
        Err(CannotLink::Forgetting)
    } else {
        Ok(row)
    })
}

macro_rules! or_why {
    ($result:expr) => {
        match $result {
            Ok(done) => done,
            Err(why) => return Ok(Err(why)),
        }
    };
}

/// `into`'s own instructions and preferences win.
pub(crate) async fn link(
    tx: &mut Tx<'_>,
    (into, absorbed): (UserId, UserId),
) -> Result<Result<Linked, CannotLink>, StoreError> {
    if into == absorbed {
        return Ok(Err(CannotLink::Same));
    }
    lock(tx, [into.0, absorbed.0]).await?;
    let (_, instructions, Json(mut preferences)) = or_why!(free(tx, into.0).await?);
    let (_, other_instructions, Json(other_preferences)) = or_why!(free(tx, absorbed.0).await?);
    for (key, value) in other_preferences {
        preferences.entry(key).or_insert(value);
    }
    let instructions = instructions.or(other_instructions);
    let moved = ask!(tx, fetch_all, (Uuid,), ACCOUNTS, absorbed.0)?;
    change!(tx, KEEP, into.0, instructions.as_deref(), Json(&preferences))?;
    change!(tx, MOVE, absorbed.0, into.0)?;
    change!(tx, INSTRUCT, into.0, instructions.as_deref())?;
    change!(tx, RETIRE_BLOCKS, absorbed.0, into.0)?;
    change!(tx, BLOCKS, absorbed.0, into.0)?;
    change!(tx, PAST, absorbed.0, into.0)?;
    change!(tx, ABSORBED, format!("user:{absorbed}"), into.0)?;
    change!(tx, DROP, absorbed.0)?;
    let profiles = moved.into_iter().map(|(id,)| ProfileId(id)).collect();
    Ok(Ok(Linked { user_id: into, absorbed, profiles }))
}

/// Instructions and preferences stay with the person whom the account leaves.
pub(crate) async fn unlink(tx: &mut Tx<'_>, profile: ProfileId) -> Result<Result<Unlinked, CannotLink>, StoreError> {
    let Some((former,)) = ask!(tx, fetch_optional, (Uuid,), OWNER, profile.0)? else {
        return Ok(Err(CannotLink::Nobody));
    };
    lock(tx, [former, former]).await?;
    or_why!(free(tx, former).await?);
    let accounts = ask!(tx, fetch_all, (Uuid,), ACCOUNTS, former)?;
    if !accounts.contains(&(profile.0,)) {
        return Err(StoreError::Contention("the account was linked meanwhile".to_owned()));
    }
    if accounts.len() < 2 {
        return Ok(Err(CannotLink::OnlyAccount));
    }
    let (user_id, now) = (UserId::new(), tx.now().await?);
    change!(tx, PART, profile.0, user_id.0, now)?;
    change!(tx, PART_PROFILE, profile.0, user_id.0)?;
    Ok(Ok(Unlinked { profile_id: profile, user_id, former: UserId(former) }))
}

pub(crate) const ACT: &str = "-- link: audit log
INSERT INTO audit_log (id, at, ended_at, actor, via, operation, request, outcome, after, subjects)
VALUES ($1, $2, $2, $3, 'chat', $4, $5, 'done', $6, $7)";

/// What somebody did about their own accounts, in the transaction that did it.
pub(crate) async fn note(
    tx: &mut Tx<'_>,
    (actor, name, message): (&str, &str, Uuid),
    (after, subjects): (Value, Vec<Uuid>),
) -> Result<(), StoreError> {
    let now = tx.now().await?;
    let subjects = about(&column(&subjects, ToString::to_string));
    let request = json!({"message_id": message});
    change!(tx, ACT, ActId::new().0, now, actor, name, Json(&request), Json(&after), subjects)?;
    Ok(())
}

async fn link_them(tx: &mut Tx<'_>, people: &(UserId, UserId)) -> Result<Result<Linked, CannotLink>, StoreError> {
    link(tx, *people).await
}

async fn unlink_it(tx: &mut Tx<'_>, profile: &ProfileId) -> Result<Result<Unlinked, CannotLink>, StoreError> {
    unlink(tx, *profile).await
}

operation!(LinkUsers: (UserId, UserId) => Result<Linked, CannotLink>, "link users", link_them);
operation!(UnlinkProfile: ProfileId => Result<Unlinked, CannotLink>, "unlink a profile", unlink_it);

impl Store {
    /// Makes two people one: all accounts of `absorbed` become `into`'s.
    pub async fn link_users(&self, into: UserId, absorbed: UserId) -> Result<Result<Linked, CannotLink>, StoreError> {
        self.once::<LinkUsers>((into, absorbed)).await
    }

    /// Makes an account a person of its own again, who is new.
    pub async fn unlink_profile(&self, profile: ProfileId) -> Result<Result<Unlinked, CannotLink>, StoreError> {
        self.once::<UnlinkProfile>(profile).await
    }
}
