//! Which agent answers a message, whose timeline it joins, and whether an agent is called at all.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Instance, UserId,
    access::AccessSettings,
    burst::{Busy, Coalesce},
    format::FormatOptions,
    notice::NoticePolicy,
    retry::RetryPolicy,
};

/// What is done with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answer with the formatted message; no agent is called.
    #[default]
    Echo,
    /// Store the message; no agent is called and nothing is answered.
    Listen,
    /// Have the agent answer.
    Live,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Listen => "listen",
            Self::Live => "live",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "echo" => Ok(Self::Echo),
            "listen" => Ok(Self::Listen),
            "live" => Ok(Self::Live),
            _ => Err(format!("'{text}' is no mode: use echo, listen or live")),
        }
    }
}

/// What is done about a turn of which nobody can tell any more whether the agent did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Its message waits as a dead letter until an operator resolves or replays it: the agent is never asked twice.
    #[default]
    DeadLetter,
    /// It is said again in a new turn, which counts as an attempt: the agent may have done it twice then.
    SendAgain,
}

/// Who shares a conversation, and so an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Each platform profile has its own.
    Profile,
    /// Each chat, group, channel or thread has its own.
    Chat,
    /// One person has one over all platforms.
    User,
    /// Everybody shares one.
    Agent,
}

/// What a route is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub instance: &'a Instance,
    pub platform: &'a str,
    pub platform_user_id: &'a str,
    pub chat_id: Option<&'a str>,
    pub is_group: bool,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Chat => "chat",
            Self::User => "user",
            Self::Agent => "agent",
        }
    }

    /// The scope that a route without one has: groups share, people do not.
    pub fn default_for(facts: &Facts<'_>) -> Self {
        if facts.is_group { Self::Chat } else { Self::Profile }
    }

    /// The text that, with the agent's name, names the conversation.
    pub fn key(self, facts: &Facts<'_>, user: UserId) -> String {
        match self {
            Self::Profile => format!("profile:{}/{}", facts.platform, facts.platform_user_id),
            Self::Chat => match facts.chat_id {
                Some(chat) => format!("chat:{}/{chat}", facts.instance),
                None => format!("profile:{}/{}", facts.platform, facts.platform_user_id),
            },
            Self::User => format!("user:{user}"),
            Self::Agent => "agent".to_owned(),
        }
    }
}

/// One rule. Every condition that is set must hold; the first route that holds wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// What messages remember of it, and what commands call it.
    pub name: String,
    /// Has what comes from this platform.
    pub platform: Option<String>,
    /// Has what comes through this plugin instance.
    pub instance: Option<Instance>,
    /// The platform's id of a chat.
    pub chat: Option<String>,
    /// The platform's id of a person.
    pub user: Option<String>,
    /// Has what is written in a group, or what is not.
    pub group: Option<bool>,
    /// The configured name of the agent; `default` when it is not set.
    pub agent: Option<String>,
    /// Who shares a conversation: chat in groups and profile elsewhere, where it is not set.
    pub scope: Option<Scope>,
    /// What is done with its messages, where that is not the general mode.
    pub mode: Option<Mode>,
    /// How its turns are tried, where that is not the general way.
    pub retry: Option<RetryPolicy>,
    /// What is done about a turn of which nobody can tell whether the agent did it, likewise.
    pub on_unknown: Option<OnUnknown>,
    /// How a message reads for the agent, likewise.
    pub format: Option<FormatOptions>,
    /// What a person is told when their message failed, likewise.
    pub notice: Option<NoticePolicy>,
    /// So many failures in a row put a conversation on hold, likewise; 0: never.
    pub quarantine_after: Option<u32>,
    /// Messages in quick succession become one turn.
    pub coalesce: Option<Coalesce>,
    /// What becomes of messages that arrive while their conversation has a turn.
    pub busy: Option<Busy>,
    /// Who may talk on it, where that is not what its instance says.
    pub access: Option<AccessSettings>,
}

impl Route {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.texts(facts).iter().all(|(_, wanted, found)| wanted.is_none() || wanted == found)
            && self.group.is_none_or(|group| group == facts.is_group)
    }

    /// What it asks for, beside what a message has.
    fn texts<'a>(&'a self, facts: &Facts<'a>) -> [(&'static str, Option<&'a str>, Option<&'a str>); 4] {
        [
            ("platform", self.platform.as_deref(), Some(facts.platform)),
            ("instance", self.instance.as_ref().map(Instance::as_str), Some(facts.instance.as_str())),
            ("chat", self.chat.as_deref(), facts.chat_id),
            ("user", self.user.as_deref(), Some(facts.platform_user_id)),
        ]
    }

    /// The first condition that does not hold, in words; `None` when the route claims the message.
    pub fn missed(&self, facts: &Facts<'_>) -> Option<String> {
        let mut texts = self.texts(facts).into_iter();
        let text = texts.find_map(|(what, wanted, found)| {
            let wanted = wanted.filter(|_| wanted != found)?;
            Some(format!("{what} is {}, and not {wanted}", found.unwrap_or("none")))
        });
        let group = || match (self.group?, facts.is_group) {
            (true, false) => Some("it is not in a group".to_owned()),
            (false, true) => Some("it is in a group".to_owned()),
            _ => None,
        };
        text.or_else(group)
    }

    /// All that must hold, in words.
    pub fn conditions(&self) -> Vec<String> {
        let instance = self.instance.as_ref().map(Instance::as_str);
        let texts = [
            ("platform", self.platform.as_deref()),
            ("instance", instance),
            ("chat", self.chat.as_deref()),
            ("user", self.user.as_deref()),
        ];
        let texts = texts.into_iter().filter_map(|(what, wanted)| Some(format!("{what} is {}", wanted?)));
        let group = self.group.map(|group| if group { "in a group" } else { "not in a group" }.to_owned());
        texts.chain(group).collect()
    }
}

