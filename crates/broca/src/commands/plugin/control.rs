//! `broca plugin enable`, `disable`, `load`, `unload`, `start`, `stop`, `restart`: what a running `broca up` does with an
//! instance.

use std::time::Duration;

use broca_admin::control::{Action, Carried, ControlError, order};
use broca_core::Instance;
use serde_json::json;

use super::super::letters::actor;
use crate::{
    app::App,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The instance, as in [plugins.<instance>]
    instance: Instance,
    /// How long to wait until it is done, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

pub(super) async fn run(app: &App, args: &Args, action: Action) -> Result<(), Failure> {
    let instance = &args.instance;
    // Says which there are, should it be misspelt.
    if !app.config.settings.plugins.contains_key(instance) {
        app.blueprint(instance)?;
    }
    let bus = app.bus("admin").await?;
    let carried = order(&bus, instance, action, &actor(), Duration::from_secs(args.timeout)).await?;
    let name = action.as_str();
    match &carried {
        Carried::Done { supervised } => {
            app.output.result(&json!({"instance": instance, "action": name, "result": carried}), || {
                let pid = supervised.pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
                format!("{instance} is {}{pid}", supervised.standing.as_str())
            })
        }
        Carried::Refused { why, supervised } => {
            let standing = supervised.standing.as_str();
            Err(Failure::new(Code::Failure, format!("{name} {instance}: {why}"))
                .hint(format!("it is {standing} now; the log of `broca up` says more")))
        }
        Carried::NobodyAnswered if matches!(action, Action::Enable | Action::Disable) => {
            Err(Failure::new(Code::Partial, format!("{name}d for every later start, but no `broca up` answered"))
                .hint("is one running with these settings? its next start goes by it"))
        }
        Carried::NobodyAnswered => {
            Err(Failure::new(Code::Unavailable, format!("no `broca up` answered within {} s", args.timeout)).hint(
                "is one running with this instance in its settings? it may still carry the order out; give it more \
                 --timeout",
            ))
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Bus(error) => error.into(),
            unreadable @ ControlError::Unreadable { .. } => Self::new(Code::Failure, unreadable.to_string()),
        }
    }
}
