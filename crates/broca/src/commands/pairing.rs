//! `broca pairing`: the codes that strangers were given.

use broca_admin::operations::{
    ApprovePairing, Deps, ListPairings, RevokePairing, WhichApproved, WhichCode, WhichPairings,
};
use broca_store::Pairing;

use super::moment::relative;
use crate::{
    app::App,
    failure::{Code, Failure},
    output::table,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The codes that wait for an answer
    List(ListArgs),
    /// Lets the person in whom a code was given to
    Approve(ApproveArgs),
    /// Takes a code back, or what its approval let in
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also those that are over, newest first
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Be sure who told you the code: whoever has it talks to the agent from now on. Exit code 4: the code is too\n\
    old, or was dealt with already."
)]
pub(crate) struct ApproveArgs {
    code: String,
    /// Also lets in the message that the code was asked for with
    #[arg(long)]
    let_in: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    code: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(args) => list(app, &deps, args).await,
        Command::Approve(args) => approve(app, &deps, args).await,
        Command::Revoke(RevokeArgs { code, reason }) => {
            let request = WhichCode { code: code.clone(), reason: reason.clone() };
            let pairing = app.operate::<RevokePairing>(&deps, &request).await?;
            app.output.result(&pairing, || format!("{} is kept out again", person(&pairing)))
        }
    }
}

async fn list(app: &App, deps: &Deps, args: &ListArgs) -> Result<(), Failure> {
    let pairings = app.operate::<ListPairings>(deps, &WhichPairings { all: args.all }).await?;
    app.output.result(&pairings, || {
        if pairings.items.is_empty() {
            return "nobody waits to be let in".to_owned();
        }
        table(["code", "state", "person", "instance", "since", "until", "message"], pairings.items.iter().map(line))
    })
}

fn line(pairing: &Pairing) -> [String; 7] {
    [
        pairing.code.clone(),
        format!("{:?}", pairing.state).to_lowercase(),
        person(pairing),
        pairing.instance.to_string(),
        relative(pairing.created_at),
        relative(pairing.approved_at.or(pairing.revoked_at).unwrap_or(pairing.expires_at)),
        pairing.message_id.to_string(),
    ]
}

fn person(pairing: &Pairing) -> String {
    let name =
        pairing.username.as_ref().map(|name| format!(" (@{})", name.trim_start_matches('@'))).unwrap_or_default();
    format!("{}/{}{name}", pairing.platform, pairing.platform_user_id)
}

async fn approve(app: &App, deps: &Deps, args: &ApproveArgs) -> Result<(), Failure> {
    let ApproveArgs { code, let_in, reason } = args;
    let request = WhichApproved { code: code.clone(), let_in: *let_in, reason: reason.clone() };
    let approved = app.operate::<ApprovePairing>(deps, &request).await?;
    let let_in = approved.let_in.as_ref().map(|report| report.replayed > 0);
    app.output.result(&approved, || {
        let message = match let_in {
            None => String::new(),
            Some(true) => format!("; message {} goes to the agent", approved.pairing.message_id),
            Some(false) => format!("; message {} does not: broca message show", approved.pairing.message_id),
        };
        format!("{} is let in on {}{message}", person(&approved.pairing), approved.pairing.instance)
    })?;
    if let_in == Some(false) { Err(Failure::said(Code::Partial as u8)) } else { Ok(()) }
}
