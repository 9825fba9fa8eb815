//! Whether the settings make sense together. Everything that is wrong is said at once.

use broca_core::{access::Policy, burst::Coalesce, route::Mode};

use super::{AgentKind, AgentSettings, Loaded};
use crate::failure::{Code, Failure};

/// # Errors
/// Each problem names its key, where its value came from, and what is allowed.
pub(super) fn check(loaded: &Loaded) -> Result<(), Failure> {
    let mut problems = Problems { loaded, found: Vec::new() };
    ranges(&mut problems);
    servers(&mut problems);
    agents(&mut problems);
    routes(&mut problems);
    traces(&mut problems);
    access(&mut problems);
    if problems.found.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Code::Usage, problems.found.join("\nerror: "))
        .hint("`broca config show` prints every value with where it comes from; deploy/broca.toml explains the keys"))
}

struct Problems<'a> {
    loaded: &'a Loaded,
    found: Vec<String>,
}

impl Problems<'_> {
    fn add(&mut self, key: &str, what: &str) {
        self.found.push(format!("{key} (from {}): {what}", self.loaded.source_of(key)));
    }

    fn between(&mut self, key: &str, value: u64, least: u64, most: u64) {
        if !(least..=most).contains(&value) {
            self.add(key, &format!("is {value}; use {least} to {most}"));
        }
    }
}

const HOUR_MS: u64 = 3_600_000;
const WEEK_S: u64 = 7 * 86_400;
/// In days.
const CENTURY: u64 = 36_500;

fn ranges(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    let (worker, delivery) = (&settings.worker, &settings.delivery);
    let numbers = [
        ("database.max_connections", u64::from(settings.database.max_connections), 1, 1_000),
        ("worker.slots", worker.slots as u64, 1, 50_000),
        ("worker.lease_ttl_ms", worker.lease_ttl_ms, 1_000, HOUR_MS),
        ("worker.drain_ms", worker.drain_ms, 0, HOUR_MS),
        ("worker.yield_after_messages", u64::from(worker.yield_after_messages), 1, 1_000_000),
        ("worker.yield_after_ms", worker.yield_after_ms, 1, 24 * HOUR_MS),
        ("worker.sweep_interval_ms", worker.sweep_interval_ms, 10, HOUR_MS),
        ("worker.sweep_grace_ms", worker.sweep_grace_ms, 0, HOUR_MS),
        ("delivery.slots", delivery.slots as u64, 1, 10_000),
        ("delivery.timeout_ms", delivery.timeout_ms, 100, HOUR_MS),
        ("delivery.lease_ttl_ms", delivery.lease_ttl_ms, 1_000, HOUR_MS),
        ("delivery.sweep_interval_ms", delivery.sweep_interval_ms, 10, HOUR_MS),
        ("delivery.drain_ms", delivery.drain_ms, 0, HOUR_MS),
        ("limits.max_text_bytes", settings.limits.max_text_bytes as u64, 1, 512 * 1024),
        ("limits.max_json_bytes", settings.limits.max_json_bytes as u64, 2, 256 * 1024),
        ("audit.interval_s", settings.audit.interval_s, 0, 86_400),
        ("audit.overdue_s", settings.audit.overdue_s, 1, 86_400),
        ("quarantine_after", u64::from(settings.quarantine_after), 0, 1_000),
        ("events.max_per_s", u64::from(settings.events.max_per_s), 1, 100_000),
        ("retention.interval_s", settings.retention.interval_s, 0, 86_400),
        ("retention.messages_days", settings.retention.messages_days, 0, CENTURY),
        ("retention.dead_letters_days", settings.retention.dead_letters_days, 0, CENTURY),
        ("retention.open_dead_letters_days", settings.retention.open_dead_letters_days, 0, CENTURY),
        ("retention.events_days", settings.retention.events_days, 0, CENTURY),
        ("retention.records_days", settings.retention.records_days, 0, CENTURY),
        ("retention.dedupe_days", settings.retention.dedupe_days, 0, CENTURY),
        ("up.workers", settings.up.workers as u64, 1, 64),
        ("up.stop_grace_ms", settings.up.stop_grace_ms, 0, HOUR_MS),
    ];
    for (key, value, least, most) in numbers {
        problems.between(key, value, least, most);
    }
    streams(problems);
    for (name, agent) in &settings.agents {
        problems.between(&format!("agents.{name}.turn_timeout_s"), agent.turn_timeout_s, 1, 86_400);
        stuck_after(problems, name, agent);
        problems.between(&format!("agents.{name}.delay_ms"), agent.delay_ms, 0, HOUR_MS);
        pace(problems, name, agent);
        if agent.user_memory.is_some() && (agent.kind != AgentKind::Letta || agent.user_memory_label.trim().is_empty())
        {
            let what = "needs an agent of kind letta, and a user_memory_label that is not empty";
            problems.add(&format!("agents.{name}.user_memory"), what);
        }
    }
    for (key, policy) in [("retry", &settings.retry), ("delivery_retry", &settings.delivery_retry)] {
        retry(problems, key, policy);
    }
    notice(problems, "notice", &settings.notice);
    for (place, route) in settings.routes.iter().enumerate() {
        if let Some(policy) = &route.notice {
            notice(problems, &format!("routes.{place}.notice"), policy);
        }
        if let Some(failures) = route.quarantine_after {
            problems.between(&format!("routes.{place}.quarantine_after"), u64::from(failures), 0, 1_000);
        }
        if let Some(policy) = &route.retry {
            retry(problems, &format!("routes.{place}.retry"), policy);
        }
        if let Some(coalesce) = &route.coalesce {
            let key = |key: &str| format!("routes.{place}.coalesce.{key}");
            problems.between(&key("window_ms"), coalesce.window_ms, 0, HOUR_MS);
            let most = u64::from(Coalesce::MOST_MESSAGES);
            problems.between(&key("max_messages"), u64::from(coalesce.max_messages), 1, most);
            problems.between(&key("max_bytes"), coalesce.max_bytes as u64, 1, 1 << 20);
        }
    }
}

