//! The rules about who may talk that operators set while everything runs, and who is deactivated.
//!
//! A process that accepts messages keeps a copy of them ([`Store::access_state`]). Whatever changes them raises the one
//! number in `access_version`, in the same transaction, so that a look at that number tells whether a copy is old.

use std::time::Duration;

use broca_core::{
    Instance, RuleId, Timestamp, UserId,
    access::{Rule, RuleKind, Who},
    clock::micros,
};
use serde::Serialize;
use sqlx::types::Uuid;

use crate::{
    Store, StoreError,
    decode::parsed,
    reading::fetch,
    tx::{Tx, ask, change, operation, snapshot},
};

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleSource {
    Operator,
    Import,
    Pairing,
}

impl RuleSource {
    fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Import => "import",
            Self::Pairing => "pairing",
        }
    }
}

#[derive(Clone, Debug)]
pub struct NewRule {
    pub kind: RuleKind,
    pub who: Who,
    /// `None` is every instance.
    pub instance: Option<Instance>,
    pub reason: Option<String>,
    pub source: RuleSource,
    pub actor: String,
    /// It ends by itself after this long.
    pub life: Option<Duration>,
}

/// A rule as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct AccessRule {
    pub id: RuleId,
    pub kind: RuleKind,
    pub who: Who,
    pub instance: Option<Instance>,
    pub reason: Option<String>,
    pub source: String,
    pub actor: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub removed_at: Option<Timestamp>,
    pub removed_by: Option<String>,
    /// Neither removed nor expired.
    pub in_force: bool,
}

/// What a process keeps a copy of.
#[derive(Clone, Debug)]
pub struct AccessState {
    pub version: i64,
    /// The database's time when it was read.
    pub at: Timestamp,
    /// What changed since the version that was known; `None` is nothing.
    pub changed: Option<AccessCopy>,
}

#[derive(Clone, Debug)]
pub struct AccessCopy {
    /// With the time at which each ends.
    pub rules: Vec<(Rule, Option<Timestamp>)>,
    /// The profiles of everybody who is deactivated, by platform and id.
    pub inactive: Vec<(String, String)>,
}

/// What became of a change of who is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Activation {
    pub user_id: UserId,
    pub is_active: bool,
    /// Whether it was otherwise before.
    pub changed: bool,
    pub reason: Option<String>,
}

pub(crate) const VERSION: &str = "-- access: version
SELECT version FROM access_version WHERE one = 1";

pub(crate) const RAISE: &str = "-- access: raise version
UPDATE access_version SET version = version + 1 WHERE one = 1";

macro_rules! rule_rows {
    ($name:literal, $rest:literal) => {
        concat!(
            $name,
            "\nSELECT id, kind, who, instance, reason, source, actor, created_at, expires_at, removed_at, removed_by
FROM access_rules ",
            $rest
        )
    };
}

pub(crate) const IN_FORCE: &str = rule_rows!(
    "-- access: rules in force",
    "WHERE removed_at IS NULL AND COALESCE(expires_at, 9223372036854775807) > $1 ORDER BY created_at, id"
);
/// Of one kind, or of any.
pub(crate) const LIST: &str = rule_rows!(
    "-- access: list",
    "WHERE removed_at IS NULL AND COALESCE(expires_at, 9223372036854775807) > $1 AND kind = COALESCE($2, kind) AND id > $3
ORDER BY id LIMIT $4"
);
pub(crate) const ALL: &str =
    rule_rows!("-- access: all rules", "WHERE kind = COALESCE($1, kind) AND id < $2 ORDER BY id DESC LIMIT $3");
pub(crate) const ONE: &str = rule_rows!("-- access: rule", "WHERE id = $1");

pub(crate) const INACTIVE: &str = "-- access: inactive people
SELECT p.platform, p.platform_user_id FROM users u JOIN profiles p ON p.user_id = u.id WHERE NOT u.is_active";

/// Of one person and instance there is one opinion at a time.
pub(crate) const REPLACE: &str = "-- access: replace
UPDATE access_rules
SET removed_at = CASE WHEN expires_at <= $3 THEN expires_at ELSE $3 END, removed_by = $4
WHERE who = $1 AND COALESCE(instance, '') = $2 AND removed_at IS NULL";

