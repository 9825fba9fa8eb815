//! Who may talk. Plugins report facts; the decision is made here, from settings, from the rules that operators set while
//! everything runs, and from how much somebody said already.
//!
//! The order in which the questions are asked is the order in which the answers win:
//!
//! 1. Is it somebody? The owner always; then nobody who is deactivated, ignored or denied; then whoever is let in by
//!    name; then whomever the policy lets in.
//! 2. Is it a place? In groups, also the owner is heard only where and when the settings say so.
//! 3. Is it too much? Owners and admins have no limits.

mod code;
mod counter;
mod register;
mod settings;
mod who;

use serde::{Deserialize, Serialize};

pub use self::{
    code::{fresh_code, invitation, typed_code},
    counter::{Allowance, Counter, Rate},
    register::{Register, Rule, RuleKind},
    settings::{AccessSettings, Groups, Places, Policy},
    who::{Named, NamesNobody, Who},
};
use crate::{Instance, incoming::Claim};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $sentence:literal;)*) => {
        /// Why a message was not let in. The words are kept with messages and do not change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// For people.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence),* }
            }
        }
    };
}

reasons!(
    Inactive = "inactive", "the person was deactivated";
    Ignored = "ignored", "the sender is on the ignore list";
    Denied = "denied", "the sender is kept out";
    NotOwner = "not_owner", "only the owner may talk here, and whoever is let in by name";
    NotAllowed = "not_allowed", "the sender is not on the allow list";
    NotPaired = "not_paired", "the sender is not paired: an operator approves the code that they were given";
    GroupSilent = "group_silent", "in this group, only what names the bot or replies to it is taken";
    GroupsOff = "groups_off", "nothing is taken in groups";
    GroupNotAllowed = "group_not_allowed", "this group is not one of those in which messages are taken";
    RateLimited = "rate_limited", "the sender says too much in too short a time";
    /// It is none of who may talk, and no agent's to answer.
    Command = "command", "it is a command, which is answered without an agent";
    DailyCap = "daily_cap", "the sender said as much today as they may";
);

impl Reason {
    /// Whether it speaks of where something was said, and not of who said it.
    pub fn is_of_place(self) -> bool {
        matches!(self, Self::GroupSilent | Self::GroupsOff | Self::GroupNotAllowed)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who somebody is, for the commands that a chat offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "standing", content = "reason")]
pub enum Standing {
    Owner,
    Admin,
    User,
    Blocked(Reason),
}

/// What the decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub instance: &'a Instance,
    pub platform: &'a str,
    pub platform_user_id: &'a str,
    pub username: Option<&'a str>,
    pub chat_id: Option<&'a str>,
    pub is_group: bool,
    /// Whether it names the bot or replies to it; `None` when the plugin cannot tell.
    pub addressed: Option<bool>,
    /// What the plugin's own settings say of the sender.
    pub claim: Option<Claim>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// If it is not too much.
    Within(Allowance),
    /// Kept out; with a code for the sender, if they have none.
    AskPairing(Suppression),
    Suppressed(Suppression),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    pub reason: Reason,
    /// A sentence for people.
    pub why: String,
}

impl Suppression {
    pub fn of(reason: Reason) -> Self {
        Self { reason, why: reason.sentence().to_owned() }
    }

    fn by(reason: Reason, rule: &Rule) -> Self {
        let because = rule.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        Self { reason, why: format!("{}{because}", reason.sentence()) }
    }
}

/// Decides about one message.
pub fn decide(places: Places<'_>, register: &Register, facts: &Facts<'_>) -> Verdict {
    let standing = match person(places, register, facts) {
        Ok(standing) => standing,
        Err(suppression) => {
            // A code in a group would be everybody's.
            let asks = suppression.reason == Reason::NotPaired && !facts.is_group;
            return if asks { Verdict::AskPairing(suppression) } else { Verdict::Suppressed(suppression) };
        }
    };
    if let Some(reason) = group(places, facts) {
        return Verdict::Suppressed(Suppression::of(reason));
    }
    match allowance(places) {
        Some(allowance) if standing == Standing::User => Verdict::Within(allowance),
        _ => Verdict::Allowed,
    }
}

/// Who somebody is, whatever they say and wherever.
pub fn standing(places: Places<'_>, register: &Register, facts: &Facts<'_>) -> Standing {
    person(places, register, facts).unwrap_or_else(|suppression| Standing::Blocked(suppression.reason))
}

fn person(places: Places<'_>, register: &Register, facts: &Facts<'_>) -> Result<Standing, Suppression> {
    let (platform, id) = (facts.platform, facts.platform_user_id);
    let listed =
        |list: fn(&AccessSettings) -> &Option<Vec<Who>>| places.names(list, |who| who.is(platform, id, facts.username));
    let sender = register::Sender { id, username: facts.username };
    let rule = |kind| register.rule(kind, (facts.instance, platform), sender);
    if facts.claim == Some(Claim::Owner) || listed(|place| &place.owner) {
        return Ok(Standing::Owner);
    }
    if register.is_inactive(platform, id) {
        return Err(Suppression::of(Reason::Inactive));
    }
    if let Some(rule) = rule(RuleKind::Ignore) {
        return Err(Suppression::by(Reason::Ignored, rule));
    }
    if listed(|place| &place.ignore) {
        return Err(Suppression::of(Reason::Ignored));
    }
    if let Some(rule) = rule(RuleKind::Deny) {
        return Err(Suppression::by(Reason::Denied, rule));
    }
    if rule(RuleKind::Admin).is_some() || listed(|place| &place.admins) {
        return Ok(Standing::Admin);
    }
    if rule(RuleKind::Allow).is_some() || listed(|place| &place.allow) {
        return Ok(Standing::User);
    }
    if facts.claim == Some(Claim::Stranger) {
        return Err(Suppression::of(Reason::NotOwner));
    }
    match places.first(|place| place.policy).unwrap_or_default() {
        Policy::Open => Ok(Standing::User),
        Policy::AllowList => Err(Suppression::of(Reason::NotAllowed)),
        Policy::Pairing => Err(Suppression::of(Reason::NotPaired)),
        Policy::Owner => Err(Suppression::of(Reason::NotOwner)),
    }
}

fn group(places: Places<'_>, facts: &Facts<'_>) -> Option<Reason> {
    if !facts.is_group {
        return None;
    }
    let groups = places.first(|place| place.groups).unwrap_or_default();
    let chats = places.first(|place| place.chats.as_ref());
    let elsewhere = chats.is_some_and(|chats| !chats.iter().any(|chat| Some(chat.as_str()) == facts.chat_id));
    match groups {
        Groups::Off => Some(Reason::GroupsOff),
        _ if elsewhere => Some(Reason::GroupNotAllowed),
        Groups::Mention if facts.addressed != Some(true) => Some(Reason::GroupSilent),
        Groups::Mention | Groups::All => None,
    }
}

fn allowance(places: Places<'_>) -> Option<Allowance> {
    let per_minute = places.first(|place| place.rate_per_minute).filter(|rate| *rate > 0);
    let rate = per_minute.map(|per_minute| {
        let burst = places.first(|place| place.burst).unwrap_or(per_minute);
        Rate { per_minute, burst }
    });
    let daily_cap = places.first(|place| place.daily_cap).filter(|cap| *cap > 0);
    (rate.is_some() || daily_cap.is_some()).then_some(Allowance { rate, daily_cap })
}

#[cfg(test)]
mod tests;
