//! Who is let in: the rules of `broca_core::access`, asked with this process's copy of what operators set in SQL.
//!
//! An ordinary message costs no statement for it. The copy is looked at again by whoever needs it when it is two seconds
//! old, which is one row; so a rule that keeps somebody out works at the latest two seconds after it was written. A message
//! is refused only by a copy that was looked at after the message came, so that somebody who was let in is never sent
//! away by an old one; all that came until then share one look.
//!
//! How much somebody says is counted by the store, in the transaction that stores the message.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use broca_core::{
    Incoming, Instance, Timestamp,
    access::{self, AccessSettings, Facts, Places, Register, Rule, Standing, Suppression, Verdict},
};
use broca_store::{Admission, PairingTerms, Store, StoreError};
use tokio::sync::Mutex;

/// How old a copy may be that lets somebody in.
const COPY_LIFE: Duration = Duration::from_secs(2);

/// What the settings say about who may talk.
#[derive(Clone, Debug, Default)]
pub struct AccessOptions {
    pub general: AccessSettings,
    /// Of the process's own instance.
    pub instance: AccessSettings,
    pub pairing: PairingTerms,
}

#[derive(Debug)]
pub struct Doorkeeper {
    store: Store,
    options: AccessOptions,
    copy: RwLock<Arc<Copy>>,
    /// One look at a time.
    looking: Mutex<()>,
}

/// What operators set, as it was at one moment.
#[derive(Debug, Default)]
struct Copy {
    version: i64,
    rules: Arc<Vec<(Rule, Option<Timestamp>)>>,
    inactive: Arc<Vec<(String, String)>>,
    register: Arc<Register>,
    /// When the first of the rules ends.
    expires: Option<Timestamp>,
    /// It has everything that was committed before this moment.
    looked: Option<Instant>,
}

impl Doorkeeper {
    pub fn new(store: Store, options: AccessOptions) -> Self {
        Self { store, options, copy: RwLock::default(), looking: Mutex::new(()) }
    }

    /// Whether a message is let in, as far as is known before it is counted.
    ///
    /// # Errors
    /// The rules cannot be read: nothing is known of the message.
    pub(crate) async fn admit(
        &self,
        at: (&Instance, &str),
        incoming: &Incoming,
        route: Option<&AccessSettings>,
    ) -> Result<Admission, StoreError> {
        let nothing = AccessSettings::default();
        let places = self.places(route.unwrap_or(&nothing));
        let facts = facts(at, incoming);
        let verdict = self.ask(|register| access::decide(places, register, &facts), refuses).await?;
        let keep_text = places.keeps_text();
        Ok(match verdict {
            Verdict::Allowed => Admission::Open,
            Verdict::Within(allowance) => Admission::Within { allowance, keep_text },
            Verdict::Suppressed(suppression) => Admission::Suppressed { suppression, keep_text },
            Verdict::AskPairing(suppression) => {
                Admission::AskPairing { suppression, keep_text, terms: self.options.pairing }
            }
        })
    }

    pub(crate) async fn standing(
        &self,
        at: (&Instance, &str),
        incoming: &Incoming,
        route: Option<&AccessSettings>,
    ) -> Result<Standing, StoreError> {
        let nothing = AccessSettings::default();
        let places = self.places(route.unwrap_or(&nothing));
        let facts = facts(at, incoming);
        let blocked = |standing: &Standing| matches!(standing, Standing::Blocked(_));
        self.ask(|register| access::standing(places, register, &facts), blocked).await
    }

    fn places<'a>(&'a self, route: &'a AccessSettings) -> Places<'a> {
        Places([route, &self.options.instance, &self.options.general])
    }

    /// Decides with the copy at hand, and once more with a fresh one before it is a refusal.
    async fn ask<T>(&self, decide: impl Fn(&Register) -> T, refuses: impl Fn(&T) -> bool) -> Result<T, StoreError> {
        let now = Instant::now();
        let recent = now.checked_sub(COPY_LIFE);
        let decided = decide(&self.copy_of(recent).await?.register);
        if !refuses(&decided) {
            return Ok(decided);
        }
        Ok(decide(&self.copy_of(Some(now)).await?.register))
    }

