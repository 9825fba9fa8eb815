//! The platform that the plugin talks to while it is tested.

use std::time::Duration;

use broca_rehearsal::platform::{Fault, PlatformScript, ScriptedPlatform};
use tokio::time::{Instant, sleep};

use super::{
    player::Player,
    subject::Subject,
    verdict::{Checked, not_checked, wrong},
};

const LOOK_EVERY: Duration = Duration::from_millis(10);
const FEED: &str = "say in plugin.toml, section [test], how it is tested: settings with \"{url}\", and a platform if it needs one of its own";

/// A message that the plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) user: String,
    pub(crate) text: String,
    /// The platform's own id of it.
    pub(crate) id: String,
}

#[derive(Debug)]
pub(crate) enum Platform {
    /// The one of `broca rehearse platform`.
    Scripted(ScriptedPlatform),
    /// A program of the plugin's author.
    Played(Box<Player>),
    /// Nothing is known of its platform.
    None,
}

impl Platform {
    pub(crate) async fn open(subject: &Subject) -> Checked<Self> {
        if let Some(command) = subject.trial.as_ref().and_then(|trial| trial.platform.as_ref()) {
            return Player::start(command, &subject.program).await.map(|player| Self::Played(Box::new(player)));
        }
        if !subject.is_fed() {
            return Ok(Self::None);
        }
        let started = ScriptedPlatform::start(PlatformScript::default()).await;
        started.map(Self::Scripted).map_err(|error| wrong(format!("no platform can be played: {error}"), ""))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Scripted(platform) => platform.url(),
            Self::Played(player) => player.url.clone(),
            Self::None => String::new(),
        }
    }

    pub(super) fn is_there(&self) -> Checked {
        match self {
            Self::None => Err(not_checked("nobody plays its platform", FEED)),
            _ => Ok(()),
        }
    }

    /// A person writes in their own chat.
    pub(crate) async fn say(&self, user: &str, text: &str) -> Checked {
        match self {
            Self::Scripted(platform) => {
                platform.say(user, text);
                Ok(())
            }
            Self::Played(player) => player.say(user, text).await,
            Self::None => self.is_there(),
        }
    }

    /// All that was sent, in order.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        match self {
            Self::Scripted(platform) => platform
                .log()
                .into_iter()
                .map(|sent| Sent { user: sent.user, text: sent.text, id: sent.message_id })
                .collect(),
            Self::Played(player) => player.sent(),
            Self::None => Vec::new(),
        }
    }

    /// Waits until so much was sent; what was sent by then, or after `within`.
    pub(super) async fn wait_for_sent(&self, within: Duration, met: impl Fn(&[Sent]) -> bool) -> Vec<Sent> {
        let deadline = Instant::now() + within;
        loop {
            let sent = self.sent();
            if met(&sent) || Instant::now() > deadline {
                return sent;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// What goes wrong with the next send.
    pub(super) async fn fails(&self, fault: Fault) -> Checked {
        match self {
            Self::Scripted(platform) => {
                platform.script(|script| script.send_faults = [fault].into());
                Ok(())
            }
            Self::Played(player) => player.fails(fault).await,
            Self::None => self.is_there(),
        }
    }

    /// A person blocks the bot.
    pub(super) async fn is_blocked_by(&self, user: &str) -> Checked {
        match self {
            Self::Scripted(platform) => {
                platform.script(|script| script.blocked = [user.to_owned()].into());
                Ok(())
            }
            Self::Played(player) => player.is_blocked_by(user).await,
            Self::None => self.is_there(),
        }
    }

    /// Broca's own, which does what no program was asked to.
    pub(super) fn scripted(&self) -> Checked<&ScriptedPlatform> {
        match self {
            Self::Scripted(platform) => Ok(platform),
            Self::Played(_) => Err(not_checked("the platform's program is not asked for that", "")),
            Self::None => Err(not_checked("nobody plays its platform", FEED)),
        }
    }
}

/// What Broca's own platform does; one of the author's is left as it is.
impl Platform {
    pub(super) fn script(&self, change: impl FnOnce(&mut PlatformScript)) {
        if let Self::Scripted(platform) = self {
            platform.script(change);
        }
    }

    /// Closes its port.
    pub(super) async fn goes_away(&mut self) {
        if let Self::Scripted(platform) = self {
            platform.goes_away().await;
        }
    }

    pub(super) async fn comes_back(&mut self) -> std::io::Result<()> {
        match self {
            Self::Scripted(platform) => platform.comes_back().await,
            _ => Ok(()),
        }
    }
}
