//! A plugin before its far side, and the pipeline behind it.

use std::collections::{BTreeMap, BTreeSet};

use broca_core::ResponseState;
use broca_store::{Counts, Store};
use broca_tests::{Crew, Database, Rig, RigOptions, all_over, eventually};

use crate::far::{Far, Kind, PATIENCE};

pub(crate) const PEOPLE: usize = 3;

pub(crate) struct Stage {
    pub(crate) kind: Kind,
    pub(crate) plugin: Crew,
    pub(crate) workers: Crew,
    pub(crate) far: Far,
    pub(crate) store: Store,
    pub(crate) rig: Rig,
    said: Vec<String>,
}

impl Stage {
    pub(crate) async fn set(kind: Kind, more: &str, env: &[(&str, &str)]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let (mut far, settings) = kind.far().await;
        let rig = Rig::start(RigOptions { settings: settings + more, ..RigOptions::new(Database::Sqlite) }).await;
        if kind == Kind::Webchat {
            far.comes_back(&rig).await;
        }
        let plugin = Crew::new(&rig, kind.instance(), Box::leak(Box::new(kind.run())), 1, env);
        let workers = Crew::workers(&rig, 1, &[]);
        let store = rig.store().await;
        Self { kind, plugin, workers, far, store, rig, said: Vec::new() }
    }

    /// Everybody writes once.
    pub(crate) async fn everybody_says(&mut self, more: &str) {
        let number = self.said.len();
        for person in 1..=PEOPLE {
            let word = format!("p{person:02}-m{number:04}");
            self.says(person, &format!("{word}{more}")).await;
            self.said.push(word);
        }
    }

    /// Whoever is told nothing says it again, also while the process is started again.
    async fn says(&mut self, person: usize, text: &str) {
        let Self { plugin, workers, rig, far, .. } = self;
        if far.is_polled() {
            return far.say(person, text);
        }
        eventually("the message is taken", PATIENCE, || {
            plugin.tend(rig);
            workers.tend(rig);
            far.is_taken(person, text)
        })
        .await;
    }

    pub(crate) async fn counts(&self) -> Counts {
        self.store.counts().await.expect("the store answers")
    }

    pub(crate) async fn responses(&self, state: ResponseState) -> i64 {
        self.counts().await.responses.get(state.as_str()).copied().unwrap_or_default()
    }

    pub(crate) fn tend(&mut self) {
        self.plugin.tend(&self.rig);
        self.workers.tend(&self.rig);
    }

    /// Everything is over, and everybody was answered once and in order, but for answers that are marked as unknown.
    pub(crate) async fn ends_well(&mut self, what: &str) {
        let what = format!("{:?}, {what}", self.kind);
        let total = i64::try_from(self.said.len()).expect("a small number");
        let Self { plugin, workers, rig, store, .. } = self;
        eventually(&format!("{what}: every answer is over"), PATIENCE, || {
            plugin.tend(rig);
            workers.tend(rig);
            async {
                let counts = store.counts().await.expect("the store answers");
                counts.responses.values().sum::<i64>() == total && all_over(store).await
            }
        })
        .await;
        let unknown = usize::try_from(self.responses(ResponseState::Unknown).await).expect("a small number");
        eventually(&format!("{what}: everybody is answered"), PATIENCE, || async {
            self.answered().await.len() + unknown >= self.said.len()
        })
        .await;
        let answered = self.answered().await;
        let once: BTreeSet<&String> = answered.iter().collect();
        assert_eq!(once.len(), answered.len(), "{what}: answered twice: {answered:?}");
        let mut each: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for word in &answered {
            each.entry(&word[..3]).or_default().push(word);
        }
        assert!(each.values().all(|words| words.is_sorted()), "{what}: out of order: {each:?}");
        eventually(&format!("{what}: nothing is amiss"), PATIENCE, || async { self.rig.is_sound().is_ok() }).await;
    }

    /// The words of those who are answered, as the far side says.
    pub(crate) async fn answered(&self) -> Vec<String> {
        let texts = self.far.answers(PEOPLE).await;
        let words = texts.iter().flat_map(|text| text.split_whitespace());
        words.filter(|word| self.said.iter().any(|said| said == word)).map(str::to_owned).collect()
    }
}
