//! The platform on the other side.

use broca_rehearsal::{
    platform::{PlatformScript, ScriptedPlatform},
    telegram::{ScriptedTelegram, TelegramScript, in_private},
};
use serde::Serialize;

use crate::{
    conformance::{Platform, Subject},
    failure::{Code, Failure},
};

/// The one person of a conversation, as Telegram numbers them.
const PERSON: i64 = 7;

#[derive(Debug)]
pub(super) enum FarSide {
    Telegram(ScriptedTelegram),
    Platform(Platform),
}

/// A message as the platform shows it, or was told to show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    /// The platform's own id.
    pub(crate) id: String,
    pub(crate) text: String,
    /// The dialect of its marks, and what else it came with.
    pub(crate) marks: Option<String>,
}

impl FarSide {
    pub(super) async fn telegram() -> Result<Self, Failure> {
        Ok(Self::Telegram(ScriptedTelegram::start(TelegramScript::default()).await?))
    }

    pub(super) async fn scripted() -> Result<Self, Failure> {
        Ok(Self::Platform(Platform::Scripted(ScriptedPlatform::start(PlatformScript::default()).await?)))
    }

    pub(super) async fn of_trial(subject: &Subject) -> Result<Self, Failure> {
        Ok(Self::Platform(Platform::open(subject).await?))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Telegram(telegram) => telegram.url(),
            Self::Platform(platform) => platform.url(),
        }
    }

    pub(super) async fn say(&self, user: &str, text: &str) -> Result<(), Failure> {
        match self {
            Self::Telegram(telegram) => {
                telegram.say(in_private(PERSON, text).by(user));
                Ok(())
            }
            Self::Platform(platform) => Ok(platform.say(user, text).await?),
        }
    }

    /// Everything that the plugin sent so far.
    pub(super) fn shown(&self) -> Vec<Shown> {
        match self {
            Self::Telegram(telegram) => telegram
                .log()
                .into_iter()
                .map(|sent| {
                    let picture = sent.photo.map(|photo| format!("picture {photo}"));
                    let marks: Vec<String> = sent.parse_mode.into_iter().chain(picture).collect();
                    let marks = (!marks.is_empty()).then(|| marks.join(", "));
                    Shown { id: sent.message_id.to_string(), text: sent.raw, marks }
                })
                .collect(),
            Self::Platform(platform) => {
                platform.sent().into_iter().map(|sent| Shown { id: sent.id, text: sent.text, marks: None }).collect()
            }
        }
    }
}

impl From<crate::conformance::Trouble> for Failure {
    fn from(trouble: crate::conformance::Trouble) -> Self {
        let (what, advice) = trouble.words();
        let failure = Self::new(Code::Failure, what);
        if advice.is_empty() { failure } else { failure.hint(advice) }
    }
}
