//! Who may talk, as operators say it while everything runs: rules, the ignore list, codes of strangers, who is active.

use std::{collections::BTreeMap, num::NonZeroU32};

use broca_core::{
    Instance, RuleId,
    access::{NamesNobody, RuleKind, Who, typed_code},
};
use broca_store::{AccessRule, Activation, NewRule, Pairing, PairingState, RuleSource, Stage, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::{
    holds::{self, HoldError},
    page::{and_one_more, cut},
    replay::{self, ReplayError, Report, Selection, Today},
};

/// Codes that are over and still shown.
const SHOWN: u32 = 500;

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no rule in force is '{0}'")]
    NoRule(String),
    #[error(transparent)]
    NamesNobody(#[from] NamesNobody),
    #[error(transparent)]
    Person(HoldError),
    #[error("that is no ignore list: {0}; it is a JSON object like {{\"7\": {{\"username\": \"some_bot\"}}}}")]
    NoList(String),
    #[error("there is no code '{0}'")]
    NoCode(String),
    #[error("the code {} is {}", .0.code, spoken(.0.state))]
    NotOpen(Box<Pairing>),
    #[error("the sender is let in; their message is not: {0}")]
    Replay(#[from] ReplayError),
}

fn spoken(state: PairingState) -> &'static str {
    match state {
        PairingState::Open => "open",
        PairingState::Expired => "too old: the person gets another one when they write again",
        PairingState::Approved => "approved already",
        PairingState::Revoked => "revoked",
    }
}

/// Puts a rule in force, in place of what was said of the same person and instance before.
pub async fn put(store: &Store, rule: NewRule) -> Result<AccessRule, AccessError> {
    let who = rule.who.to_string();
    store.put_access_rules(vec![rule]).await?.pop().ok_or(AccessError::NoRule(who))
}

/// The rules in force, oldest first; with `over`, also those that are over, newest first. Of one kind, or all. And where
/// the next page begins.
pub async fn list(
    store: &Store,
    (kind, over): (Option<RuleKind>, bool),
    after: Option<RuleId>,
    limit: u32,
) -> Result<(Vec<AccessRule>, Option<RuleId>), StoreError> {
    let most = and_one_more(limit);
    let rules = if over {
        store.all_access_rules(kind, after, most).await?
    } else {
        store.some_access_rules(kind, after, most).await?
    };
    Ok(cut(rules, limit, |rule| rule.id))
}

/// What is said of this very person on this very instance.
pub async fn said_of(store: &Store, who: &Who, instance: Option<&Instance>) -> Result<Option<AccessRule>, StoreError> {
    let rules = store.access_rules().await?;
    Ok(rules.into_iter().find(|rule| rule.who == *who && rule.instance.as_ref() == instance))
}

/// The rules in force that have one of these ids or are about one of these people; of one kind, or of any. Each id and
/// each person must have one.
pub async fn named(
    store: &Store,
    ids: &[RuleId],
    who: &[Who],
    kind: Option<RuleKind>,
) -> Result<Vec<AccessRule>, AccessError> {
    let mut rules = store.access_rules().await?;
    rules.retain(|rule| kind.is_none_or(|kind| rule.kind == kind));
    if let Some(id) = ids.iter().find(|id| rules.iter().all(|rule| rule.id != **id)) {
        return Err(AccessError::NoRule(id.to_string()));
    }
    if let Some(who) = who.iter().find(|who| rules.iter().all(|rule| rule.who != **who)) {
        return Err(AccessError::NoRule(who.to_string()));
    }
    Ok(rules.into_iter().filter(|rule| ids.contains(&rule.id) || who.contains(&rule.who)).collect())
}

/// Takes rules back. Says how many of them were still in force.
pub async fn remove(store: &Store, rules: &[AccessRule], actor: &str) -> Result<u64, StoreError> {
    let mut removed = 0;
    for rule in rules {
        removed += store.remove_access_rules(Some(rule.id), None, None, actor).await?;
    }
    Ok(removed)
}

/// One entry of the original's ignore list. Its key is the id, or the name while the id was not known.
#[derive(Debug, Deserialize)]
struct Ignored {
    username: Option<String>,
    reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    pub added: Vec<Who>,
    /// They were ignored before.
    pub known: usize,
}

/// Takes over an ignore list in the original's format (`telegram_ignore_list.json`), all of it or nothing. Somebody whose
/// id is known is ignored by the id alone: names are given up and taken by others.
pub async fn import(
    store: &Store,
    text: &str,
    (platform, instance): (&str, Option<&Instance>),
    actor: &str,
) -> Result<Imported, AccessError> {
    let entries: BTreeMap<String, Ignored> =
        serde_json::from_str(text).map_err(|error| AccessError::NoList(error.to_string()))?;
    let in_force = store.access_rules().await?;
    let mut imported = Imported::default();
    let mut rules = Vec::new();
    for (key, entry) in entries {
        let who = ignored_person(platform, &key)?;
        let same =
            |rule: &AccessRule| rule.kind == RuleKind::Ignore && rule.who == who && rule.instance.as_ref() == instance;
        if in_force.iter().any(same) {
            imported.known += 1;
            continue;
        }
        let named = entry.username.filter(|name| *name != key).map(|name| format!("@{}", name.trim_start_matches('@')));
        imported.added.push(who.clone());
        rules.push(NewRule {
            kind: RuleKind::Ignore,
            who,
            instance: instance.cloned(),
            reason: entry.reason.or(named),
            source: RuleSource::Import,
            actor: actor.to_owned(),
            life: None,
        });
    }
    store.put_access_rules(rules).await?;
    Ok(imported)
}

fn ignored_person(platform: &str, key: &str) -> Result<Who, NamesNobody> {
    let is_id = key.strip_prefix('-').unwrap_or(key).bytes().all(|b| b.is_ascii_digit());
    let name = if is_id { key.to_owned() } else { format!("@{}", key.trim_start_matches('@')) };
    format!("{platform}/{name}").parse()
}

/// Lets a person's messages in, or keeps them out whatever the rules say. `name` is an id of ours or the platform's.
pub async fn set_active(
    store: &Store,
    name: &str,
    active: bool,
    reason: Option<&str>,
    actor: &str,
) -> Result<Activation, AccessError> {
    let user = holds::person(store, name).await.map_err(|error| match error {
        HoldError::Store(error) => AccessError::Store(error),
        error => AccessError::Person(error),
    })?;
    let done = store.set_active(user, active, reason, actor).await?;
    done.ok_or_else(|| AccessError::Person(HoldError::Nobody(name.to_owned())))
}

/// The codes that wait for an operator, oldest first; with `over`, the latest of all, newest first.
pub async fn pairings(store: &Store, over: bool) -> Result<Vec<Pairing>, StoreError> {
    if over { store.pairings(SHOWN).await } else { store.open_pairings().await }
}

#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Approved {
    pub pairing: Pairing,
    /// What became of the message that the code was asked for with, where it was to be let in.
    pub let_in: Option<Report>,
}

