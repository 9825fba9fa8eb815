//! What a replay would do to one message, before it does: now beside then, and what to think about first.
//!
//! What an agent was sent then is not kept word for word. `then` is made of what is kept, the message, its route's name
//! and its conversation's agent, in the format that this route has today.

use std::{collections::BTreeMap, time::Duration};

use broca_core::{
    Limits, MessageId, MessageState, ResponseState, Timestamp,
    format::{FormatOptions, Header, format_for_agent},
    route::{Facts, Mode, Resolved, Routes},
};
use broca_store::{Letter, Stage};
use serde::Serialize;

use crate::agents::AgentFacts;

/// Older than this is worth a warning: who asked may not want the answer any more.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);
/// A line is cut after this many characters.
const LINE: usize = 100;

/// What the settings say today.
#[derive(Clone, Copy, Debug)]
pub struct Today<'a> {
    pub routes: &'a Routes,
    /// The configured agents, by name.
    pub agents: &'a BTreeMap<String, AgentFacts>,
    pub limits: &'a Limits,
}

/// One item of a plan, as it is shown.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct PreviewItem {
    /// Its place in the plan, from 1.
    pub n: usize,
    pub message_id: MessageId,
    pub stage: Stage,
    pub conversation_id: broca_core::ConversationId,
    pub instance: broca_core::Instance,
    pub platform_user_id: String,
    pub state: String,
    pub class: Option<String>,
    pub reason: Option<String>,
    pub age_s: u64,
    pub then: Sent,
    pub now: Sent,
    pub warnings: Vec<String>,
}

/// What goes out, and where.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Sent {
    pub route: String,
    pub agent: String,
    /// Which is not known of the past.
    pub mode: Option<Mode>,
    /// The first line of what the agent reads (stage `turn`) or of the answer (stage `delivery`).
    pub line: String,
}

/// `text` is what the message is to say instead.
pub(crate) fn preview(today: &Today<'_>, letter: &Letter, text: Option<&str>, at: Timestamp) -> PreviewItem {
    let route = resolve(today.routes, letter);
    let now_text = text.unwrap_or(&letter.text);
    let (then_line, now_line) = match (letter.stage, &letter.answer) {
        (Stage::Delivery, Some(answer)) => (first_line(answer), first_line(answer)),
        _ => {
            (as_sent(letter, &letter.text, format_then(today.routes, letter)), as_sent(letter, now_text, route.format))
        }
    };
    let age = at.since(letter.received_at);
    PreviewItem {
        n: 0,
        message_id: letter.message_id,
        stage: letter.stage,
        conversation_id: letter.conversation_id,
        instance: letter.instance.clone(),
        platform_user_id: letter.platform_user_id.clone(),
        state: letter.state.clone(),
        class: letter.class.clone(),
        reason: letter.reason.clone(),
        age_s: age.as_secs(),
        then: Sent { route: letter.route.clone(), agent: letter.agent.clone(), mode: None, line: then_line },
        // It stays in its conversation, and that is one with this agent.
        now: Sent { route: route.route.clone(), agent: letter.agent.clone(), mode: Some(route.mode), line: now_line },
        warnings: warnings(today, letter, &route, age),
    }
}

fn resolve(routes: &Routes, letter: &Letter) -> Resolved {
    routes.resolve(&Facts {
        instance: &letter.instance,
        platform: &letter.platform,
        platform_user_id: &letter.platform_user_id,
        chat_id: letter.chat_id.as_deref(),
        is_group: letter.is_group,
    })
}

fn format_then(routes: &Routes, letter: &Letter) -> FormatOptions {
    let then = routes.routes.iter().find(|route| route.name == letter.route);
    then.and_then(|route| route.format).unwrap_or(routes.format)
}

fn as_sent(letter: &Letter, text: &str, format: FormatOptions) -> String {
    let header = Header {
        platform: &letter.platform,
        platform_user_id: &letter.platform_user_id,
        username: letter.username.as_deref(),
        at: letter.received_at,
        instructions: None,
    };
    first_line(&format_for_agent(&header, text, format))
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(LINE).collect();
    if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut }
}

fn warnings(today: &Today<'_>, letter: &Letter, route: &Resolved, age: Duration) -> Vec<String> {
    let mut warnings = Vec::new();
    if age > OLD {
        warnings.push(format!("it is {} days old", age.as_secs() / 86_400));
    }
    if let Some(closed) = letter.closed.as_ref().filter(|closed| closed.how == "resolved") {
        warnings.push(format!("{} has resolved it", closed.actor));
    }
    match letter.stage {
        Stage::Turn => of_turn(today, letter, route, &mut warnings),
        Stage::Delivery if letter.state == ResponseState::Unknown.as_str() => {
            warnings.push("the platform may have the answer already: it could come twice".to_owned());
        }
        Stage::Delivery => {}
    }
    warnings
}