fn streams(problems: &mut Problems<'_>) {
    let streams = &problems.loaded.settings.retention.streams;
    let terabyte = 1 << 20;
    for (key, value, least, most) in [
        ("dlq_days", streams.dlq_days, 0, CENTURY),
        ("dlq_mb", streams.dlq_mb, 1, terabyte),
        ("events_hours", streams.events_hours, 0, 24 * CENTURY),
        ("events_mb", streams.events_mb, 1, terabyte),
        ("in_mb", streams.in_mb, 1, terabyte),
        ("out_mb", streams.out_mb, 1, terabyte),
    ] {
        if let Some(value) = value {
            problems.between(&format!("retention.streams.{key}"), value, least, most);
        }
    }
}

fn pace(problems: &mut Problems<'_>, name: &str, agent: &AgentSettings) {
    let key = |key: &str| format!("agents.{name}.{key}");
    for (limit, turns) in [
        ("max_concurrent_turns", agent.max_concurrent_turns),
        ("endpoint_max_concurrent_turns", agent.endpoint_max_concurrent_turns),
    ] {
        if let Some(turns) = turns {
            problems.between(&key(limit), u64::from(turns), 1, 100_000);
        }
    }
    problems.between(&key("breaker_failures"), u64::from(agent.breaker_failures), 0, 1_000);
    problems.between(&key("breaker_open_ms"), agent.breaker_open_ms, 1, HOUR_MS);
    problems.between(
        &key("breaker_open_max_ms"),
        agent.breaker_open_max_ms,
        agent.breaker_open_ms.max(1),
        24 * HOUR_MS,
    );
    if let (Some(own), Some(least)) =
        (agent.endpoint_max_concurrent_turns, problems.loaded.settings.endpoint_limit(agent))
        && own > least
    {
        let what =
            format!("is {own}, but another agent at the same endpoint says {least}; set it for one of them, or alike");
        problems.add(&key("endpoint_max_concurrent_turns"), &what);
    }
}

/// Silence must be found out while the turn still has time: what is overdue is cancelled and never said again by itself.
fn stuck_after(problems: &mut Problems<'_>, name: &str, agent: &AgentSettings) {
    let Some(stuck_after) = agent.stuck_after_s else { return };
    let key = format!("agents.{name}.stuck_after_s");
    problems.between(&key, stuck_after, 1, 86_400);
    if stuck_after >= agent.turn_timeout_s {
        let turn = agent.turn_timeout_s;
        problems.add(
            &key,
            &format!(
                "is {stuck_after}, and a turn's time (turn_timeout_s) is over after {turn}: a run that dies with its \
                 server would count as overdue, and its message as failed; use less, or leave it out"
            ),
        );
    }
}

