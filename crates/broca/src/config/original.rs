//! The environment names of the Python Broca, so that an existing `.env` keeps working.

use super::sources::Flag;

/// What is said about a name that has no counterpart.
pub(super) const WITHOUT_COUNTERPART: &[(&str, &str)] = &[
    ("MESSAGE_PROCESS_TIMEOUT", "a turn ends after agents.default.turn_timeout_s"),
    ("MESSAGE_PROCESS_TIMEOUT_BUFFER", "a turn ends after agents.default.turn_timeout_s"),
    ("USE_BACKGROUND_PROCESSING", "turns always run in the background"),
    ("ENABLE_TMPFILES_IMAGE_ADDENDUM", "images stay in the broker's object store and go to the agent themselves"),
    ("SANCTUM_TMP_UPLOAD_URL", "images stay in the broker's object store and go to the agent themselves"),
    ("WEB_CHAT_MAX_RETRIES", "answers are tried again by [delivery_retry]"),
    ("WEB_CHAT_RETRY_DELAY", "answers are tried again by [delivery_retry]"),
    ("WEB_CHAT_PLUGIN_NAME", "an instance has its name in [plugins]"),
    ("WEB_CHAT_PLATFORM_NAME", "an instance has its name in [plugins]"),
    ("WEB_CHAT_ENABLE_USER_CREATION", "whoever writes is known"),
    ("WEB_CHAT_ENABLE_MESSAGE_LOGGING", "every message is kept; no log has its text"),
];

/// Whether the variable is one of the original's that is read here.
pub(super) fn is_read(name: &str) -> bool {
    NAMES.contains(&name)
}

const NAMES: &[&str] = &[
    "LETTA_API_ENDPOINT",
    "AGENT_ENDPOINT",
    "LETTA_API_KEY",
    "AGENT_API_KEY",
    "AGENT_ID",
    "LONG_TASK_MAX_WAIT",
    "LOG_LEVEL",
    "MESSAGE_MODE",
    "ENABLE_IMAGE_HANDLING",
    "DEBUG_MODE",
    "DB_PATH",
    "TEST_DB_PATH",
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_OWNER_ID",
    "TELEGRAM_OWNER_USERNAME",
    "TELEGRAM_REQUIRE_OWNER",
    "WEB_CHAT_API_URL",
    "WEB_CHAT_API_KEY",
    "WEB_CHAT_POLL_INTERVAL",
];

/// The original's variables as keys of ours. Where the original has two names for one thing, the later one wins.
pub(super) fn layer(env: &dyn Fn(&str) -> Option<String>) -> Vec<Flag> {
    let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    // How long to wait says nothing about whether there is an agent to wait for.
    let of_agent = |name: &str| name.starts_with("AGENT_") || name.starts_with("LETTA_");
    let has_agent = NAMES.iter().any(|name| of_agent(name) && set(name).is_some());
    // Nor is there a bot without its token.
    let has_bot = set("TELEGRAM_BOT_TOKEN").is_some();
    // Nor a bridge without its address.
    let has_bridge = set("WEB_CHAT_API_URL").is_some();
    NAMES
        .iter()
        .filter(|name| **name != "LONG_TASK_MAX_WAIT" || has_agent)
        .filter(|name| !name.starts_with("TELEGRAM_") || has_bot)
        .filter(|name| !name.starts_with("WEB_CHAT_") || has_bridge)
        .filter_map(|name| {
            let (key, value) = ours(name, set(name)?)?;
            Some(Flag { source: format!("environment variable {name}"), key: key.to_owned(), value: value.into() })
        })
        .collect()
}

/// The key and value that the original's variable stands for.
fn ours(name: &str, value: String) -> Option<(&'static str, String)> {
    let row = match name {
        "LETTA_API_ENDPOINT" | "AGENT_ENDPOINT" => ("agents.default.endpoint", value),
        "LETTA_API_KEY" | "AGENT_API_KEY" => ("agents.default.api_key", value),
        "AGENT_ID" => ("agents.default.agent_id", value),
        "LONG_TASK_MAX_WAIT" => ("agents.default.turn_timeout_s", value),
        "LOG_LEVEL" => ("log.level", level_name(&value)),
        "MESSAGE_MODE" => ("mode", value.to_ascii_lowercase()),
        "ENABLE_IMAGE_HANDLING" => ("attachments.enabled", is_true(&value).to_string()),
        "DEBUG_MODE" if is_true(&value) => ("mode", "echo".to_owned()),
        "DB_PATH" | "TEST_DB_PATH" => ("database.url", format!("sqlite:{value}")),
        "TELEGRAM_BOT_TOKEN" => ("plugins.telegram.settings.token", value),
        "TELEGRAM_OWNER_ID" => ("plugins.telegram.settings.owner_id", value),
        "TELEGRAM_OWNER_USERNAME" => ("plugins.telegram.settings.owner_username", value),
        "TELEGRAM_REQUIRE_OWNER" => ("plugins.telegram.settings.require_owner", is_true(&value).to_string()),
        "WEB_CHAT_API_URL" => ("plugins.webchat.settings.client.api_url", value),
        "WEB_CHAT_API_KEY" => ("plugins.webchat.settings.client.api_key", value),
        "WEB_CHAT_POLL_INTERVAL" => ("plugins.webchat.settings.client.poll_interval_s", value),
        _ => return None,
    };
    Some(row)
}

/// Python's level names, which the original takes.
fn level_name(level: &str) -> String {
    match level.to_ascii_uppercase().as_str() {
        "CRITICAL" | "FATAL" => "error".to_owned(),
        "WARNING" => "warn".to_owned(),
        "NOTSET" => "trace".to_owned(),
        plain @ ("ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE") => plain.to_ascii_lowercase(),
        _ => level.to_owned(),
    }
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}
