//! Whether the settings make sense together. Everything that is wrong is said at once.

use broca_core::{access::Policy, attachment::IMAGE_TYPES, route::Mode};

use super::{AgentKind, AgentSettings, Loaded, ranges::RANGES};
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
    attachments(&mut problems);
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

fn ranges(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    // A struct of plain values and maps with text keys always has a JSON form.
    let values = serde_json::to_value(settings).unwrap_or_default();
    for range in RANGES {
        range.values(&values, |key, value| problems.between(key, value, range.least, range.most));
    }
    for (name, agent) in &settings.agents {
        stuck_after(problems, name, agent);
        pace(problems, name, agent);
        if agent.user_memory.is_some() && (agent.kind != AgentKind::Letta || agent.user_memory_label.trim().is_empty())
        {
            let what = "needs an agent of kind letta, and a user_memory_label that is not empty";
            problems.add(&format!("agents.{name}.user_memory"), what);
        }
        if agent.user_identity && agent.user_memory.is_none() {
            problems
                .add(&format!("agents.{name}.user_identity"), "needs user_memory = \"block\", whose people it is for");
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
        if let Some(policy) = &route.retry {
            retry(problems, &format!("routes.{place}.retry"), policy);
        }
    }
}

fn attachments(problems: &mut Problems<'_>) {
    let settings = &problems.loaded.settings;
    let general = ("attachments".to_owned(), settings.attachments.clone());
    let own = settings.plugins.iter().filter_map(|(instance, entry)| {
        let own = entry.attachments.as_ref()?.over(&settings.attachments);
        Some((format!("plugins.{instance}.attachments"), own))
    });
    for (place, policy) in std::iter::once(general).chain(own) {
        for wrong in policy.types.iter().filter(|mime| !IMAGE_TYPES.contains(&mime.as_str())) {
            problems.add(&format!("{place}.types"), &format!("has '{wrong}'; images are {}", IMAGE_TYPES.join(", ")));
        }
    }
}

fn pace(problems: &mut Problems<'_>, name: &str, agent: &AgentSettings) {
    let key = |key: &str| format!("agents.{name}.{key}");
    not_before(
        problems,
        (&key("breaker_open_max_ms"), agent.breaker_open_max_ms),
        (&key("breaker_open_ms"), agent.breaker_open_ms),
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

/// A limit must leave room for what it limits.
fn not_before(problems: &mut Problems<'_>, (key, most): (&str, u64), (of, first): (&str, u64)) {
    if most < first {
        problems.add(key, &format!("is {most}; use {first} or more, which is {of}"));
    }
}

/// Silence must be found out while the turn still has time: what is overdue is cancelled and never said again by itself.
fn stuck_after(problems: &mut Problems<'_>, name: &str, agent: &AgentSettings) {
    let Some(stuck_after) = agent.stuck_after_s else { return };
    let key = format!("agents.{name}.stuck_after_s");
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
    let (initial, most) = (format!("{key}.initial_ms"), format!("{key}.max_ms"));
    not_before(problems, (&most, policy.max_ms), (&initial, policy.initial_ms));
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
    let instances = settings.plugins.iter();
    let instances =
        instances.filter_map(|(name, plugin)| Some((format!("plugins.{name}.access"), plugin.access.as_ref()?)));
    let routes = settings.routes.iter().enumerate();
    let routes = routes.filter_map(|(place, route)| Some((format!("routes.{place}.access"), route.access.as_ref()?)));
    let general = [("access".to_owned(), &settings.access)];
    let owned = settings.access.owner.iter().flatten().next().is_some();
    for (key, place) in general.into_iter().chain(instances).chain(routes) {
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
