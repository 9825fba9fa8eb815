//! What is read, from where, and what is said about what does not fit.

use std::{collections::BTreeSet, fs};

use broca_core::{agent::FailureClass, route::Mode};

use super::{AgentKind, Flag, Loaded, load, settings::LogFormat, show::shown};
use crate::failure::{Code, Failure};

/// Loads a file's text, an environment and flags.
fn loaded(toml: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broca.toml");
    fs::write(&file, toml).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags = flags.iter().filter_map(|(key, value)| Flag::given("--some-flag", key, Some((*value).to_owned())));
    load(Some(&file), env, None, flags.collect())
}

fn refused(toml: &str, env: &[(&str, &str)]) -> String {
    let failure = loaded(toml, env, &[]).unwrap_err();
    assert_eq!(failure.code, Code::Usage);
    failure.to_string()
}

const AGENT: &str = "[agents.default]\nendpoint = 'http://letta:8283'\nagent_id = 'agent-1'\n";

#[test]
fn the_later_source_wins() {
    let file = format!("mode = 'listen'\n{AGENT}[up]\nworkers = 3\n");
    let mode = |env: &[(&str, &str)], flags: &[(&str, &str)]| loaded(&file, env, flags).unwrap().settings.mode;
    assert_eq!(mode(&[], &[]), Some(Mode::Listen));
    assert_eq!(mode(&[("MESSAGE_MODE", "LIVE")], &[]), Some(Mode::Live));
    assert_eq!(mode(&[("MESSAGE_MODE", "live"), ("BROCA_MODE", "echo")], &[]), Some(Mode::Echo));
    assert_eq!(mode(&[("BROCA_MODE", "echo")], &[("mode", "live")]), Some(Mode::Live));
}

#[test]
fn the_mode_follows_the_agent() {
    assert_eq!(loaded("", &[], &[]).unwrap().settings.effective_mode(), Mode::Echo);
    assert_eq!(loaded(AGENT, &[], &[]).unwrap().settings.effective_mode(), Mode::Live);
    let env = [("AGENT_ENDPOINT", "http://letta:8283"), ("AGENT_ID", "agent-1"), ("LONG_TASK_MAX_WAIT", "60")];
    let settings = loaded("", &env, &[]).unwrap().settings;
    assert_eq!((settings.effective_mode(), settings.agents["default"].turn_timeout_s), (Mode::Live, 60));
    let debug = [env.as_slice(), &[("DEBUG_MODE", "true")]].concat();
    assert_eq!(loaded("", &debug, &[]).unwrap().settings.effective_mode(), Mode::Echo);
    // A wait alone is no agent.
    assert_eq!(loaded("", &env[2..], &[]).unwrap().settings.effective_mode(), Mode::Echo);
}

#[test]
fn the_originals_names_are_understood() {
    let env = [
        ("LETTA_API_ENDPOINT", "http://old:1"),
        ("AGENT_ENDPOINT", "http://letta:8283"),
        ("LETTA_API_KEY", "k1"),
        ("AGENT_ID", "agent-1"),
        ("LOG_LEVEL", "WARNING"),
        ("DB_PATH", "data/sanctum.db"),
        ("MESSAGE_PROCESS_TIMEOUT", "900"),
        ("DEBUG_MODE", "false"),
        ("AGENT_API_KEY", ""),
    ];
    let loaded = loaded("", &env, &[]).unwrap();
    let agent = &loaded.settings.agents["default"];
    assert_eq!(agent.endpoint.as_deref(), Some("http://letta:8283"));
    assert_eq!(agent.api_key.as_ref().unwrap().expose(), "k1");
    assert_eq!(loaded.settings.log.level, "warn");
    assert_eq!(loaded.settings.database.url.as_ref().unwrap().expose(), "sqlite:data/sanctum.db");
    assert!(loaded.notices[0].starts_with("MESSAGE_PROCESS_TIMEOUT is not used"), "{:?}", loaded.notices);
    assert_eq!(loaded.source_of("agents.default.endpoint"), "environment variable AGENT_ENDPOINT");
}

