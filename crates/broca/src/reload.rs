//! `broca up` reads its settings anew when it is told to, and starts its processes anew with them, one after the other.

use std::time::Duration;

use broca_admin::control::{self, Action, Carried};
use broca_bus::Bus;
use broca_core::Instance;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::App,
    failure::{Code, Failure},
};

/// How long a plugin may take to stop and to start.
const PLUGIN_PATIENCE: Duration = Duration::from_secs(60);

/// What became of the last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// Counted from 1.
    pub(crate) number: u64,
    /// Why not all of it is in force.
    pub(crate) problem: Option<String>,
}

/// The settings as they are now, for the processes of a `broca up` that goes on.
///
/// # Errors
/// They do not fit, or they name other servers than those that it goes on with.
pub(crate) fn read_again(app: &App) -> Result<App, Failure> {
    let config = app.config.again()?;
    let (old, new) = (places(app), places(&App { config: config.clone(), ..app.clone() }));
    let changed: Vec<&str> = new.iter().zip(&old).filter(|(new, old)| new != old).map(|((key, _), _)| *key).collect();
    if !changed.is_empty() {
        return Err(Failure::new(Code::Conflict, format!("{} changed, and nothing was", changed.join(", ")))
            .hint("these are taken up by a new start of `broca up` alone"));
    }
    Ok(App { config, ..app.clone() })
}

/// What `broca up` itself rests on.
fn places(app: &App) -> Vec<(&'static str, Value)> {
    let settings = &app.config.settings;
    let instances: Vec<&Instance> = settings.plugins.keys().collect();
    vec![
        ("data_dir", json!(settings.data_dir)),
        ("nats", json!(settings.nats)),
        ("database", json!(settings.database)),
        ("metrics", json!(settings.metrics)),
        ("up.workers", json!(settings.up.workers)),
        ("the list of plugins", json!(instances)),
    ]
}

/// Has each of these stopped and started.
///
/// # Errors
/// Some did not come back; the others are not waited for any less.
pub(crate) async fn restart_plugins(bus: &Bus, instances: &[Instance]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    for instance in instances {
        match control::order(bus, instance, Action::Restart, "broca up: reload", PLUGIN_PATIENCE).await {
            Ok(Carried::Done { .. }) => {}
            Ok(Carried::Refused { why, .. }) => problems.push(format!("{instance}: {why}")),
            Ok(Carried::NobodyAnswered) => problems.push(format!("{instance}: it did not come back in time")),
            Err(error) => problems.push(format!("{instance}: {error}")),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::new(Code::Partial, problems.join("; "))) }
}

/// The log of a folder's `broca up` is where the rest is said.
pub(crate) fn told(problem: &Failure) -> String {
    match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.message),
        None => problem.message.clone(),
    }
}
