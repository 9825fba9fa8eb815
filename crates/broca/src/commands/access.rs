//! `broca access`: the rules about who may talk.

use std::{str::FromStr, time::Duration};

use broca_admin::operations::{
    AddAdmin, AllowPerson, DenyPerson, Deps, ListRules, ListedRules, NewRuleOn, Operation, RemoveRules, RemovedRules,
    Span, WhichGone, WhichRules,
};
use broca_core::{
    Instance, RuleId,
    access::{NamesNobody, RuleKind, Who},
    format::rfc3339,
};
use broca_store::AccessRule;

use super::{letters::short, moment::relative, send::duration};
use crate::{
    app::App,
    failure::Failure,
    output::{paged, table},
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
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// The next_cursor of the page before
    #[arg(long)]
    cursor: Option<RuleId>,
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
    names: Vec<Named>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// How rules are named.
#[derive(Clone, Debug)]
enum Named {
    Id(RuleId),
    Who(Who),
}

impl FromStr for Named {
    type Err = NamesNobody;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map_or_else(|_| text.parse().map(Self::Who), |id| Ok(Self::Id(id)))
    }
}

impl RemoveArgs {
    fn which(&self) -> WhichGone {
        let mut which = WhichGone { reason: self.reason.clone(), ..WhichGone::default() };
        for name in &self.names {
            match name {
                Named::Id(id) => which.ids.push(*id),
                Named::Who(who) => which.who.push(who.clone()),
            }
        }
        which
    }
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List(args) => list::<ListRules>(app, &deps, args).await,
        Command::Allow(args) => put::<AllowPerson>(app, &deps, args).await,
        Command::Deny(args) => put::<DenyPerson>(app, &deps, args).await,
        Command::Admin(args) => put::<AddAdmin>(app, &deps, args).await,
        Command::Remove(args) => remove::<RemoveRules>(app, &deps, args).await,
    }
}

pub(super) async fn put<O>(app: &App, deps: &Deps, args: &RuleArgs) -> Result<(), Failure>
where
    O: Operation<Request = NewRuleOn, Answer = AccessRule>,
{
    let RuleArgs { who, instance, reason, life } = args;
    let (who, instance, reason) = (who.clone(), instance.clone(), reason.clone());
    let rule = app.operate::<O>(deps, &NewRuleOn { who, instance, reason, life: life.map(Span) }).await?;
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

pub(super) async fn list<O>(app: &App, deps: &Deps, args: &ListArgs) -> Result<(), Failure>
where
    O: Operation<Request = WhichRules, Answer = ListedRules>,
{
    let request = WhichRules { all: args.all, limit: Some(args.limit), cursor: args.cursor };
    let rules = app.operate::<O>(deps, &request).await?;
    app.output.result(&rules, || {
        if rules.items.is_empty() {
            return "no rules are in force; `broca config show` has what the settings say".to_owned();
        }
        let header = ["rule", "what", "who", "instance", "since", "until", "by", "reason"];
        paged(table(header, rules.items.iter().map(line)), rules.next_cursor.as_ref())
    })
}

fn line(rule: &AccessRule) -> [String; 8] {
    let until = rule.removed_at.or(rule.expires_at).map_or_else(|| "taken back".to_owned(), relative);
    [
        rule.id.to_string(),
        rule.kind.to_string(),
        rule.who.to_string(),
        rule.instance.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string),
        relative(rule.created_at),
        until,
        rule.actor.clone(),
        short(rule.reason.as_deref().unwrap_or_default(), 60),
    ]
}

pub(super) async fn remove<O>(app: &App, deps: &Deps, args: &RemoveArgs) -> Result<(), Failure>
where
    O: Operation<Request = WhichGone, Answer = RemovedRules>,
{
    let done = app.operate::<O>(deps, &args.which()).await?;
    app.output.result(&done, || format!("{} taken back", done.removed))
}