#[test]
fn the_originals_bot_is_an_instance_once_it_has_a_token() {
    let names = [("TELEGRAM_OWNER_ID", "7"), ("TELEGRAM_REQUIRE_OWNER", "Yes"), ("TELEGRAM_OWNER_USERNAME", "")];
    assert_eq!(loaded("", &names, &[]).unwrap().settings.plugins.len(), 1);
    let env = [names.as_slice(), &[("TELEGRAM_BOT_TOKEN", "1:hunter2")]].concat();
    let loaded = loaded("", &env, &[]).unwrap();
    let settings: serde_json::Value = loaded.plugin_settings(&"telegram".parse().unwrap(), &[]).unwrap();
    assert_eq!(settings, serde_json::json!({"token": "1:hunter2", "owner_id": "7", "require_owner": "true"}));
    broca_plugin_telegram::blueprint().build(settings).unwrap();
    assert!(!serde_json::to_string(&shown(&loaded)).unwrap().contains("hunter2"));
}

#[test]
fn the_originals_bridge_is_an_instance_once_it_has_an_address() {
    let names = [("WEB_CHAT_API_KEY", "api_hunter2"), ("WEB_CHAT_POLL_INTERVAL", "7")];
    assert_eq!(loaded("", &names, &[]).unwrap().settings.plugins.len(), 1);
    let env = [names.as_slice(), &[("WEB_CHAT_API_URL", "http://bridge:8000")]].concat();
    let loaded = loaded("", &env, &[]).unwrap();
    let settings: serde_json::Value = loaded.plugin_settings(&"webchat".parse().unwrap(), &[]).unwrap();
    assert_eq!(settings["client"]["poll_interval_s"], "7");
    broca_plugin_webchat::blueprint().build(settings).unwrap();
    assert!(!serde_json::to_string(&shown(&loaded)).unwrap().contains("hunter2"));
}

#[test]
fn a_numeric_password_stays_what_it_is_and_a_number_becomes_one() {
    for password in ["0012", "1e5", "true", "[x]", "12345678901234567890123", " a b "] {
        let env = [
            ("BROCA_NATS__USER", "7"),
            ("BROCA_NATS__PASSWORD", password),
            ("BROCA_NATS__URL", "nats://127.0.0.1:4222"),
            ("BROCA_NATS__REQUIRE_TLS", "true"),
            ("BROCA_WORKER__SLOTS", "17"),
            ("BROCA_RETRY__JITTER", "0.5"),
        ];
        let settings = loaded("", &env, &[]).unwrap().settings;
        assert_eq!(settings.nats.password.unwrap().expose(), password);
        assert_eq!((settings.nats.user.as_deref(), settings.nats.require_tls), (Some("7"), true));
        assert_eq!((settings.worker.slots, settings.retry.jitter), (17, 0.5));
    }
    let numeric = loaded("[agents.x]\napi_key = 12345\nkind = 'echo'", &[], &[]).unwrap();
    assert_eq!(numeric.settings.agents["x"].api_key.as_ref().unwrap().expose(), "12345");
}

#[test]
fn an_instance_with_a_dash_can_be_named_in_the_environment() {
    let env = [("BROCA_PLUGINS__SUPPORT_BOT__PLUGIN", "demo"), ("BROCA_PLUGINS__CLI__ENABLED", "false")];
    let settings = loaded("", &env, &[]).unwrap().settings;
    let plugins: Vec<_> = settings.plugins.iter().map(|(name, entry)| (name.as_str(), entry.enabled)).collect();
    assert_eq!(plugins, [("cli", false), ("support-bot", true)]);
}

#[test]
fn what_people_are_told_is_said_for_all_and_for_a_route() {
    let toml = "[notice]\nenabled = true\n[notice.texts]\nrejected = 'No.'\n[[routes]]\nname = 'a'\nquarantine_after = 0\n\
                [routes.notice]\nenabled = false\n";
    let settings = loaded(toml, &[("BROCA_NOTICE__TEXT", "Sorry.")], &[]).unwrap().settings;
    let says = |class| settings.notice.says(class).map(str::to_owned);
    assert_eq!(says(FailureClass::Timeout).as_deref(), Some("Sorry."));
    assert_eq!(says(FailureClass::Rejected).as_deref(), Some("No."));
    assert_eq!((settings.quarantine_after, settings.routes[0].quarantine_after), (5, Some(0)));
    assert!(settings.routes[0].notice.as_ref().is_some_and(|notice| !notice.enabled));
    let wrong = refused("[notice.texts]\nangry = 'No.'\n", &[]);
    assert!(wrong.contains("angry"), "{wrong}");
    let long = refused(&format!("quarantine_after = 9999\n[notice]\ntext = '{}'\n", "x".repeat(5_000)), &[]);
    assert!(long.contains("notice.text") && long.contains("quarantine_after"), "{long}");
}

