//! `broca plugin enable`, `disable`, `load`, `unload`, `start`, `stop`, `restart`: what a running `broca up` does with an
//! instance.

use broca_admin::{
    control::{Action, Carried},
    operations::{
        DisablePlugin, EnablePlugin, LoadPlugin, RestartPlugin, StartPlugin, StopPlugin, UnloadPlugin, WhichPlugin,
    },
};
use broca_core::Instance;

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
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Args {
    fn request(&self) -> WhichPlugin {
        WhichPlugin { instance: self.instance.clone(), timeout_s: self.timeout, reason: self.reason.clone() }
    }
}

pub(super) async fn run(app: &App, args: &Args, action: Action) -> Result<(), Failure> {
    let (deps, request) = (app.deps().await?, args.request());
    let ordered = match action {
        Action::Enable => app.operate::<EnablePlugin>(&deps, &request).await?,
        Action::Disable => app.operate::<DisablePlugin>(&deps, &request).await?,
        Action::Load => app.operate::<LoadPlugin>(&deps, &request).await?,
        Action::Unload => app.operate::<UnloadPlugin>(&deps, &request).await?,
        Action::Start => app.operate::<StartPlugin>(&deps, &request).await?,
        Action::Stop => app.operate::<StopPlugin>(&deps, &request).await?,
        Action::Restart => app.operate::<RestartPlugin>(&deps, &request).await?,
    };
    match &ordered.result {
        Carried::Done { supervised } | Carried::Refused { supervised, .. } => app.output.result(&ordered, || {
            let pid = supervised.pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
            format!("{} is {}{pid}", ordered.instance, supervised.standing.as_str())
        }),
        Carried::NobodyAnswered => {
            let done = format!("{}d for every later start, but no `broca up` answered", action.as_str());
            Err(Failure::new(Code::Partial, done).hint("is one running with these settings? its next start goes by it"))
        }
    }
}
