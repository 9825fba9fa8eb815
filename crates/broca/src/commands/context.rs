//! `broca context`: several deployments, by name.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    cli::Global,
    contexts::{self, Context, Contexts},
    failure::{Code, Failure},
    output::{Output, pairs, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The contexts; the one in force where nobody says otherwise is marked
    List,
    /// Where one is
    Show(ShowArgs),
    /// Has one in force from now on, for all commands that ask and steer
    Use(UseArgs),
    /// Makes one
    Add(AddArgs),
    /// Forgets one
    Remove(NameArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// [default: the current one]
    name: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UseArgs {
    #[arg(required_unless_present = "none")]
    name: Option<String>,
    /// None is in force: broca.toml and the environment count again
    #[arg(long, conflicts_with = "name")]
    none: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    name: String,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  broca context add prod --config /etc/broca/broca.toml --database-url-env PROD_DATABASE_URL \\\n    \
    --nats-url tls://nats.example:4222 --nats-creds-file ~/.nats/broca-admin.creds\n  \
    broca --context prod status\n\n\
    --config, --data-dir, --database-url and --nats-url say where it is; no address may have a password in it. A context\n\
    goes before broca.toml and the environment, flags go before it. `broca up`, `worker`, `plugin run` and `plugin exec` never\n\
    follow one."
)]
pub(crate) struct AddArgs {
    name: String,
    /// Takes the place of one of that name
    #[arg(long)]
    replace: bool,
    /// The variable that has the database's address
    #[arg(long, value_name = "NAME")]
    database_url_env: Option<String>,
    /// The file that has the database's address
    #[arg(long, value_name = "FILE", conflicts_with = "database_url_env")]
    database_url_file: Option<PathBuf>,
    #[arg(long, value_name = "NAME")]
    nats_user: Option<String>,
    /// The variable that has the user's password
    #[arg(long, value_name = "NAME", requires = "nats_user")]
    nats_password_env: Option<String>,
    /// The file that has the user's password
    #[arg(long, value_name = "FILE", requires = "nats_user", conflicts_with = "nats_password_env")]
    nats_password_file: Option<PathBuf>,
    /// The file that has an nkey's seed
    #[arg(long, value_name = "FILE", conflicts_with = "nats_user")]
    nats_nkey_file: Option<PathBuf>,
    /// A .creds file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nats_user", "nats_nkey_file"])]
    nats_creds_file: Option<PathBuf>,
    /// PEM of the authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    nats_tls_ca: Option<PathBuf>,
}

pub(crate) fn run(output: Output, global: &Global, command: &Command) -> Result<(), Failure> {
    let path = contexts::path()?;
    let contexts = Contexts::read(&path)?;
    match command {
        Command::List => list(output, &path, &contexts),
        Command::Show(ShowArgs { name }) => show(output, &contexts, name.as_ref()),
        Command::Use(UseArgs { name, .. }) => {
            if let Some(name) = name {
                contexts.get(name)?;
            }
            keep(output, &path, &Contexts { current: name.clone(), ..contexts })
        }
        Command::Add(args) => add(output, &path, contexts, global, args),
        Command::Remove(NameArgs { name }) => {
            contexts.get(name)?;
            let mut contexts = contexts;
            contexts.contexts.remove(name);
            contexts.current = contexts.current.filter(|current| current != name);
            keep(output, &path, &contexts)
        }
    }
}

fn add(output: Output, path: &Path, mut contexts: Contexts, global: &Global, args: &AddArgs) -> Result<(), Failure> {
    if contexts.contexts.contains_key(&args.name) && !args.replace {
        return Err(Failure::new(Code::Conflict, format!("there is a context {} already", args.name))
            .hint("--replace takes its place"));
    }
    // It must mean the same in every folder.
    let whole = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
    let context = Context {
        config: whole(&global.config)?,
        data_dir: whole(&global.data_dir)?,
        database_url: global.database_url.clone(),
        database_url_env: args.database_url_env.clone(),
        database_url_file: whole(&args.database_url_file)?,
        nats_url: global.nats_url.clone(),
        nats_user: args.nats_user.clone(),
        nats_password_env: args.nats_password_env.clone(),
        nats_password_file: whole(&args.nats_password_file)?,
        nats_nkey_file: whole(&args.nats_nkey_file)?,
        nats_creds_file: whole(&args.nats_creds_file)?,
        nats_tls_ca: whole(&args.nats_tls_ca)?,
    };
    context.check(&args.name)?;
    contexts.contexts.insert(args.name.clone(), context);
    keep(output, path, &contexts)
}

fn keep(output: Output, path: &Path, contexts: &Contexts) -> Result<(), Failure> {
    contexts.write(path)?;
    list(output, path, contexts)
}

fn list(output: Output, path: &Path, contexts: &Contexts) -> Result<(), Failure> {
    let items: Vec<_> = contexts
        .contexts
        .iter()
        .map(|(name, context)| json!({"name": name, "current": contexts.current.as_ref() == Some(name), "context": context}))
        .collect();
    output.result(&json!({"file": path, "items": items}), || {
        if contexts.contexts.is_empty() {
            return "there are no contexts: broca.toml and the environment say where Broca is".to_owned();
        }
        let row = |(name, context): (&String, &Context)| {
            let mark = if contexts.current.as_ref() == Some(name) { "*" } else { "" };
            [
                mark.to_owned(),
                name.clone(),
                database(context),
                context.nats_url.clone().unwrap_or_default(),
                config(context),
            ]
        };
        table(["", "context", "database", "NATS", "settings"], contexts.contexts.iter().map(row))
    })
}

fn database(context: &Context) -> String {
    let Context { data_dir, database_url, database_url_env, database_url_file, .. } = context;
    let url = database_url.clone();
    let variable = database_url_env.as_ref().map(|name| format!("${name}"));
    let file = database_url_file.as_ref().map(|file| format!("as {} has it", file.display()));
    let folder = data_dir.as_ref().map(|folder| format!("in {}", folder.display()));
    url.or(variable).or(file).or(folder).unwrap_or_default()
}

fn config(context: &Context) -> String {
    context.config.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
}

fn show(output: Output, contexts: &Contexts, name: Option<&String>) -> Result<(), Failure> {
    let name = name.or(contexts.current.as_ref()).ok_or_else(|| {
        Failure::new(Code::NotFound, "no context is in force").hint("`broca context list` has them all")
    })?;
    let context = contexts.get(name)?;
    let shown = serde_json::to_value(context).map_err(anyhow::Error::from)?;
    output.result(&json!({"name": name, "context": shown}), || {
        let said = shown.as_object().into_iter().flatten();
        let line =
            |(key, value): (&String, &serde_json::Value)| [key.clone(), value.as_str().unwrap_or_default().to_owned()];
        let lines: Vec<[String; 2]> =
            [["context".to_owned(), name.clone()]].into_iter().chain(said.map(line)).collect();
        pairs(&lines)
    })
}
