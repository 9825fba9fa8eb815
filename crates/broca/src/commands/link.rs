//! `broca users link` and `broca users unlink`.

use broca_admin::operations::{Deps, LinkUsers, UnlinkUser, WhichAccount, WhoAreOne};

use crate::{app::App, failure::Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  broca users link telegram/7 webchat/1f0c9a --reason \"she asked by phone\"\n\n\
    People do this by themselves, too: /link in one chat gives a code, /link CODE in the other uses it.")]
pub(crate) struct LinkArgs {
    /// Our id of the person, or PLATFORM/ID; their own instructions and preferences win
    #[arg(value_name = "WHO")]
    who: String,
    /// The other one, whose accounts become theirs
    #[arg(value_name = "OTHER")]
    other: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UnlinkArgs {
    /// PLATFORM/ID, or our id of the profile
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn link(app: &App, deps: &Deps, args: &LinkArgs) -> Result<(), Failure> {
    let (who, user, reason) = (args.who.clone(), args.other.clone(), args.reason.clone());
    let done = app.operate::<LinkUsers>(deps, &WhoAreOne { who, user, reason }).await?;
    app.output.result(&done, || {
        format!("user {} has {} more accounts; {} is nobody any more", done.user_id, done.profiles.len(), done.absorbed)
    })
}

pub(crate) async fn unlink(app: &App, deps: &Deps, args: &UnlinkArgs) -> Result<(), Failure> {
    let request = WhichAccount { who: args.account.clone(), reason: args.reason.clone() };
    let done = app.operate::<UnlinkUser>(deps, &request).await?;
    app.output.result(&done, || format!("the account is user {} now, and no longer {}", done.user_id, done.former))
}
