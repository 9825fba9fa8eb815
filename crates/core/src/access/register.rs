//! The rules that operators set while everything runs, made ready to be looked up. A process keeps a copy of them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Named, Who, who::plain};
use crate::Instance;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    Allow,
    Deny,
    Ignore,
    /// Lets in, and to the commands of admins.
    Admin,
}

impl RuleKind {
    pub const ALL: [Self; 4] = [Self::Allow, Self::Deny, Self::Ignore, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ignore => "ignore",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for RuleKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for RuleKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| format!("'{text}' is no kind of rule"))
    }
}

/// A rule that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub kind: RuleKind,
    pub who: Who,
    /// `None` is every instance.
    pub instance: Option<Instance>,
    pub reason: Option<String>,
}

/// All rules in force, and the profiles of people who were deactivated.
#[derive(Clone, Debug, Default)]
pub struct Register {
    by_id: HashMap<String, Vec<Rule>>,
    by_name: HashMap<String, Vec<Rule>>,
    /// By platform and id.
    inactive: HashMap<String, HashSet<String>>,
}

impl Register {
    pub fn new(rules: impl IntoIterator<Item = Rule>, inactive: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut register = Self::default();
        for rule in rules {
            let (map, key) = match &rule.who.is {
                Named::Id(id) => (&mut register.by_id, id.clone()),
                Named::Name(name) => (&mut register.by_name, name.clone()),
            };
            map.entry(key).or_default().push(rule);
        }
        for (platform, id) in inactive {
            register.inactive.entry(platform).or_default().insert(id);
        }
        register
    }

    /// The rule of that kind which speaks about somebody.
    pub(super) fn rule(
        &self,
        kind: RuleKind,
        (instance, platform): (&Instance, &str),
        sender: Sender<'_>,
    ) -> Option<&Rule> {
        let named = || sender.username.and_then(|name| self.by_name.get(&plain(name)));
        let rules = self.by_id.get(sender.id).into_iter().chain(named()).flatten();
        let mut rules = rules.filter(|rule| rule.kind == kind && rule.who.is(platform, sender.id, sender.username));
        rules.find(|rule| rule.instance.as_ref().is_none_or(|only| only == instance))
    }

    pub(super) fn is_inactive(&self, platform: &str, id: &str) -> bool {
        self.inactive.get(platform).is_some_and(|ids| ids.contains(id))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) id: &'a str,
    pub(super) username: Option<&'a str>,
}