/// Lets the person in whom a code was given to; with `let_in`, also the message that it was asked for with, which then
/// takes its place at the end of its conversation.
pub async fn approve(
    store: &Store,
    today: &Today<'_>,
    code: &str,
    let_in: bool,
    actor: &str,
) -> Result<Approved, AccessError> {
    let code = typed_code(code);
    let (was, pairing) = store.approve_pairing(&code, actor).await?.ok_or(AccessError::NoCode(code))?;
    if !may_be_approved(was, let_in) {
        return Err(AccessError::NotOpen(Box::new(pairing)));
    }
    if !let_in {
        return Ok(Approved { pairing, let_in: None });
    }
    let selection = Selection::Messages { ids: vec![pairing.message_id], stage: Some(Stage::Turn) };
    let draft = replay::draft(store, today, &selection).await?;
    let plan = replay::keep(store, &draft, actor).await?;
    let report = replay::apply(store, plan, actor, NonZeroU32::MIN, None, |_| {}).await?;
    Ok(Approved { pairing, let_in: Some(report) })
}

/// Whoever was cut off after the approval lets the message in by asking again.
fn may_be_approved(state: PairingState, let_in: bool) -> bool {
    state == PairingState::Open || let_in && state == PairingState::Approved
}

fn may_be_revoked(state: PairingState) -> bool {
    matches!(state, PairingState::Open | PairingState::Approved)
}

/// The code that an approval would be of.
pub async fn approvable(store: &Store, code: &str, let_in: bool) -> Result<Pairing, AccessError> {
    in_state(store, code, |state| may_be_approved(state, let_in)).await
}

/// The code that would be taken back.
pub async fn revocable(store: &Store, code: &str) -> Result<Pairing, AccessError> {
    in_state(store, code, may_be_revoked).await
}

async fn in_state(store: &Store, code: &str, fits: impl Fn(PairingState) -> bool) -> Result<Pairing, AccessError> {
    let code = typed_code(code);
    let pairing = store.pairing(&code).await?.ok_or(AccessError::NoCode(code))?;
    if fits(pairing.state) { Ok(pairing) } else { Err(AccessError::NotOpen(Box::new(pairing))) }
}

/// Takes a code back, and the rule that it became.
pub async fn revoke(store: &Store, code: &str, actor: &str) -> Result<Pairing, AccessError> {
    let code = typed_code(code);
    let (was, pairing) = store.revoke_pairing(&code, actor).await?.ok_or(AccessError::NoCode(code))?;
    if may_be_revoked(was) { Ok(pairing) } else { Err(AccessError::NotOpen(Box::new(pairing))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_from_a_name() {
        let who = |key: &str| ignored_person("telegram", key).map(|who| who.to_string());
        assert_eq!(who("12345"), Ok("telegram/12345".to_owned()));
        assert_eq!(who("Some_Bot"), Ok("telegram/@some_bot".to_owned()));
        assert_eq!(who("@Some_Bot"), Ok("telegram/@some_bot".to_owned()));
        assert!(who("").is_err());
    }
}
