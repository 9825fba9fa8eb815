//! `broca doctor`: looks at everything that a deployment rests on, says what is wrong and what to do about it.

mod certificates;
mod local;

use std::time::Duration;

use broca_admin::doctor::{self, Finding, Fix, Role, Verdict, worst};
use broca_bus::{Bus, Topology};
use broca_plugin::{Plugin, PluginError};
use broca_store::{AuditLimits, Store};
use serde::Serialize;

use super::nats::{apply_options, apply_when_able};
use crate::{
    agents,
    app::App,
    failure::Failure,
    output::{pairs, state},
    progress::Progress,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing is broken, 1 something is (with --strict: or deserves a look).")]
pub(crate) struct Args {
    /// Mends what is safe to mend: applies migrations, and the broker's streams and consumers
    #[arg(long)]
    fix: bool,
    /// A warning counts as broken
    #[arg(long)]
    strict: bool,
    /// Tries what the broker's user of these settings may do and may not: `worker`, or a plugin instance's name; changes
    /// nothing, and looks at nothing else
    #[arg(long, value_name = "ROLE", conflicts_with = "fix")]
    pub(crate) role: Option<Role>,
}

#[derive(Serialize)]
struct Report {
    verdict: Verdict,
    /// What `--fix` did.
    fixed: Vec<String>,
    findings: Vec<Finding>,
}

pub(crate) async fn run(app: &App, args: &Args) -> Result<(), Failure> {
    if let Some(role) = &args.role {
        let instances: Vec<_> = app.config.settings.plugins.keys().cloned().collect();
        let findings = vec![doctor::rights(&app.bus_now("doctor").await?, role, &instances).await];
        return told(app, Report { verdict: worst(&findings), fixed: Vec::new(), findings }, args.strict);
    }
    let settings = &app.config.settings;
    // To open a database that is not there would make one.
    let nowhere = settings.database.url.is_none() && !settings.data_dir.is_dir();
    let store = if nowhere { Err(app.nothing_runs()) } else { app.store().await };
    let mut patient = Patient { app, store, bus: app.bus_now("doctor").await };
    let working = Progress::of("looking");
    let mut findings = patient.examine().await?;
    let mut fixed = Vec::new();
    if args.fix {
        fixed = patient.mend(&findings).await?;
        if !fixed.is_empty() {
            findings = patient.examine().await?;
        }
    }
    drop(working);
    told(app, Report { verdict: worst(&findings), fixed, findings }, args.strict)
}

fn told(app: &App, report: Report, strict: bool) -> Result<(), Failure> {
    app.output.result(&report, || text(&report))?;
    let bearable = if strict { Verdict::Ok } else { Verdict::Warning };
    if report.verdict <= bearable { Ok(()) } else { Err(Failure::said(1)) }
}

/// What is looked at. A server that is away is a finding, and the others are looked at all the same.
struct Patient<'a> {
    app: &'a App,
    store: Result<Store, Failure>,
    bus: Result<Bus, Failure>,
}

impl Patient<'_> {
    async fn examine(&mut self) -> Result<Vec<Finding>, Failure> {
        let settings = &self.app.config.settings;
        let mut findings = vec![local::disk(&settings.data_dir)];
        findings.extend(local::authorities(settings.nats.tls_ca.as_deref()));
        findings.extend(certificates::presented(&certificates::doors(self.app)).await);
        match &self.store {
            Err(failure) => findings.push(away("database", failure)),
            Ok(store) => {
                let database = doctor::database(store).await;
                let usable = worst(&database) < Verdict::Failed;
                findings.extend(database);
                if usable {
                    let overdue = Duration::from_secs(settings.audit.overdue_s);
                    let limits = AuditLimits { overdue, max_age: self.app.longest_life(overdue) };
                    findings.extend(doctor::work(store, &limits).await?);
                }
            }
        }
        match &self.bus {
            Err(failure) => findings.push(away("broker", failure)),
            Ok(bus) => findings.extend(doctor::broker(bus, &Topology::embedded()?, &apply_options(self.app)).await),
        }
        findings.extend(agents(self.app).await);
        findings.extend(plugins(self.app).await);
        Ok(findings)
    }

    /// Says what was done.
    async fn mend(&self, findings: &[Finding]) -> Result<Vec<String>, Failure> {
        let wanted = |fix: Fix| findings.iter().any(|finding| finding.fix == Some(fix));
        let mut fixed = Vec::new();
        if let Ok(store) = &self.store
            && wanted(Fix::Migrate)
        {
            fixed.extend(store.migrate().await?.into_iter().map(|name| format!("applied {name}")));
        }
        if let Ok(bus) = &self.bus
            && wanted(Fix::ApplyTopology)
        {
            let changes = apply_when_able(&Topology::embedded()?, bus, &apply_options(self.app)).await?;
            fixed.extend(changes.iter().filter(|change| !change.is_unchanged()).map(ToString::to_string));
        }
        Ok(fixed)
    }
}