/// What a message's route says once every default is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub route: String,
    pub agent: String,
    pub scope: Scope,
    pub mode: Mode,
    pub retry: RetryPolicy,
    pub on_unknown: OnUnknown,
    pub format: FormatOptions,
    /// Set when it is on.
    pub notice: Option<NoticePolicy>,
    /// So many messages in a row that failed by their conversation's own fault, and it is put on hold; 0 is never.
    pub quarantine_after: u32,
    pub coalesce: Coalesce,
    pub busy: Busy,
    pub access: Option<AccessSettings>,
}

impl Resolved {
    /// Whether one turn may say several messages.
    pub fn joins(&self) -> bool {
        self.mode != Mode::Listen && (self.coalesce.window_ms > 0 || self.busy != Busy::Queue)
    }
}

/// All routes, in order, and the defaults behind them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    pub routes: Vec<Route>,
    pub mode: Mode,
    pub retry: RetryPolicy,
    pub on_unknown: OnUnknown,
    pub format: FormatOptions,
    pub notice: NoticePolicy,
    pub quarantine_after: u32,
}

pub const DEFAULT_AGENT: &str = "default";
pub const DEFAULT_ROUTE: &str = "default";

impl Routes {
    /// Never fails: what no route claims goes to the default agent.
    pub fn resolve(&self, facts: &Facts<'_>) -> Resolved {
        let fallback = Route { name: DEFAULT_ROUTE.to_owned(), ..Route::default() };
        let route = self.routes.iter().find(|r| r.holds(facts)).unwrap_or(&fallback);
        Resolved {
            route: route.name.clone(),
            agent: route.agent.clone().unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
            scope: route.scope.unwrap_or_else(|| Scope::default_for(facts)),
            mode: route.mode.unwrap_or(self.mode),
            retry: route.retry.unwrap_or(self.retry),
            on_unknown: route.on_unknown.unwrap_or(self.on_unknown),
            format: route.format.unwrap_or(self.format),
            notice: Some(route.notice.as_ref().unwrap_or(&self.notice)).filter(|notice| notice.enabled).cloned(),
            quarantine_after: route.quarantine_after.unwrap_or(self.quarantine_after),
            coalesce: route.coalesce.unwrap_or_default(),
            busy: route.busy.unwrap_or_default(),
            access: route.access.clone(),
        }
    }

    /// Every name that a message's route can have.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|r| r.name.as_str()).chain([DEFAULT_ROUTE])
    }

    /// The agent that a route names, by its own name; what is in no route goes to the default one.
    pub fn agent_of(&self, route: &str) -> &str {
        let named = self.routes.iter().find(|r| r.name == route).and_then(|r| r.agent.as_deref());
        named.unwrap_or(DEFAULT_AGENT)
    }

    /// Every agent name that some message can be routed to.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|r| r.agent.as_deref().unwrap_or(DEFAULT_AGENT)).chain([DEFAULT_AGENT])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(instance: &'a Instance, chat: Option<&'a str>) -> Facts<'a> {
        Facts { instance, platform: "telegram", platform_user_id: "7", chat_id: chat, is_group: chat.is_some() }
    }

    #[test]
    fn the_first_route_that_holds_wins() {
        let routes = Routes {
            routes: vec![
                Route {
                    name: "vip".into(),
                    user: Some("7".into()),
                    group: Some(false),
                    agent: Some("vip".into()),
                    ..Route::default()
                },
                Route {
                    name: "tg".into(),
                    platform: Some("telegram".into()),
                    mode: Some(Mode::Listen),
                    ..Route::default()
                },
            ],
            mode: Mode::Live,
            ..Routes::default()
        };
        let bot = "support".parse().unwrap();
        let alone = routes.resolve(&facts(&bot, None));
        assert_eq!((alone.route.as_str(), alone.agent.as_str(), alone.mode), ("vip", "vip", Mode::Live));
        let group = routes.resolve(&facts(&bot, Some("g1")));
        assert_eq!((group.route.as_str(), group.agent.as_str(), group.mode), ("tg", "default", Mode::Listen));
        assert_eq!(group.scope, Scope::Chat);
        let vip = &routes.routes[0];
        assert_eq!(vip.conditions(), ["user is 7", "not in a group"]);
        assert_eq!(vip.missed(&facts(&bot, None)), None);
        assert_eq!(vip.missed(&facts(&bot, Some("g1"))).as_deref(), Some("it is in a group"));
        let other = Facts { platform: "cli", platform_user_id: "bob", ..facts(&bot, None) };
        assert_eq!(routes.resolve(&other).route, DEFAULT_ROUTE);
        assert_eq!(vip.missed(&other).as_deref(), Some("user is bob, and not 7"));
    }

    #[test]
    fn scope_keys_do_not_run_together() {
        let bot = "support".parse().unwrap();
        let user = UserId::new();
        let group = facts(&bot, Some("g1"));
        assert_eq!(Scope::Profile.key(&group, user), "profile:telegram/7");
        assert_eq!(Scope::Chat.key(&group, user), "chat:support/g1");
        assert_eq!(Scope::Chat.key(&facts(&bot, None), user), "profile:telegram/7");
        assert_eq!(Scope::User.key(&group, user), format!("user:{user}"));
        assert_eq!(Scope::Agent.key(&group, user), "agent");
    }
}