    /// A copy with everything that was committed before `since`.
    async fn copy_of(&self, since: Option<Instant>) -> Result<Arc<Copy>, StoreError> {
        let good = |copy: &Copy| copy.looked.is_some_and(|looked| since.is_none_or(|since| looked >= since));
        let at_hand = self.at_hand();
        if good(&at_hand) {
            return Ok(at_hand);
        }
        let _one = self.looking.lock().await;
        let at_hand = self.at_hand();
        if good(&at_hand) {
            return Ok(at_hand);
        }
        let looked = Instant::now();
        let state = self.store.access_state(at_hand.version).await?;
        let copy = Arc::new(at_hand.after(state, looked));
        *self.copy.write().unwrap_or_else(PoisonError::into_inner) = copy.clone();
        Ok(copy)
    }

    fn at_hand(&self) -> Arc<Copy> {
        self.copy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn refuses(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Allowed | Verdict::Within(_) => false,
        // No rule of an operator's lets a group speak.
        Verdict::Suppressed(Suppression { reason, .. }) => !reason.is_of_place(),
        Verdict::AskPairing(_) => true,
    }
}

impl Copy {
    fn after(&self, state: broca_store::AccessState, looked: Instant) -> Self {
        let (rules, inactive) = match state.changed {
            Some(changed) => (Arc::new(changed.rules), Arc::new(changed.inactive)),
            None => (self.rules.clone(), self.inactive.clone()),
        };
        let ended = self.expires.is_some_and(|at| at <= state.at);
        if state.version == self.version && !ended {
            let (register, expires) = (self.register.clone(), self.expires);
            return Self { version: state.version, rules, inactive, register, expires, looked: Some(looked) };
        }
        let lasts = |at: &Option<Timestamp>| at.is_none_or(|at| at > state.at);
        let rules: Vec<_> = rules.iter().filter(|(_, at)| lasts(at)).cloned().collect();
        let register = Register::new(rules.iter().map(|(rule, _)| rule.clone()), inactive.iter().cloned());
        let expires = rules.iter().filter_map(|(_, at)| *at).min();
        let (rules, register) = (Arc::new(rules), Arc::new(register));
        Self { version: state.version, rules, inactive, register, expires, looked: Some(looked) }
    }
}

fn facts<'a>((instance, platform): (&'a Instance, &'a str), incoming: &'a Incoming) -> Facts<'a> {
    Facts {
        instance,
        platform,
        platform_user_id: &incoming.sender.platform_user_id,
        username: incoming.sender.username.as_deref(),
        chat_id: incoming.chat_id.as_deref(),
        is_group: incoming.is_group,
        addressed: incoming.addressed,
        claim: incoming.claim,
    }
}

#[cfg(test)]
mod tests {
    use broca_core::access::RuleKind;
    use broca_store::{AccessCopy, AccessState};

    use super::*;

    #[test]
    fn a_rule_ends_by_the_databases_time_though_nothing_was_written() {
        let rule = |who: &str, until: Option<i64>| {
            let rule = Rule { kind: RuleKind::Deny, who: who.parse().unwrap(), instance: None, reason: None };
            (rule, until.map(Timestamp))
        };
        let changed = AccessCopy { rules: vec![rule("a", Some(10)), rule("b", None)], inactive: Vec::new() };
        let state = |at: i64, changed| AccessState { version: 2, at: Timestamp(at), changed };
        let first = Copy::default().after(state(5, Some(changed)), Instant::now());
        assert_eq!((first.rules.len(), first.expires), (2, Some(Timestamp(10))));
        let same = first.after(state(9, None), Instant::now());
        assert!(Arc::ptr_eq(&same.register, &first.register));
        let ended = same.after(state(10, None), Instant::now());
        assert_eq!((ended.rules.len(), ended.expires), (1, None));
    }
}