#[test]
fn what_is_told_of_an_agent_has_no_secret() {
    let toml =
        "[agents.default]\nendpoint = 'http://me:hunter2@letta:8283/'\nagent_id = 'agent-1'\napi_key = 'hunter2'\n";
    let facts = loaded(toml, &[], &[]).unwrap().settings.agents["default"].facts();
    assert_eq!((facts.kind.as_str(), facts.agent_id.as_deref()), ("letta", Some("agent-1")));
    assert_eq!(facts.endpoint, None, "an address with credentials is none that is used");
    let plain = toml.replace("me:hunter2@", "");
    let facts = loaded(&plain, &[], &[]).unwrap().settings.agents["default"].facts();
    assert!(facts.endpoint.is_some_and(|endpoint| endpoint.starts_with("http://letta:8283")));
}

#[test]
fn routes_come_as_tables_or_as_json() {
    let toml = "[[routes]]\nname = 'a'\nuser = '7'\nscope = 'agent'\n";
    assert_eq!(loaded(toml, &[], &[]).unwrap().settings.routes[0].user.as_deref(), Some("7"));
    let env = [("BROCA_ROUTES", r#"[{"name": "b", "group": true}]"#)];
    let routes = loaded(toml, &env, &[]).unwrap().settings.routes;
    assert_eq!((routes[0].name.as_str(), routes[0].group), ("b", Some(true)));
    assert!(refused("", &[("BROCA_ROUTES", "b")]).contains("BROCA_ROUTES, is not a JSON list"));
}

#[test]
fn what_does_not_fit_is_named_with_its_source_and_what_is_allowed() {
    let unknown = refused("", &[("BROCA_NATS__ULR", "nats://x")]);
    assert!(unknown.contains("nats.ulr, from environment variable BROCA_NATS__ULR: there is no such key"), "{unknown}");
    assert!(unknown.contains("url, server, user"), "{unknown}");
    let section = refused("[wroker]\nslots = 1", &[]);
    assert!(section.contains("wroker, from ") && section.contains("broca.toml: there is no such key"), "{section}");
    let kind = refused("[up]\nworkers = 'many'", &[]);
    assert!(
        kind.contains("up.workers, from ") && kind.contains("a whole number") && kind.contains("found a text"),
        "{kind}"
    );
    let variant = refused("mode = 'loud'", &[]);
    assert!(variant.contains("mode, from ") && variant.contains("use one of echo, listen, live"), "{variant}");
    let instance = refused("[plugins.'Support Bot']\nplugin = 'cli'", &[]);
    assert!(instance.contains("is not an instance name"), "{instance}");
    let broken = refused("mode = ", &[]);
    assert!(broken.contains("broca.toml"), "{broken}");
    // A wrong value may be a secret in the wrong place.
    assert!(!refused("[up]\nworkers = 'hunter2'", &[]).contains("hunter2"));
}

#[test]
fn a_dead_run_is_found_out_within_its_turns_time() {
    let agent = |more: &str| format!("{AGENT}{more}");
    let stuck = |more: &str| loaded(&agent(more), &[], &[]).unwrap().settings.agents["default"].stuck_after().as_secs();
    assert_eq!([stuck(""), stuck("turn_timeout_s = 60"), stuck("stuck_after_s = 599")], [300, 30, 599]);
    let late = refused(&agent("turn_timeout_s = 60\nstuck_after_s = 60"), &[]);
    assert!(late.contains("agents.default.stuck_after_s (from ") && late.contains("use less"), "{late}");
}

#[test]
fn agents_at_one_endpoint_share_its_limit() {
    let two = |first: &str, second: &str| {
        let agent = |name: &str, endpoint: &str, more: &str| {
            format!("[agents.{name}]\nendpoint = '{endpoint}'\nagent_id = 'agent-1'\n{more}\n")
        };
        agent("default", "http://letta:8283", first) + &agent("other", "http://letta:8283/v1/", second)
    };
    let limit = |toml: &str| {
        let settings = loaded(toml, &[], &[]).unwrap().settings;
        ["default", "other"].map(|name| settings.endpoint_limit(&settings.agents[name]))
    };
    assert_eq!(limit(&two("", "")), [None, None]);
    assert_eq!(limit(&two("endpoint_max_concurrent_turns = 3", "")), [Some(3), Some(3)]);
    let text = refused(&two("endpoint_max_concurrent_turns = 3", "endpoint_max_concurrent_turns = 4"), &[]);
    assert!(text.contains("agents.other.endpoint_max_concurrent_turns (from "), "{text}");
    let text = refused(&two("breaker_open_ms = 9000\nbreaker_open_max_ms = 8000\nmax_concurrent_turns = 0", ""), &[]);
    assert!(text.contains("breaker_open_max_ms") && text.contains("max_concurrent_turns"), "{text}");
}

#[test]
fn everything_out_of_range_is_said_at_once() {
    let text = refused(
        "[up]\nworkers = 0\n[retry]\njitter = 2.0\nmax_ms = 1\n[nats]\nreplicas = 2",
        &[("BROCA_NATS__URL", "127.0.0.1")],
    );
    for part in [
        "up.workers (from ",
        "is 0; use 1 to 64",
        "retry.jitter (from ",
        "retry.max_ms (from ",
        "nats.replicas",
        "nats.url (from environment variable BROCA_NATS__URL): use nats://",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn placeholders_are_refused_unless_nobody_is_called() {
    let env =
        [("AGENT_ENDPOINT", "https://your-letta.server"), ("AGENT_ID", "your_agent_id"), ("AGENT_API_KEY", "changeme")];
    let text = refused("", &env);
    for key in ["agents.default.endpoint", "agents.default.agent_id", "agents.default.api_key"] {
        assert!(text.contains(&format!("{key} (from environment variable")), "{key} is not in {text}");
    }
    assert!(text.contains("placeholder") && !text.contains("changeme"), "{text}");
    loaded("mode = 'echo'", &env, &[]).unwrap();
    assert!(refused("", &[("AGENT_ID", "agent-1")]).contains("agents.default.endpoint (from default): is missing"));
    assert!(refused("mode = 'live'", &[]).contains("there is no agent"));
    assert!(refused("[[routes]]\nname = 'a'\nagent = 'b'", &[]).contains("'b' is not configured (none is)"));
    let coalesce = |what: &str| refused(&format!("[[routes]]\nname = 'a'\ncoalesce = {{ {what} }}"), &[]);
    assert!(coalesce("window_ms = 3600001").contains("routes.0.coalesce.window_ms"));
    assert!(coalesce("max_messages = 0").contains("routes.0.coalesce.max_messages"));
    assert!(coalesce("max_bytes = 0").contains("routes.0.coalesce.max_bytes"));
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    fs::write(&file, "s3cret\n").unwrap();
    let toml = format!("{AGENT}api_key_file = '{}'\n[plugins.cli.settings]\nbot_token = 'hunter2'", file.display());
    let both = loaded(&toml, &[], &[("database.url", "postgres://a:hunter2@db/x")]).unwrap();
    assert_eq!(both.settings.agents["default"].api_key.as_ref().unwrap().expose(), "s3cret");
    let rows = shown(&both);
    let text = serde_json::to_string(&rows).unwrap() + &format!("{:?}", both.settings);
    assert!(!text.contains("s3cret") && !text.contains("hunter2@"), "{text}");
    assert!(!serde_json::to_string(&rows).unwrap().contains("hunter2"));
    let key = rows.iter().find(|row| row.key == "agents.default.api_key").unwrap();
    assert!(key.source.ends_with("broca.toml (agents.default.api_key_file)"), "{}", key.source);

    let twice = loaded(&toml, &[("AGENT_API_KEY", "x")], &[]).unwrap_err().to_string();
    assert!(twice.contains("both agents.default.api_key (from environment variable AGENT_API_KEY)"), "{twice}");
    let missing = refused("[database]\nurl_file = '/does/not/exist'", &[]);
    assert!(missing.contains("database.url_file") && missing.contains("/does/not/exist"), "{missing}");
}

#[test]
fn a_settings_file_that_was_named_must_exist() {
    let failure = load(Some("/does/not/exist.toml".as_ref()), [], None, vec![]).unwrap_err();
    assert!(failure.message.contains("flag --config"), "{}", failure.message);
    let env = [("BROCA_CONFIG".to_owned(), "/does/not/exist.toml".to_owned())];
    assert!(load(None, env, None, vec![]).unwrap_err().message.contains("BROCA_CONFIG"));
}

#[test]
fn flags_reach_child_processes_as_variables() {
    let parent = loaded("", &[], &[("nats.url", "nats://h:1"), ("mode", "listen")]).unwrap();
    let env = parent.flags_as_env();
    let pairs: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("BROCA_NATS__URL", "nats://h:1"), ("BROCA_MODE", "listen")]);
    assert_eq!(loaded("", &pairs, &[]).unwrap().settings.mode, Some(Mode::Listen));
}

/// `deploy/broca.toml` with its settings switched on; with `all`, also those that exclude another.
fn sample(all: bool) -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/broca.toml")).unwrap();
    let on = |line: &str| match line.strip_prefix("#|") {
        Some(other) => all.then(|| other.to_owned()),
        None => match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                Some(setting.to_owned())
            }
            _ => Some(line.to_owned()),
        },
    };
    text.lines().filter_map(on).map(|line| line + "\n").collect()
}