/// A few sentences, at the most.
const NOTICE_BYTES: usize = 4_096;

fn notice(problems: &mut Problems<'_>, key: &str, policy: &broca_core::notice::NoticePolicy) {
    let others = policy.texts.iter().map(|(class, text)| (format!("{key}.texts.{class}"), text));
    for (key, text) in std::iter::once((format!("{key}.text"), &policy.text)).chain(others) {
        if text.len() > NOTICE_BYTES {
            problems.add(&key, &format!("has {} bytes; use {NOTICE_BYTES} at the most", text.len()));
        }
    }
}

fn retry(problems: &mut Problems<'_>, key: &str, policy: &broca_core::retry::RetryPolicy) {
    problems.between(&format!("{key}.max_attempts"), u64::from(policy.max_attempts), 1, 1_000);
    problems.between(&format!("{key}.initial_ms"), policy.initial_ms, 1, HOUR_MS);
    problems.between(&format!("{key}.max_ms"), policy.max_ms, policy.initial_ms.max(1), 24 * HOUR_MS);
    problems.between(&format!("{key}.max_age_s"), policy.max_age_s, 0, 52 * WEEK_S);
    if !(1.0..=100.0).contains(&policy.multiplier) {
        problems.add(&format!("{key}.multiplier"), &format!("is {}; use 1 to 100", policy.multiplier));
    }
    if !(0.0..=1.0).contains(&policy.jitter) {
        problems.add(&format!("{key}.jitter"), &format!("is {}; use 0 to 1", policy.jitter));
    }
}

fn servers(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    if let Some(url) = &settings.database.url {
        let known = ["postgres://", "postgresql://", "sqlite:"];
        if !known.iter().any(|scheme| url.expose().starts_with(scheme)) {
            problems.add("database.url", "use postgres://user:password@host/database or sqlite:<path>");
        }
    }
    if let Some(url) = &settings.nats.url
        && !url.expose().split(',').all(|one| one.starts_with("nats://") || one.starts_with("tls://"))
    {
        problems.add("nats.url", "use nats://host:port or tls://host:port, several of them with a comma between");
    }
    if let Some(replicas) = settings.nats.replicas.filter(|replicas| ![1, 3, 5].contains(replicas)) {
        problems.add("nats.replicas", &format!("is {replicas}; use 1, 3 or 5"));
    }
    let nats = &settings.nats;
    let ways = [nats.user.is_some(), nats.nkey.is_some(), nats.creds_file.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        problems.add("nats", "set only one of user, nkey and creds_file");
    }
    if nats.url.is_none() && ways.contains(&true) {
        problems.add(
            "nats.url",
            "is missing, but there are credentials for it; the server that `broca up` starts needs none",
        );
    }
    if nats.password.is_some() != nats.user.is_some() {
        problems.add("nats.user", "set user and password together");
    }
}

fn agents(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    // In echo mode no agent is called, so a half-filled .env does no harm.
    if !settings.calls_agents() {
        return;
    }
    for (name, agent) in settings.agents.iter().filter(|(_, agent)| agent.kind == AgentKind::Letta) {
        letta(problems, name, agent);
    }
    let default = broca_core::route::DEFAULT_AGENT;
    if settings.effective_mode() == Mode::Live && !settings.agents.contains_key(default) {
        problems.add("mode", "is live, but there is no agent: set agents.default.endpoint and agents.default.agent_id");
    }
}