fn away(subject: &str, failure: &Failure) -> Finding {
    let advice = failure.hint.clone().unwrap_or_else(|| "start it, or correct the settings".to_owned());
    Finding::failed(subject, failure.message.clone(), advice)
}

/// Every configured agent, and what it can do about a turn that is repeated.
async fn agents(app: &App) -> Vec<Finding> {
    let settings = &app.config.settings;
    if !settings.calls_agents() {
        return vec![Finding::ok("agents", "no route is in live mode: none is asked")];
    }
    let agents = match agents::configured(settings) {
        Ok(agents) => agents,
        Err(failure) => return vec![away("agents", &failure)],
    };
    let routes = app.routes();
    let mut wanted: Vec<&str> = routes.agents().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let known = |name: &str| agents.iter().any(|(known, _)| known == name);
    let missing = wanted.iter().filter(|name| !known(name)).map(|name| {
        let detail = "a route leads to it and it is not configured: its messages wait";
        Finding::warning(
            format!("agent {name}"),
            detail,
            format!("add [agents.{name}] to broca.toml, or change the route"),
        )
    });
    let asked = agents::ask(settings, &agents).await.into_iter().map(|asked| {
        let (name, answer) = asked.into_parts();
        let subject = format!("agent {name}");
        match answer {
            Ok(health) if !health.idempotent => Finding::warning(
                subject,
                format!("version {}: {}", health.version, health.detail),
                "put Redis behind Letta: without it a turn that was cut off has to be looked for in the conversation",
            ),
            Ok(health) => Finding::ok(subject, format!("version {}: {}", health.version, health.detail)),
            Err(failure) => Finding::failed(
                subject,
                failure.to_string(),
                format!("start it, or correct [agents.{name}]: its messages wait meanwhile"),
            ),
        }
    });
    missing.chain(asked).collect()
}

/// Whether each enabled instance could be started, and whether its platform takes its credentials.
async fn plugins(app: &App) -> Vec<Finding> {
    let instances = app.enabled_instances();
    if instances.is_empty() {
        return vec![Finding::warning("plugins", "none is enabled", "add [plugins.<instance>] to broca.toml")];
    }
    let findings = instances.iter().map(async |instance| {
        let subject = format!("plugin {instance}");
        match app.plugin(instance) {
            Ok(plugin) => credentials(subject, plugin.as_ref()).await,
            Err(failure) => away(&subject, &failure),
        }
    });
    futures::future::join_all(findings).await
}

/// How long a platform may take to answer.
const PLATFORM_PATIENCE: Duration = Duration::from_secs(10);

async fn credentials(subject: String, plugin: &dyn Plugin) -> Finding {
    let manifest = plugin.manifest();
    let fits = format!("{} {}, its settings fit", manifest.name, manifest.version);
    let late = || Err(PluginError::Platform(format!("no word from it within {PLATFORM_PATIENCE:?}")));
    match tokio::time::timeout(PLATFORM_PATIENCE, plugin.check()).await.unwrap_or_else(|_| late()) {
        Ok(None) => Finding::ok(subject, format!("{fits}; its credentials were not tried")),
        Ok(Some(whose)) => Finding::ok(subject, format!("{fits}; {whose}")),
        // Its own process may have a variable or a file that is not here.
        Err(PluginError::Settings(what)) => Finding::warning(
            subject,
            format!("{fits}, and its credentials could not be tried here: {what}"),
            "run the doctor where the plugin runs, with the same environment",
        ),
        Err(PluginError::Credentials(what)) => {
            Finding::failed(subject, what, "give it new ones; what hangs on them does not work meanwhile")
        }
        Err(PluginError::Platform(what)) => {
            Finding::failed(subject, what, "is the platform away, or its address wrong? answers wait meanwhile")
        }
    }
}

fn text(report: &Report) -> String {
    let rows: Vec<[String; 3]> = report
        .findings
        .iter()
        .map(|finding| {
            let mark = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failed => "FAILED",
            };
            let help = finding.advice.as_ref().map(|advice| format!("; help: {advice}")).unwrap_or_default();
            [state(mark), finding.subject.clone(), format!("{}{help}", finding.detail)]
        })
        .collect();
    let fixed = report.fixed.iter().map(|what| format!("fixed: {what}\n")).collect::<String>();
    format!("{fixed}{}", pairs(&rows))
}
