//! `broca users activate` and `broca users deactivate`.

use broca_admin::operations::{Deps, Operation, WhoseActivity};
use broca_store::Activation;

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

impl Args {
    pub(super) fn of(who: &str, reason: Option<&str>) -> Self {
        Self { who: who.to_owned(), reason: reason.map(str::to_owned) }
    }
}

/// Does it, without a word.
pub(super) async fn switch<O>(app: &App, deps: &Deps, Args { who, reason }: &Args) -> Result<Activation, Failure>
where
    O: Operation<Request = WhoseActivity, Answer = Activation>,
{
    app.operate::<O>(deps, &WhoseActivity { who: who.clone(), reason: reason.clone() }).await
}

pub(crate) async fn set<O>(app: &App, deps: &Deps, args: &Args) -> Result<(), Failure>
where
    O: Operation<Request = WhoseActivity, Answer = Activation>,
{
    let done = switch::<O>(app, deps, args).await?;
    app.output.result(&done, || {
        let what = if done.is_active { "active" } else { "deactivated" };
        let already = if done.changed { "" } else { " already" };
        format!("user {} is {what}{already}", done.user_id)
    })
}