fn letta(problems: &mut Problems<'_>, name: &str, agent: &AgentSettings) {
    let endpoint = format!("agents.{name}.endpoint");
    match agent.endpoint.as_deref() {
        None | Some("") => problems.add(&endpoint, "is missing; give the Letta server, e.g. http://localhost:8283"),
        Some(text) if is_placeholder(text) => problems.add(&endpoint, PLACEHOLDER),
        Some(text) if !text.starts_with("http://") && !text.starts_with("https://") => {
            problems.add(&endpoint, "must begin with http:// or https://");
        }
        Some(_) => {}
    }
    let agent_id = format!("agents.{name}.agent_id");
    match agent.agent_id.as_deref() {
        None | Some("") => problems.add(&agent_id, "is missing; give the agent's id at Letta (agent-…)"),
        Some(text) if is_placeholder(text) => problems.add(&agent_id, PLACEHOLDER),
        Some(_) => {}
    }
    if agent.api_key.as_ref().is_some_and(|key| is_placeholder(key.expose())) {
        problems.add(&format!("agents.{name}.api_key"), PLACEHOLDER);
    }
}

fn traces(problems: &mut Problems<'_>) {
    let traces = &problems.loaded.settings.traces;
    if traces
        .endpoint
        .as_deref()
        .is_some_and(|address| !address.starts_with("http://") && !address.starts_with("https://"))
    {
        problems.add("traces.endpoint", "must begin with http:// or https://, e.g. http://127.0.0.1:4318");
    }
    if !(0.0..=1.0).contains(&traces.sample_ratio) {
        problems.add("traces.sample_ratio", &format!("is {}; use 0 to 1", traces.sample_ratio));
    }
}

fn routes(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    for (place, route) in settings.routes.iter().enumerate() {
        if route.name.is_empty() {
            problems
                .add(&format!("routes.{place}.name"), "is missing; a name is what messages remember of their route");
        }
        if let Some(agent) = route.agent.as_deref().filter(|name| !settings.agents.contains_key(*name)) {
            let known = settings.agents.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none is" } else { known.as_str() };
            problems.add(&format!("routes.{place}.agent"), &format!("'{agent}' is not configured ({known})"));
        }
    }
}

fn access(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    let pairing = &settings.pairing;
    let numbers = [
        ("pairing.code_life_s", pairing.code_life_s, 60, 7 * 86_400),
        ("pairing.max_open", u64::from(pairing.max_open), 1, 10_000),
        ("pairing.per_day", u64::from(pairing.per_day), 1, 1_000),
    ];
    for (key, value, least, most) in numbers {
        problems.between(key, value, least, most);
    }
    let instances = settings.plugins.iter();
    let instances =
        instances.filter_map(|(name, plugin)| Some((format!("plugins.{name}.access"), plugin.access.as_ref()?)));
    let routes = settings.routes.iter().enumerate();
    let routes = routes.filter_map(|(place, route)| Some((format!("routes.{place}.access"), route.access.as_ref()?)));
    let general = [("access".to_owned(), &settings.access)];
    let owned = settings.access.owner.iter().flatten().next().is_some();
    for (key, place) in general.into_iter().chain(instances).chain(routes) {
        for (name, limit, least) in [
            ("rate_per_minute", place.rate_per_minute, 0),
            ("burst", place.burst, 1),
            ("daily_cap", place.daily_cap, 0),
        ] {
            if let Some(limit) = limit {
                problems.between(&format!("{key}.{name}"), u64::from(limit), least, 1_000_000);
            }
        }
        let own = place.owner.iter().flatten().next().is_some();
        if place.policy == Some(Policy::Owner) && !own && !owned {
            problems.add(&format!("{key}.policy"), "is owner, but nobody is: set owner, e.g. owner = [\"telegram/7\"]");
        }
    }
}

const PLACEHOLDER: &str =
    "is still a placeholder; put the real value there, or use mode = \"echo\" to try without an agent";

/// Whether a value was left as some template had it.
fn is_placeholder(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let whole = ["changeme", "change_me", "change-me", "example", "placeholder", "todo", "xxx", "none", "null"];
    let start = ["your_", "your-", "<", "replace", "example_", "example-", "sk-xxx", "insert_", "enter_"];
    whole.contains(&value.as_str())
        || start.iter().any(|start| value.starts_with(start))
        || value.contains("your_")
        || value.contains("your-")
}

#[cfg(test)]
mod tests {
    use super::is_placeholder;

    #[test]
    fn placeholders_are_told_from_values() {
        for text in ["your_api_key", "CHANGEME", "<agent id>", "example", "https://your-letta.server", "replace-me"] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["agent-0c5b", "http://localhost:8283", "sk-let-8a7b", "letta.example.com"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
