//! A plugin before a platform that is played, and a pipeline in memory behind it: what a person writes goes in, and the
//! answer of an agent that says what it was told comes out.

mod far_side;

use std::{path::Path, sync::Arc, time::Duration};

use broca_core::{
    DeliveryError, Incoming,
    format::{FormatOptions, Header, format_for_agent},
};
use broca_plugin::{Blueprint, Plugin, PluginState};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline, Seen};
use serde::Serialize;
use serde_json::{Map, json};
use tokio::time::{Instant, sleep};

use far_side::FarSide;
pub(crate) use far_side::Shown;

use crate::{
    conformance::Subject,
    failure::{Code, Failure},
};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Whose conversation it is to be.
#[derive(Debug)]
pub(crate) struct Emulated {
    blueprint: Blueprint,
    plays: Plays,
}

/// Who is on the other side.
#[derive(Debug)]
enum Plays {
    Telegram,
    /// The platform of Broca's own plugin `demo`.
    Demo,
    /// What a folder's `[test]` says.
    Trial(Box<Subject>),
}

impl Emulated {
    pub(crate) fn folder(path: &Path) -> Result<Self, Failure> {
        let subject = Subject::of_folder(path)?;
        if !subject.is_fed() {
            let message = format!("nobody knows how to play the platform of {}", subject.name);
            return Err(Failure::new(Code::Usage, message)
                .hint("say in its plugin.toml, section [test], how it is tested: see plugins/exec/README.md"));
        }
        let blueprint = broca_plugin_exec::folder::read(path, crate::plugins::launch);
        let blueprint = blueprint.map_err(|why| Failure::new(Code::Usage, why))?;
        Ok(Self { blueprint, plays: Plays::Trial(Box::new(subject)) })
    }

    pub(crate) fn compiled_in(blueprint: &Blueprint) -> Result<Self, Failure> {
        let name = blueprint.manifest().name.as_str();
        let plays = match name {
            "telegram" => Plays::Telegram,
            "demo" => Plays::Demo,
            _ => {
                let instead = match name {
                    "cli" => "it is a terminal already: `broca up`, and `broca chat --as alice`",
                    "webchat" => "it brings its own page: `broca up` with [plugins.webchat], and a browser",
                    "webhook" => "any HTTP client is its platform: see plugins/webhook/README.md",
                    _ => "give the folder of the program, with its plugin.toml",
                };
                return Err(Failure::new(Code::Usage, format!("{name} is not emulated")).hint(instead));
            }
        };
        Ok(Self { blueprint: blueprint.clone(), plays })
    }

    async fn far_side(&self) -> Result<FarSide, Failure> {
        match &self.plays {
            Plays::Telegram => FarSide::telegram().await,
            Plays::Demo => FarSide::scripted().await,
            Plays::Trial(subject) => FarSide::of_trial(subject).await,
        }
    }

    fn settings(&self, far: &FarSide) -> serde_json::Value {
        match &self.plays {
            Plays::Telegram => json!({
                "token": broca_rehearsal::telegram::TOKEN, "api_url": far.url(), "require_owner": false,
            }),
            Plays::Demo => json!({"url": far.url()}),
            Plays::Trial(subject) => subject.settings(&far.url(), Map::new()),
        }
    }
}

/// One message, and all that came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Turn {
    /// As the pipeline has it; `None` when the plugin dealt with it by itself.
    #[serde(rename = "in")]
    pub(crate) message: Option<Incoming>,
    /// What became of it where it goes to no agent.
    pub(crate) outcome: Option<String>,
    /// What the agent read, and answered.
    pub(crate) agent: Option<String>,
    /// What the platform shows.
    #[serde(rename = "out")]
    pub(crate) sent: Vec<Shown>,
    /// What the plugin said of the delivery.
    pub(crate) receipt: Option<String>,
}

/// A plugin that runs.
pub(crate) struct Stand {
    far: FarSide,
    plugin: Arc<dyn Plugin>,
    pipeline: Arc<MemoryPipeline>,
    hosted: Hosted,
    /// How many of the platform's messages were shown already.
    shown: usize,
}