#[test]
fn the_sample_is_understood_as_it_is_and_changes_nothing() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/broca.toml")).unwrap();
    // Its one agent has no values yet, which is an agent that is half configured.
    let text = text.replace("[agents.default]", "");
    let settings = loaded(&text, &[], &[]).unwrap().settings;
    assert_eq!((settings.log.format, settings.up.workers), (LogFormat::Pretty, 2));
    assert_eq!(settings.plugins.len(), 1);
}

#[test]
fn the_sample_with_everything_switched_on_is_valid_and_names_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "postgres://x").unwrap();
    let secret = dir.path().join("secret").display().to_string();
    let text: String = sample(false)
        .lines()
        .map(|line| match line.split_once("_file = ") {
            Some((key, _)) => format!("{key}_file = '{secret}'\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let sample = loaded(&text, &[], &[]).unwrap();
    assert_eq!(sample.settings.agents["default"].kind, AgentKind::Letta);
    let plugin: broca_plugin_cli::CliSettings = sample.plugin_settings(&"cli".parse().unwrap(), &[]).unwrap();
    assert!(plugin.socket.ends_with("cli.sock"));
    let bot: serde_json::Value = sample.plugin_settings(&"telegram".parse().unwrap(), &[]).unwrap();
    broca_plugin_telegram::blueprint().build(bot).unwrap();
    let chats: serde_json::Value = sample.plugin_settings(&"webchat".parse().unwrap(), &[]).unwrap();
    broca_plugin_webchat::blueprint().build(chats).unwrap();

    let defaults = shown(
        &loaded("[agents.default]\n[plugins.cli.settings]\nsocket = 'x'\n", &[("BROCA_MODE", "echo")], &[]).unwrap(),
    );
    let optional = ["mode", "plugins.cli.plugin", "plugins.cli.settings.socket"];
    for default in defaults.iter().filter(|row| !row.value.is_null() && !optional.contains(&row.key.as_str())) {
        let row = shown(&sample).into_iter().find(|row| row.key == default.key);
        if default.key != "routes" {
            assert_eq!(row.map(|row| row.value).as_ref(), Some(&default.value), "deploy/broca.toml: {}", default.key);
        }
    }
}

#[test]
fn the_sample_covers_every_key() {
    let all: toml::Table = toml::from_str(&sample(true)).unwrap();
    let mut mentioned = BTreeSet::new();
    keys(String::new(), &toml::Value::Table(all), &mut mentioned);
    let settings =
        loaded("[agents.default]\n[plugins.cli.settings]\nsocket = 'x'\n", &[("BROCA_MODE", "echo")], &[]).unwrap();
    for row in shown(&settings) {
        assert!(mentioned.contains(&row.key), "deploy/broca.toml says nothing about {}", row.key);
    }
    let bot = broca_plugin_telegram::blueprint().settings_schema().json()["properties"].clone();
    for key in bot.as_object().unwrap().keys().map(|key| format!("plugins.telegram.settings.{key}")) {
        assert!(mentioned.contains(&key), "deploy/broca.toml says nothing about {key}");
    }
    let webchat = broca_plugin_webchat::blueprint().settings_schema().json()["$defs"].clone();
    for (table, of) in [("client", "ClientSettings"), ("server", "ServerSettings"), ("server.per_minute", "PerMinute")]
    {
        for key in webchat[of]["properties"].as_object().unwrap().keys() {
            let key = format!("plugins.webchat.settings.{table}.{key}");
            assert!(mentioned.contains(&key), "deploy/broca.toml says nothing about {key}");
        }
    }
    for key in [
        "name",
        "platform",
        "instance",
        "chat",
        "user",
        "group",
        "agent",
        "scope",
        "mode",
        "busy",
        "coalesce.window_ms",
    ] {
        assert!(
            mentioned.contains(&format!("routes.0.{key}")),
            "deploy/broca.toml says nothing about {key} of a route"
        );
    }
}

fn keys(prefix: String, value: &toml::Value, found: &mut BTreeSet<String>) {
    found.insert(prefix.clone());
    let join = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(name, value)| keys(join(name), value, found)),
        toml::Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, value)| keys(join(&at.to_string()), value, found))
        }
        _ => {}
    }
}
