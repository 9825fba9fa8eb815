//! `broca agents`: who answers, whether they are there, and what waits for them.

use broca_admin::{
    agents::AgentHealth,
    operations::{AskAgents, ListAgents, ListedAgent, ShowAgent, ShownAgent, WhichAgent, WhichAgents},
};

use crate::{
    app::App,
    failure::{Code, Failure},
    output::{Tone, paint, pairs, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The agents, the routes that lead to each, and what waits for it; asks none of them
    List,
    /// One of them: what the settings say, and what it says itself
    #[command(visible_alias = "show")]
    Info(InfoArgs),
    /// Asks each of them whether it is there
    #[command(visible_alias = "health-check", after_help = "Exit code 6: one of them is not there.")]
    Status,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// By its name in the settings
    #[arg(default_value = broca_core::route::DEFAULT_AGENT)]
    name: String,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List => {
            let agents = app.operate::<ListAgents>(&deps, &WhichAgents {}).await?;
            app.output.result(&agents, || {
                let header = ["agent", "kind", "endpoint", "id there", "routes", "waits"];
                table(header, agents.items.iter().map(row))
            })
        }
        Command::Info(InfoArgs { name }) => {
            let shown = app.operate::<ShowAgent>(&deps, &WhichAgent { name: name.clone() }).await?;
            app.output.result(&shown, || text(&shown))
        }
        Command::Status => {
            let asked = app.operate::<AskAgents>(&deps, &WhichAgents {}).await?;
            app.output.result(&asked, || match asked.items.as_slice() {
                [] => "no route is in live mode: no agent is asked".to_owned(),
                items => table(["agent", "state", "version", "what it says"], items.iter().map(health_row)),
            })?;
            let away = asked.items.iter().any(|health| !health.is_there);
            if away { Err(Failure::said(Code::Unavailable as u8)) } else { Ok(()) }
        }
    }
}

fn row(agent: &ListedAgent) -> [String; 6] {
    let missing = || paint(Tone::Bad, "not configured");
    let of = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
    let settings = agent.settings.as_ref();
    [
        agent.name.clone(),
        settings.map_or_else(missing, |settings| settings.kind.clone()),
        of(settings.and_then(|settings| settings.endpoint.as_ref())),
        of(settings.and_then(|settings| settings.agent_id.as_ref())),
        agent.routes.join(", "),
        waits(agent),
    ]
}

/// What keeps its messages waiting.
fn waits(agent: &ListedAgent) -> String {
    let parked: i64 = agent.parked.iter().map(|parked| parked.conversations).sum();
    match (parked, &agent.trouble) {
        (0, None) => "-".to_owned(),
        (n, None) => format!("{n} conversations"),
        (n, Some(trouble)) => paint(
            Tone::Bad,
            &format!("{n} conversations: {}", trouble.reason.as_deref().unwrap_or("its endpoint is in trouble")),
        ),
    }
}

fn is_there(health: &AgentHealth) -> String {
    if health.is_there { paint(Tone::Good, "there") } else { paint(Tone::Bad, "NOT THERE") }
}

fn health_row(health: &AgentHealth) -> [String; 4] {
    let version = health.version.clone().unwrap_or_else(|| "-".to_owned());
    [health.name.clone(), is_there(health), version, health.detail.clone()]
}

fn text(ShownAgent { agent, health }: &ShownAgent) -> String {
    let line = |name: &str, text: String| [name.to_owned(), text];
    let mut lines = vec![line("agent", agent.name.clone())];
    match &agent.settings {
        None => lines.push(line("settings", paint(Tone::Bad, "none: its messages wait"))),
        Some(settings) => {
            lines.push(line("kind", settings.kind.clone()));
            lines.extend(settings.endpoint.clone().map(|endpoint| line("endpoint", endpoint)));
            lines.extend(settings.agent_id.clone().map(|id| line("id there", id)));
            lines.push(line("turn timeout", format!("{} s", settings.turn_timeout_s)));
            lines.extend(settings.max_concurrent_turns.map(|turns| line("turns at a time", turns.to_string())));
        }
    }
    lines.push(line("routes", agent.routes.join(", ")));
    lines.push(line("waits", waits(agent)));
    lines.push(match health {
        Some(health) => line("health", format!("{}: {}", is_there(health), health.detail)),
        None => line("health", "not asked: no route is in live mode, or it is not configured".to_owned()),
    });
    pairs(&lines)
}
