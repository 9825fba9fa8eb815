//! `broca token`: who may call the HTTP and MCP servers, and what they may do.

use std::time::Duration;

use broca_admin::operations::{
    Span,
    tokens::{AddToken, ListTokens, RevokeToken, WantedToken, WhichRevoked, WhichTokens},
};
use broca_core::rights::Access;
use broca_store::ApiToken;

use super::{moment::relative, send::duration};
use crate::{app::App, failure::Failure, output::table};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes one, and tells it once
    Add(AddArgs),
    /// Names, rights and last use
    List(ListArgs),
    /// Ends one at once
    Revoke(RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// What the audit log calls its owner
    name: String,
    /// read (look), operate (hold, cancel, resolve, replay) or admin (tokens, too)
    #[arg(long, value_name = "ACCESS")]
    access: Access,
    /// It may read what people and agents wrote
    #[arg(long)]
    contents: bool,
    /// It ends by itself after this long, e.g. 30d [default: when it is revoked]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    expires: Option<Duration>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also those that can be used no more
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    name: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::Add(AddArgs { name, access, contents, expires, reason }) => {
            let request = WantedToken {
                name: name.clone(),
                access: *access,
                contents: *contents,
                expires: expires.map(Span),
                reason: reason.clone(),
            };
            let made = app.operate::<AddToken>(&deps, &request).await?;
            app.output
                .result(&made, || format!("{}\nit is told this once; its owner sends it as bearer token", made.secret))
        }
        Command::List(ListArgs { all }) => {
            let tokens = app.operate::<ListTokens>(&deps, &WhichTokens { all: *all }).await?;
            app.output.result(&tokens, || {
                let header = ["token", "access", "contents", "made", "by", "until", "last used"];
                table(header, tokens.items.iter().map(line))
            })
        }
        Command::Revoke(RevokeArgs { name, reason }) => {
            let request = WhichRevoked { name: name.clone(), reason: reason.clone() };
            let revoked = app.operate::<RevokeToken>(&deps, &request).await?;
            app.output.result(&revoked, || format!("{name} can be used no more"))
        }
    }
}

fn line(token: &ApiToken) -> [String; 7] {
    let until = match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("revoked {}", relative(at)),
        (None, Some(at)) => relative(at),
        (None, None) => "revoked".to_owned(),
    };
    [
        token.name.clone(),
        token.access.to_string(),
        if token.contents { "yes" } else { "no" }.to_owned(),
        relative(token.created_at),
        token.created_by.clone(),
        until,
        token.last_used_at.map_or_else(|| "never".to_owned(), relative),
    ]
}