impl Stand {
    pub(crate) async fn set(emulated: Emulated) -> Result<Self, Failure> {
        let far = emulated.far_side().await?;
        let built = emulated.blueprint.build(emulated.settings(&far));
        let plugin = built.map_err(|error| Failure::new(Code::Usage, format!("the settings do not fit: {error}")))?;
        let pipeline = MemoryPipeline::new();
        let hosted = Hosted::start(plugin.clone(), &pipeline);
        let stand = Self { far, plugin, pipeline, hosted, shown: 0 };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let states = stand.pipeline.seen().states;
            match states.last() {
                Some(PluginState::Connected) => return Ok(stand),
                Some(PluginState::BadCredentials { detail } | PluginState::Misconfigured { detail }) => {
                    return Err(Failure::new(Code::Failure, detail.clone()));
                }
                state if Instant::now() > deadline => {
                    let detail = state.and_then(PluginState::detail).unwrap_or("it does not connect");
                    return Err(Failure::new(Code::Unavailable, detail));
                }
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// A person writes. Ends when the answer is out, or the plugin dealt with it by itself.
    pub(crate) async fn says(&mut self, user: &str, text: &str) -> Result<Turn, Failure> {
        let before = self.pipeline.seen();
        self.far.say(user, text).await?;
        let deadline = Instant::now() + PATIENCE;
        while count(&self.pipeline.seen()) == count(&before) && self.far.shown().len() == self.shown {
            if Instant::now() > deadline {
                let hint = "see what it writes with --log-level info";
                return Err(Failure::new(Code::Unavailable, "nothing came of it").hint(hint));
            }
            sleep(LOOK_EVERY).await;
        }
        let after = self.pipeline.seen();
        let mut turn = Turn { message: None, outcome: None, agent: None, sent: Vec::new(), receipt: None };
        if let Some(accepted) = after.accepted.get(before.accepted.len()) {
            let answer = self.read_by_agent(&accepted.incoming);
            let delivered = self.pipeline.answer(&*self.plugin, accepted.id, &answer).await;
            turn.message = Some(accepted.incoming.clone());
            turn.agent = Some(answer);
            turn.receipt = Some(said(&delivered));
        } else if let Some((incoming, reason)) = after.suppressed.get(before.suppressed.len()) {
            turn.message = Some(incoming.clone());
            turn.outcome = Some(format!("not let in: {reason}"));
        } else if after.refused > before.refused {
            turn.outcome = Some("refused: it can never be accepted".to_owned());
        } else if after.duplicates > before.duplicates {
            turn.outcome = Some("an event that was accepted before".to_owned());
        } else {
            turn.outcome = Some("the plugin deals with it by itself".to_owned());
        }
        turn.sent = self.far.shown().split_off(self.shown);
        self.shown += turn.sent.len();
        Ok(turn)
    }

    /// The text as the pipeline gives it to an agent.
    fn read_by_agent(&self, incoming: &Incoming) -> String {
        let platform = self.plugin.manifest().platform;
        let header = Header {
            platform: &platform,
            platform_user_id: &incoming.sender.platform_user_id,
            username: incoming.sender.username.as_deref(),
            at: broca_core::Timestamp(0),
            instructions: None,
        };
        format_for_agent(&header, &incoming.text, FormatOptions::default())
    }

    pub(crate) async fn strike(self) -> Result<(), Failure> {
        self.hosted.stop().await.map_err(|error| Failure::new(Code::Failure, format!("it did not stop well: {error}")))
    }
}

/// How much came of anything so far.
fn count(seen: &Seen) -> usize {
    seen.accepted.len() + seen.suppressed.len() + seen.duplicates + seen.refused
}

fn said(delivered: &Result<broca_core::Receipt, DeliveryError>) -> String {
    match delivered {
        Ok(receipt) => format!("delivered: {}", receipt.platform_message_ids.join(", ")),
        Err(DeliveryError::Retry { after, failure }) => {
            let after = after.map(|after| format!(" after {after:?}")).unwrap_or_default();
            format!("to be tried again{after}: {failure}")
        }
        Err(DeliveryError::Dead(failure)) => format!("never to be delivered: {failure}"),
        Err(DeliveryError::Unknown(failure)) => format!("nobody knows whether it arrived: {failure}"),
    }
}
