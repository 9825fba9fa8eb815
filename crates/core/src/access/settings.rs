//! What the settings say about who may talk: in general, of one plugin instance, of one route.

use serde::{Deserialize, Serialize};

use super::Who;

/// Who may talk at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Everybody who is not kept out.
    #[default]
    Open,
    /// Whoever is let in by name.
    AllowList,
    /// The same; somebody who is not gets a code, and an operator who is told the code lets them in.
    Pairing,
    /// The owner, and whoever is let in by name.
    Owner,
}

/// What is taken in groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// Whatever the plugin reports.
    #[default]
    All,
    /// What names the bot or replies to it, by the plugin's word.
    Mention,
    Off,
}

/// One place's word. What it does not say, the next wider place says; lists of people add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Who may talk at all.
    pub policy: Option<Policy>,
    /// They may always talk, without limits.
    pub owner: Option<Vec<Who>>,
    /// They may talk, without limits, and use the commands of admins.
    pub admins: Option<Vec<Who>>,
    /// They may talk.
    pub allow: Option<Vec<Who>>,
    /// Nothing of theirs is taken.
    pub ignore: Option<Vec<Who>>,
    /// What is taken in groups.
    pub groups: Option<Groups>,
    /// The only groups in which anything is taken, by the platform's ids.
    pub chats: Option<Vec<String>>,
    /// Messages a minute of one person, in the long run; 0 is no limit.
    pub rate_per_minute: Option<u32>,
    /// So many at once, after a time of silence; as many as in a minute when it is not set.
    pub burst: Option<u32>,
    /// Messages a day (UTC) of one person; 0 is no limit.
    pub daily_cap: Option<u32>,
    /// false: of what is not let in no text is kept.
    pub store_suppressed_text: Option<bool>,
}

/// The places that speak about a message, the narrowest first: its route, its instance, everything.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a>(pub [&'a AccessSettings; 3]);

impl<'a> Places<'a> {
    pub(super) fn first<T>(&self, said: impl Fn(&'a AccessSettings) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|place| said(place))
    }

    /// Whether any of the places names that person in a list.
    pub(super) fn names(
        &self,
        list: impl Fn(&'a AccessSettings) -> &'a Option<Vec<Who>>,
        is: impl Fn(&Who) -> bool,
    ) -> bool {
        self.0.iter().any(|place| list(place).iter().flatten().any(&is))
    }

    pub fn keeps_text(&self) -> bool {
        self.first(|place| place.store_suppressed_text).unwrap_or(true)
    }
}
