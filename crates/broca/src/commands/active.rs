//! `broca users activate` and `broca users deactivate`.

use broca_admin::access;

use super::letters::actor;
use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The platform's id, e.g. 7 or telegram/7, or the id of the user
    #[arg(value_name = "WHO")]
    who: String,
    /// Why; everybody who looks sees it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn set(app: &App, args: &Args, active: bool) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    let done = access::set_active(&store, &args.who, active, args.reason.as_deref(), &actor()).await?;
    app.output.result(&done, || {
        let what = if done.is_active { "active" } else { "deactivated" };
        let already = if done.changed { "" } else { " already" };
        format!("user {} is {what}{already}", done.user_id)
    })
}
