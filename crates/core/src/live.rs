//! What operators set while everything runs: the values of the settings' bucket, and what they come to.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{ChangeId, Instance, Timestamp, route::Mode};

/// The version this code writes; fields it does not know are ignored.
pub const VERSION: u32 = 1;

/// One value of the bucket, with who wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written<T> {
    #[serde(rename = "v")]
    pub version: u32,
    /// Its row in the history.
    pub change: ChangeId,
    pub by: String,
    /// By the database's clock.
    pub at: Timestamp,
    pub value: T,
}

impl<T: Serialize + DeserializeOwned> Written<T> {
    /// As it stands in the bucket.
    pub fn encode(&self) -> Vec<u8> {
        // Maps with text keys, texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// # Errors
    /// It is none of ours, or a newer Broca's. What it holds is not repeated.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|_| "it is no JSON that Broca wrote")?;
        if version.v != VERSION {
            return Err("a Broca of another version wrote it");
        }
        serde_json::from_slice(bytes).map_err(|_| "it does not hold what it should")
    }
}

/// What a mode is set for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModeSubject {
    Everything,
    Plugin(Instance),
    Route(String),
}

impl fmt::Display for ModeSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Plugin(instance) => write!(f, "plugin {instance}"),
            Self::Route(name) => write!(f, "route {name}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeSet {
    pub mode: Mode,
    /// Then the configured one holds again; `None` is until somebody says so. Each worker goes by its own clock here: one
    /// that is off changes a moment earlier or later than the others, and nothing else depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The modes that hold instead of the configured ones. What is set for a route goes before what is set for a plugin,
/// and that before what is set for everything; whichever holds goes before the settings, also those of the route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Modes {
    #[serde(skip_serializing_if = "Option::is_none")]
    everything: Option<ModeSet>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    plugins: BTreeMap<Instance, ModeSet>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    routes: BTreeMap<String, ModeSet>,
}

impl Modes {
    /// The mode that is set for a message of that instance and route, and what it is set for.
    pub fn of(&self, instance: &Instance, route: &str, now: Timestamp) -> Option<(Mode, ModeSubject)> {
        let holds = |set: &&ModeSet| set.until.is_none_or(|until| now < until);
        let route_set = self.routes.get(route).filter(holds);
        let plugin_set = self.plugins.get(instance).filter(holds);
        let set = route_set.map(|set| (set.mode, ModeSubject::Route(route.to_owned())));
        let set = set.or_else(|| plugin_set.map(|set| (set.mode, ModeSubject::Plugin(instance.clone()))));
        set.or_else(|| self.everything.as_ref().filter(holds).map(|set| (set.mode, ModeSubject::Everything)))
    }

    /// Sets one, or with `None` takes it away; returns what was there.
    pub fn set(&mut self, subject: &ModeSubject, set: Option<ModeSet>) -> Option<ModeSet> {
        match (subject, set) {
            (ModeSubject::Everything, set) => std::mem::replace(&mut self.everything, set),
            (ModeSubject::Plugin(instance), Some(set)) => self.plugins.insert(instance.clone(), set),
            (ModeSubject::Plugin(instance), None) => self.plugins.remove(instance),
            (ModeSubject::Route(name), Some(set)) => self.routes.insert(name.clone(), set),
            (ModeSubject::Route(name), None) => self.routes.remove(name),
        }
    }

    /// All that hold at that time, the general one first.
    pub fn in_force(&self, now: Timestamp) -> Vec<(ModeSubject, ModeSet)> {
        let everything = self.everything.iter().map(|set| (ModeSubject::Everything, *set));
        let plugins = self.plugins.iter().map(|(instance, set)| (ModeSubject::Plugin(instance.clone()), *set));
        let routes = self.routes.iter().map(|(name, set)| (ModeSubject::Route(name.clone()), *set));
        let all = everything.chain(plugins).chain(routes);
        all.filter(|(_, set)| set.until.is_none_or(|until| now < until)).collect()
    }