pub(crate) const PUT: &str = "-- access: put
INSERT INTO access_rules (id, kind, who, instance, reason, source, actor, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// By its id, or all of one person; of one kind, or of any.
pub(crate) const REMOVE: &str = "-- access: remove
UPDATE access_rules SET removed_at = $4, removed_by = $5
WHERE removed_at IS NULL AND COALESCE(expires_at, 9223372036854775807) > $4
  AND (id = $1 OR who = $2) AND kind = COALESCE($3, kind)";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    who: String,
    instance: Option<String>,
    reason: Option<String>,
    source: String,
    actor: String,
    created_at: i64,
    expires_at: Option<i64>,
    removed_at: Option<i64>,
    removed_by: Option<String>,
}

impl Row {
    fn rule(self, now: i64) -> Result<AccessRule, StoreError> {
        Ok(AccessRule {
            id: RuleId(self.id),
            kind: parsed(&self.kind)?,
            who: parsed(&self.who)?,
            instance: self.instance.as_deref().map(parsed).transpose()?,
            reason: self.reason,
            source: self.source,
            actor: self.actor,
            created_at: Timestamp(self.created_at),
            expires_at: self.expires_at.map(Timestamp),
            removed_at: self.removed_at.map(Timestamp),
            removed_by: self.removed_by,
            in_force: self.removed_at.is_none() && self.expires_at.is_none_or(|at| at > now),
        })
    }
}

async fn read_state(tx: &mut Tx<'_>, known: i64) -> Result<AccessState, StoreError> {
    let now = tx.now().await?;
    let (version,) = ask!(tx, fetch_one, (i64,), VERSION)?;
    let at = Timestamp(now);
    if version == known {
        return Ok(AccessState { version, at, changed: None });
    }
    let mut rules = Vec::new();
    for row in ask!(tx, fetch_all, Row, IN_FORCE, now)? {
        let AccessRule { kind, who, instance, reason, expires_at, .. } = row.rule(now)?;
        rules.push((Rule { kind, who, instance, reason }, expires_at));
    }
    let inactive = ask!(tx, fetch_all, (String, String), INACTIVE)?;
    Ok(AccessState { version, at, changed: Some(AccessCopy { rules, inactive }) })
}

/// Everybody's copies are old from the commit on.
pub(crate) async fn raise(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    change!(tx, RAISE)?;
    Ok(())
}

/// Writes a rule down in place of whatever was said of the same person and instance; its id.
pub(crate) async fn put(tx: &mut Tx<'_>, new: &NewRule) -> Result<RuleId, StoreError> {
    let (id, now, who) = (RuleId::new(), tx.now().await?, new.who.to_string());
    let instance = new.instance.as_ref().map(Instance::as_str);
    let (kind, source, actor) = (new.kind.as_str(), new.source.as_str(), new.actor.as_str());
    let expires = new.life.map(|life| now.saturating_add(micros(life)));
    // First: two who say something of the same person take turns.
    raise(tx).await?;
    change!(tx, REPLACE, who.as_str(), instance.unwrap_or_default(), now, actor)?;
    change!(tx, PUT, id.0, kind, who.as_str(), instance, new.reason.as_deref(), source, actor, now, expires)?;
    Ok(id)
}

async fn put_all(tx: &mut Tx<'_>, new: &Vec<NewRule>) -> Result<Vec<AccessRule>, StoreError> {
    let mut rules = Vec::with_capacity(new.len());
    for rule in new {
        let id = put(tx, rule).await?;
        let now = tx.now().await?;
        rules.push(ask!(tx, fetch_one, Row, ONE, id.0)?.rule(now)?);
    }
    Ok(rules)
}

operation!(PutRules: Vec<NewRule> => Vec<AccessRule>, "put access rules", put_all);

#[derive(Clone, Debug)]
pub(crate) struct Removal {
    id: Option<RuleId>,
    who: Option<Who>,
    kind: Option<RuleKind>,
    actor: String,
}

async fn remove(tx: &mut Tx<'_>, removal: &Removal) -> Result<u64, StoreError> {
    raise(tx).await?;
    let (now, who) = (tx.now().await?, removal.who.as_ref().map(ToString::to_string));
    let kind = removal.kind.map(RuleKind::as_str);
    Ok(change!(tx, REMOVE, removal.id.map(|id| id.0), who.as_deref(), kind, now, removal.actor.as_str())?)
}

operation!(RemoveRules: Removal => u64, "remove access rules", remove);

