//! A platform and the program before it, for one check.

use std::collections::HashMap;

use broca_core::MessageId;
use serde_json::{Map, Value};

use super::{
    life::{Garbage, Life, Start},
    platform::Platform,
    subject::Subject,
    verdict::{Checked, wrong},
};

#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) subject: &'a Subject,
    pub(super) platform: Platform,
    settings: Value,
    garbage: Garbage,
}

impl<'a> Scene<'a> {
    pub(super) async fn open(subject: &'a Subject, garbage: &Garbage) -> Checked<Self> {
        let platform = Platform::open(subject).await?;
        let settings = subject.settings(&platform.url(), Map::new());
        let unfit = |why| wrong(format!("the settings of its test do not fit: {why}"), "see [test] in plugin.toml");
        let settings = subject.told(&settings).map_err(unfit)?;
        Ok(Self { subject, platform, settings, garbage: garbage.clone() })
    }

    /// The same where somebody plays the platform, or it is not checked.
    pub(super) async fn fed(subject: &'a Subject, garbage: &Garbage) -> Checked<Self> {
        let scene = Self::open(subject, garbage).await?;
        scene.platform.is_there()?;
        Ok(scene)
    }

    /// Starts the program.
    pub(super) async fn begin(&self) -> Checked<Life> {
        Life::begin(self.start(false)).await
    }

    /// Starts the program again, of which this was accepted before.
    pub(super) async fn begin_again(&self, accepted: HashMap<String, MessageId>) -> Checked<Life> {
        let mut life = self.begin().await?;
        life.accepted = accepted;
        Ok(life)
    }

    /// Starts the program with a host of a later version.
    pub(super) async fn begin_strangely(&self) -> Checked<Life> {
        Life::begin(self.start(true)).await
    }

    pub(super) fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn start(&self, strange: bool) -> Start<'_> {
        Start { subject: self.subject, settings: self.settings.clone(), garbage: self.garbage.clone(), strange }
    }
}