    /// Forgets what is over.
    pub fn prune(&mut self, now: Timestamp) {
        let holds = |set: &ModeSet| set.until.is_none_or(|until| now < until);
        self.everything = self.everything.filter(holds);
        self.plugins.retain(|_, set| holds(set));
        self.routes.retain(|_, set| holds(set));
    }
}

/// Lays what was set at run time over settings: tables are merged, everything else is replaced.
pub fn overlaid(base: serde_json::Value, over: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value::Object;
    match (base, over) {
        (Object(mut base), Object(over)) => {
            for (key, value) in over {
                let below = base.remove(key).unwrap_or_default();
                base.insert(key.clone(), overlaid(below, value));
            }
            Object(base)
        }
        (_, over) => over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_closest_mode_holds_until_its_time_is_over() {
        let (bot, web): (Instance, Instance) = ("bot".parse().unwrap(), "web".parse().unwrap());
        let now = Timestamp(100);
        let mut modes = Modes::default();
        let set = |mode, until: Option<i64>| Some(ModeSet { mode, until: until.map(Timestamp) });
        assert_eq!(modes.of(&bot, "vip", now), None);
        assert_eq!(modes.set(&ModeSubject::Everything, set(Mode::Listen, None)), None);
        modes.set(&ModeSubject::Plugin(bot.clone()), set(Mode::Echo, Some(200)));
        modes.set(&ModeSubject::Route("vip".into()), set(Mode::Live, Some(150)));
        let of = |instance, route, now| modes.of(instance, route, Timestamp(now)).unwrap();
        assert_eq!(of(&bot, "vip", 100), (Mode::Live, ModeSubject::Route("vip".into())));
        assert_eq!(of(&bot, "vip", 150), (Mode::Echo, ModeSubject::Plugin(bot.clone())));
        assert_eq!(of(&bot, "vip", 200), (Mode::Listen, ModeSubject::Everything));
        assert_eq!(of(&web, "other", 100), (Mode::Listen, ModeSubject::Everything));
        assert_eq!(modes.in_force(Timestamp(160)).len(), 2);
        modes.prune(Timestamp(160));
        assert_eq!(modes.in_force(Timestamp(0)).len(), 2);
        modes.set(&ModeSubject::Everything, None);
        assert_eq!(modes.of(&web, "other", now), None);
    }

    #[test]
    fn a_value_survives_the_bucket_and_junk_is_told_from_it() {
        let mut modes = Modes::default();
        modes.set(&ModeSubject::Everything, Some(ModeSet { mode: Mode::Echo, until: Some(Timestamp(7)) }));
        let written =
            Written { version: VERSION, change: ChangeId::new(), by: "me".into(), at: Timestamp(1), value: modes };
        assert_eq!(Written::<Modes>::decode(&written.encode()), Ok(written.clone()));
        for junk in [&b""[..], b"{}", b"[]", b"null"] {
            assert!(Written::<Modes>::decode(junk).unwrap_err().contains("no JSON that Broca wrote"));
        }
        let newer = Written { version: 2, ..written };
        assert!(Written::<Modes>::decode(&newer.encode()).unwrap_err().contains("another version"));
        assert!(Written::<Modes>::decode(br#"{"v":1,"value":"x"}"#).is_err());
    }

    #[test]
    fn what_is_set_at_run_time_is_laid_over_key_by_key() {
        let base = json!({"a": 1, "list": [1, 2], "deep": {"x": 1, "y": 2}});
        let over = json!({"list": [3], "deep": {"y": 3, "z": null}, "new": {"k": true}});
        let both = json!({"a": 1, "list": [3], "deep": {"x": 1, "y": 3, "z": null}, "new": {"k": true}});
        assert_eq!(overlaid(base.clone(), &over), both);
        assert_eq!(overlaid(base.clone(), &json!({})), base);
        assert_eq!(overlaid(Value::Null, &over), over);
    }
}