#[derive(Clone, Debug)]
pub(crate) struct SetActive {
    user: UserId,
    active: bool,
    reason: Option<String>,
    actor: String,
}

pub(crate) const ACTIVATE: &str = "-- access: activate
UPDATE users SET is_active = TRUE, inactive_at = NULL, inactive_by = NULL, inactive_reason = NULL
WHERE id = $1 AND NOT is_active";

pub(crate) const DEACTIVATE: &str = "-- access: deactivate
UPDATE users SET is_active = FALSE, inactive_at = $2, inactive_by = $3, inactive_reason = $4
WHERE id = $1 AND is_active";

pub(crate) const IS_ACTIVE: &str = "-- access: is a person active
SELECT is_active, inactive_reason FROM users WHERE id = $1";

async fn set_active(tx: &mut Tx<'_>, set: &SetActive) -> Result<Option<Activation>, StoreError> {
    raise(tx).await?;
    let (user, now) = (set.user.0, tx.now().await?);
    let changed = if set.active {
        change!(tx, ACTIVATE, user)?
    } else {
        change!(tx, DEACTIVATE, user, now, set.actor.as_str(), set.reason.as_deref())?
    };
    let found = ask!(tx, fetch_optional, (bool, Option<String>), IS_ACTIVE, user)?;
    Ok(found.map(|(is_active, reason)| Activation { user_id: set.user, is_active, changed: changed > 0, reason }))
}

operation!(Activate: SetActive => Option<Activation>, "set a person active", set_active);

impl Store {
    /// The rules in force, if they are others than those of version `known`; 0 is none.
    pub async fn access_state(&self, known: i64) -> Result<AccessState, StoreError> {
        snapshot!(self, read_state, known)
    }

    /// Puts rules in force, all of them or none, each in place of what was said of the same person and instance.
    pub async fn put_access_rules(&self, rules: Vec<NewRule>) -> Result<Vec<AccessRule>, StoreError> {
        self.once::<PutRules>(rules).await
    }

    /// Takes a rule back by its id, or all of one person; of one kind, or of any. Says how many were in force.
    pub async fn remove_access_rules(
        &self,
        id: Option<RuleId>,
        who: Option<Who>,
        kind: Option<RuleKind>,
        actor: &str,
    ) -> Result<u64, StoreError> {
        self.once::<RemoveRules>(Removal { id, who, kind, actor: actor.to_owned() }).await
    }

    /// The rules in force, all of them, oldest first: for whoever decides by them.
    pub async fn access_rules(&self) -> Result<Vec<AccessRule>, StoreError> {
        let now = self.now().await?.micros();
        fetch!(self, fetch_all, Row, IN_FORCE, now)?.into_iter().map(|row| row.rule(now)).collect()
    }

    /// Rules in force, of one kind or all, oldest first, from behind `after` on.
    pub async fn some_access_rules(
        &self,
        kind: Option<RuleKind>,
        after: Option<RuleId>,
        limit: u32,
    ) -> Result<Vec<AccessRule>, StoreError> {
        let (now, after) = (self.now().await?.micros(), after.map_or(Uuid::nil(), |id| id.0));
        let rows = fetch!(self, fetch_all, Row, LIST, now, kind.map(RuleKind::as_str), after, i64::from(limit))?;
        rows.into_iter().map(|row| row.rule(now)).collect()
    }

    /// All rules, also those that are over, newest first, from behind `after` on.
    pub async fn all_access_rules(
        &self,
        kind: Option<RuleKind>,
        after: Option<RuleId>,
        limit: u32,
    ) -> Result<Vec<AccessRule>, StoreError> {
        let (now, after) = (self.now().await?.micros(), after.map_or(Uuid::max(), |id| id.0));
        let rows = fetch!(self, fetch_all, Row, ALL, kind.map(RuleKind::as_str), after, i64::from(limit))?;
        rows.into_iter().map(|row| row.rule(now)).collect()
    }

    /// Has a person's messages let in, or kept out whatever the rules say; `None` when there is no such person.
    pub async fn set_active(
        &self,
        user: UserId,
        active: bool,
        reason: Option<&str>,
        actor: &str,
    ) -> Result<Option<Activation>, StoreError> {
        let set = SetActive { user, active, reason: reason.map(str::to_owned), actor: actor.to_owned() };
        self.once::<Activate>(set).await
    }
}
