//! `broca access`: the rules about who may talk.

use std::time::Duration;

use broca_admin::access::{self, AccessError};
use broca_core::{
    Instance,
    access::{RuleKind, Who},
    format::rfc3339,
};
use broca_store::{AccessRule, NewRule, RuleSource, Store};
use serde_json::json;

use super::{
    letters::{actor, short},
    send::duration,
};
use crate::{
    app::App,
    failure::{Code, Failure},
    output::table,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The rules in force
    List(ListArgs),
    /// Lets somebody in, whatever the policy says
    Allow(RuleArgs),
    /// Keeps somebody out
    Deny(RuleArgs),
    /// Lets somebody in, without limits, and to the commands of admins
    Admin(RuleArgs),
    /// Takes rules back
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Also those that are over, newest first
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca access allow telegram/7 --reason \"a colleague\"\n  \
    broca access deny telegram/@mallory --reason insults --for 1d\n\n\
    It counts within two seconds. Of one person there is one rule at a time, in general and for each instance: a new one\n\
    takes the place of the old. Prefer ids: user names can be given up and taken by others.")]
pub(crate) struct RuleArgs {
    /// The platform's id (telegram/7, or 7 on any platform) or a user name (telegram/@alice)
    #[arg(value_name = "WHO")]
    who: Who,
    /// On this plugin instance alone
    #[arg(long, value_name = "NAME")]
    instance: Option<Instance>,
    /// Why; everybody who looks sees it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// It ends by itself after this long, e.g. 30m, 2h, 1d [default: when it is taken back]
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    life: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// A rule's id, or whom the rules are about
    #[arg(required = true, value_name = "ID|WHO")]
    names: Vec<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let store = app.store().await?;
    store.check_migrated().await?;
    match command {
        Command::List(args) => list(app, &store, None, args).await,
        Command::Allow(args) => put(app, &store, RuleKind::Allow, args).await,
        Command::Deny(args) => put(app, &store, RuleKind::Deny, args).await,
        Command::Admin(args) => put(app, &store, RuleKind::Admin, args).await,
        Command::Remove(args) => remove(app, &store, None, args).await,
    }
}

pub(super) async fn put(app: &App, store: &Store, kind: RuleKind, args: &RuleArgs) -> Result<(), Failure> {
    if let Some(instance) = &args.instance {
        known_instance(app, instance)?;
    }
    let rule = NewRule {
        kind,
        who: args.who.clone(),
        instance: args.instance.clone(),
        reason: args.reason.clone(),
        source: RuleSource::Operator,
        actor: actor(),
        life: args.life,
    };
    let rule = access::put(store, rule).await?;
    app.output.result(&rule, || {
        let on = rule.instance.as_ref().map(|instance| format!(" on {instance}")).unwrap_or_default();
        let until = rule.expires_at.map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default();
        format!("{}: {}{on}{until}; broca {} remove {}", rule.kind, rule.who, group(rule.kind), rule.id)
    })
}

/// The command that such rules belong to.
fn group(kind: RuleKind) -> &'static str {
    if kind == RuleKind::Ignore { "ignore" } else { "access" }
}

/// A name that the settings do not have is a slip of the pen.
pub(super) fn known_instance(app: &App, instance: &Instance) -> Result<(), Failure> {
    let plugins = &app.config.settings.plugins;
    if plugins.contains_key(instance) {
        return Ok(());
    }
    let names: Vec<&str> = plugins.keys().map(Instance::as_str).collect();
    Err(Failure::new(Code::NotFound, format!("the settings have no instance '{instance}'"))
        .hint(format!("they have: {}", names.join(", "))))
}

pub(super) async fn list(app: &App, store: &Store, kind: Option<RuleKind>, args: &ListArgs) -> Result<(), Failure> {
    let rules = access::list(store, kind, args.all).await?;
    app.output.result(&json!({"items": rules}), || {
        if rules.is_empty() {
            return "no rules are in force; `broca config show` has what the settings say".to_owned();
        }
        table(["rule", "what", "who", "instance", "since", "until", "by", "reason"], rules.iter().map(line))
    })
}

fn line(rule: &AccessRule) -> [String; 8] {
    let until = rule.removed_at.or(rule.expires_at).map_or_else(|| "taken back".to_owned(), rfc3339);
    [
        rule.id.to_string(),
        rule.kind.to_string(),
        rule.who.to_string(),
        rule.instance.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
        rfc3339(rule.created_at),
        until,
        rule.actor.clone(),
        short(rule.reason.as_deref().unwrap_or_default(), 60),
    ]
}

pub(super) async fn remove(app: &App, store: &Store, kind: Option<RuleKind>, args: &RemoveArgs) -> Result<(), Failure> {
    let mut removed = 0;
    for name in &args.names {
        removed += access::remove(store, name, kind, &actor()).await?;
    }
    app.output.result(&json!({"removed": removed}), || format!("{removed} taken back"))
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let (code, hint) = match error {
            AccessError::Store(error) => return error.into(),
            AccessError::Person(error) => return error.into(),
            AccessError::Replay(error) => return error.into(),
            AccessError::NoRule(_) => (Code::NotFound, "`broca access list` and `broca ignore list` have them all"),
            AccessError::NoCode(_) => (Code::NotFound, "`broca pairing list` has them all"),
            AccessError::NotOpen(_) => (Code::Conflict, "`broca pairing list --all` tells what became of it"),
            AccessError::NamesNobody(_) | AccessError::NoList(_) => (Code::Usage, "nothing was changed"),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}