fn of_turn(today: &Today<'_>, letter: &Letter, route: &Resolved, warnings: &mut Vec<String>) {
    if route.route != letter.route {
        warnings.push(format!("its route is '{}' now, and was '{}'", route.route, letter.route));
    }
    if route.agent != letter.agent {
        let (now, then) = (&route.agent, &letter.agent);
        warnings.push(format!("new messages go to agent '{now}'; this one stays in its conversation with '{then}'"));
    }
    match route.mode {
        Mode::Echo => warnings.push("the mode is echo: no agent is asked".to_owned()),
        Mode::Listen => warnings.push("the mode is listen: it is stored and not answered".to_owned()),
        Mode::Live if !today.agents.contains_key(&letter.agent) => {
            warnings.push(format!("no agent '{}' is configured: add [agents.{}] first", letter.agent, letter.agent));
        }
        Mode::Live => {}
    }
    if letter.state == MessageState::Completed.as_str() {
        warnings.push("it is answered: the agent is asked a second time, and the person answered again".to_owned());
    }
    if letter.class.as_deref().is_some_and(|class| ["interrupted", "exhausted", "timeout"].contains(&class)) {
        warnings.push("the agent may have done it the last time, though no answer came back".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use broca_core::{ConversationId, route::Route};

    use super::*;

    fn letter() -> Letter {
        Letter {
            message_id: MessageId::new(),
            stage: Stage::Turn,
            response_id: None,
            state: "failed".to_owned(),
            class: Some("rejected".to_owned()),
            reason: None,
            attempts: 1,
            replays: 0,
            failed_at: Some(Timestamp(0)),
            received_at: Timestamp(0),
            conversation_id: ConversationId::of("default", "x"),
            seq: 1,
            agent: "default".to_owned(),
            route: "default".to_owned(),
            instance: "cli".parse().unwrap(),
            platform: "cli".to_owned(),
            platform_user_id: "alice".to_owned(),
            username: None,
            chat_id: None,
            is_group: false,
            text: "first\nsecond".to_owned(),
            answer: None,
            closed: None,
        }
    }

    fn shown(routes: &Routes, letter: &Letter, text: Option<&str>, days: u64) -> PreviewItem {
        let (agents, limits) = (BTreeMap::from([("default".to_owned(), AgentFacts::default())]), Limits::default());
        let today = Today { routes, agents: &agents, limits: &limits };
        preview(&today, letter, text, Timestamp(0).after(Duration::from_secs(days * 86_400 + 1)))
    }

    #[test]
    fn nothing_changed_is_nothing_to_warn_of() {
        let routes = Routes { mode: Mode::Live, ..Routes::default() };
        let item = shown(&routes, &letter(), None, 1);
        assert_eq!(item.warnings, Vec::<String>::new());
        assert_eq!(
            (item.then.line.as_str(), item.now.line.as_str()),
            ("[CLI ID: alice] first…", "[CLI ID: alice] first…")
        );
        assert_eq!(shown(&routes, &letter(), Some("better"), 1).now.line, "[CLI ID: alice] better");
        assert_eq!(shown(&routes, &letter(), None, 8).warnings, ["it is 8 days old"]);
    }

    #[test]
    fn what_changed_is_shown_beside_what_was() {
        let format = FormatOptions { timestamp: true, ..FormatOptions::default() };
        let vip =
            Route { name: "vip".to_owned(), agent: Some("vip".to_owned()), format: Some(format), ..Route::default() };
        let routes = Routes { routes: vec![vip], mode: Mode::Live, ..Routes::default() };
        let item = shown(&routes, &letter(), None, 0);
        assert_eq!(
            (item.then.route.as_str(), item.now.route.as_str(), item.now.agent.as_str()),
            ("default", "vip", "default")
        );
        assert!(item.now.line.contains("Timestamp") && !item.then.line.contains("Timestamp"), "{item:#?}");
        assert_eq!(item.warnings.len(), 2, "{:?}", item.warnings);
        let gone = Letter { agent: "gone".to_owned(), ..letter() };
        let plain = Routes { mode: Mode::Live, ..Routes::default() };
        assert!(shown(&plain, &gone, None, 0).warnings.iter().any(|w| w.contains("[agents.gone]")));
    }

    #[test]
    fn what_may_come_twice_is_said() {
        let unknown =
            Letter { stage: Stage::Delivery, state: "unknown".to_owned(), answer: Some("yes".to_owned()), ..letter() };
        let routes = Routes::default();
        let item = shown(&routes, &unknown, None, 0);
        assert_eq!((item.now.line.as_str(), item.warnings.len()), ("yes", 1));
        let answered = Letter { state: "completed".to_owned(), class: None, ..letter() };
        assert!(shown(&routes, &answered, None, 0).warnings.iter().any(|w| w.contains("answered again")));
    }
}
