//! `broca routes`: which agent answers whom.

use broca_admin::operations::{
    ExplainRoute, ListRoutes, ListedRoute, ListedRoutes, RouteExplained, WhichRouted, WhichRoutes,
};
use broca_core::Instance;

use super::which::Which;
use crate::{
    app::App,
    failure::Failure,
    output::{pairs, table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// The routes, in the order in which they are asked
    List,
    /// Which route has a message, and why none before it does
    Explain(ExplainArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  broca routes explain 01a20a75-2634\n  \
    broca routes explain --instance telegram --user 7 --chat -100123 --group\n\n\
    It goes by the settings of today. A mode that is set at run time goes before theirs: `broca mode show`.")]
pub(crate) struct ExplainArgs {
    /// A message that was accepted: its id, or the first digits of it
    #[arg(value_name = "ID", conflicts_with_all = ["instance", "user"], required_unless_present_all = ["instance", "user"])]
    message: Option<Which>,
    /// The plugin instance that a message would come through
    #[arg(long, requires = "user")]
    instance: Option<Instance>,
    /// The person, by the platform's id
    #[arg(long, requires = "instance")]
    user: Option<String>,
    /// The chat, by the platform's id
    #[arg(long, requires = "instance", allow_hyphen_values = true)]
    chat: Option<String>,
    /// It is written in a group
    #[arg(long, requires = "instance")]
    group: bool,
    /// The platform [default: that of the instance's plugin]
    #[arg(long, requires = "instance")]
    platform: Option<String>,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let deps = app.deps().await?;
    match command {
        Command::List => {
            let routes = app.operate::<ListRoutes>(&deps, &WhichRoutes {}).await?;
            app.output.result(&routes, || rows(&routes))
        }
        Command::Explain(args) => {
            let explained = app.operate::<ExplainRoute>(&deps, &args.request(app)).await?;
            app.output.result(&explained, || text(&explained))
        }
    }
}

impl ExplainArgs {
    fn request(&self, app: &App) -> WhichRouted {
        let Self { message, instance, user, chat, group, platform } = self;
        let of_plugin = || Some(app.blueprint(instance.as_ref()?).ok()?.manifest().platform.clone());
        WhichRouted {
            message: message.clone(),
            instance: instance.clone(),
            platform: platform.clone().or_else(of_plugin),
            user: user.clone(),
            chat: chat.clone(),
            group: *group,
        }
    }
}

fn rows(routes: &ListedRoutes) -> String {
    let row = |route: &ListedRoute| {
        let conditions = route.conditions.join(", ");
        [
            route.name.clone(),
            if conditions.is_empty() { "everything".to_owned() } else { conditions },
            route.agent.clone(),
            route.scope.clone().unwrap_or_else(|| "chat in groups, else profile".to_owned()),
            route.mode.map_or_else(|| format!("{} (general)", routes.mode), |mode| mode.to_string()),
        ]
    };
    table(["route", "has what is", "agent", "scope", "mode"], routes.items.iter().map(row))
}

fn text(explained: &RouteExplained) -> String {
    let line = |name: &str, text: &str| [name.to_owned(), text.to_owned()];
    let mut lines: Vec<[String; 2]> =
        explained.passed_over.iter().map(|missed| line(&format!("not {}", missed.route), &missed.because)).collect();
    lines.push(line("route", &explained.route));
    lines.push(line("agent", &explained.agent));
    lines.push(line("scope", &explained.scope));
    lines.push(line("mode", explained.mode.as_str()));
    if let Some(route) = &explained.accepted_by {
        lines.push(line(
            "accepted by",
            &format!("{route}: the settings have changed since, and a replay goes by today's"),
        ));
    }
    pairs(&lines)
}
