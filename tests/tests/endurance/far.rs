//! The platforms on the far side of each plugin, and how a person writes and is answered there.

use std::{net::SocketAddr, path::Path, time::Duration};

use broca_plugin_webhook::Signer;
use broca_rehearsal::{
    platform::{PlatformScript, ScriptedPlatform},
    telegram::{ScriptedTelegram, TOKEN, TelegramScript, in_private},
};
use broca_tests::{Process, Rig};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::receiver::Receiver;

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const API_KEY: &str = "api_h8hcbfg4uiqfz6sjy1h6ri";
const ADMIN_KEY: &str = "admin_free0ps_and_more";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Telegram,
    /// Its receiver is the platform of its answers.
    Webhook,
    /// The client; its bridge is the server, another process of ours.
    Webchat,
    /// The server; its platform is whoever looks at the page.
    Page,
    /// A program in Python.
    Exec,
}

pub(crate) enum Far {
    Telegram(ScriptedTelegram),
    Webhook { receiver: Receiver, url: String, http: Client },
    Webchat { bridge: Option<Process>, address: SocketAddr, http: Client },
    Exec(ScriptedPlatform),
}

async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn session(person: usize) -> String {
    format!("session_mdwj6v{person:02}_okiiczierw")
}

impl Kind {
    /// The instance whose process is the one that is tested.
    pub(crate) fn instance(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Webhook => "webhook",
            Self::Webchat => "visitors",
            Self::Page => "webchat",
            Self::Exec => "chat",
        }
    }

    pub(crate) fn run(self) -> [&'static str; 3] {
        ["plugin", "run", self.instance()]
    }

    /// The far side, and the settings that lead there.
    pub(crate) async fn far(self) -> (Far, String) {
        match self {
            Self::Telegram => {
                let telegram = ScriptedTelegram::start(TelegramScript::default()).await.unwrap();
                let url = telegram.url();
                let settings = format!(
                    "[plugins.telegram.settings]\ntoken = \"{TOKEN}\"\napi_url = \"{url}\"\nrequire_owner = false\n"
                );
                (Far::Telegram(telegram), settings)
            }
            Self::Webhook => {
                let (receiver, listen) = (Receiver::start(), free().await);
                let settings = format!(
                    "[plugins.webhook.settings]\nlisten = \"{listen}\"\nincoming = {{ secrets = [\"{SECRET}\"] }}\noutgoing = {{ url = \"{}\", secret = \"{SECRET}\" }}\n",
                    receiver.url()
                );
                (Far::Webhook { receiver, url: format!("http://{listen}"), http: Client::new() }, settings)
            }
            Self::Webchat | Self::Page => {
                let address = free().await;
                let client = format!(
                    "[plugins.visitors]\nplugin = \"webchat\"\n[plugins.visitors.settings]\nmode = \"client\"\n[plugins.visitors.settings.client]\napi_url = \"http://{address}\"\napi_key = \"{API_KEY}\"\nadmin_key = \"{ADMIN_KEY}\"\npoll_interval_s = 1\n[[routes]]\nname = \"bridge\"\ninstance = \"webchat\"\nmode = \"listen\"\n"
                );
                let server = format!(
                    "[plugins.webchat.settings]\nmode = \"server\"\n[plugins.webchat.settings.server]\nlisten = \"{address}\"\napi_key = \"{API_KEY}\"\nadmin_key = \"{ADMIN_KEY}\"\nper_minute = {{ public = 1000000, session = 1000000, admin = 1000000, plugin = 1000000 }}\n"
                );
                let far = Far::Webchat { bridge: None, address, http: Client::new() };
                (far, if self == Self::Webchat { server + &client } else { server })
            }
            Self::Exec => {
                let platform = ScriptedPlatform::start(PlatformScript::default()).await.unwrap();
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/exec/examples/python/plugin.py");
                let settings = format!(
                    "[plugins.chat]\nplugin = \"exec\"\n[plugins.chat.settings]\ncommand = [\"python3\", {program:?}]\n[plugins.chat.settings.options]\nurl = \"{}\"\nmax_text_chars = 40\n",
                    platform.url()
                );
                (Far::Exec(platform), settings)
            }
        }
    }
}

impl Far {
    /// Whether the plugin fetches what people write; else they send it, and are told.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self, Self::Telegram(_) | Self::Exec(_))
    }

    /// A person writes where it is fetched.
    pub(crate) fn say(&self, person: usize, text: &str) {
        match self {
            Self::Telegram(telegram) => {
                telegram.say(in_private(i64::try_from(person).unwrap(), text));
            }
            Self::Exec(platform) => {
                platform.say(&format!("p{person:02}"), text);
            }
            Self::Webhook { .. } | Self::Webchat { .. } => panic!("it is told"),
        }
    }

    /// One request with a message; whether it was taken.
    pub(crate) async fn is_taken(&self, person: usize, text: &str) -> bool {
        let id = text.split_whitespace().next().unwrap_or_default();
        match self {
            Self::Webhook { url, http, .. } => {
                let body = json!({"user": format!("p{person:02}"), "text": text}).to_string();
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
                let signature = Signer::new(SECRET).unwrap().sign(id, i64::try_from(now).unwrap(), body.as_bytes());
                let request = http.post(format!("{url}/v1/messages")).header("webhook-id", id);
                let request = request.header("webhook-timestamp", now).header("webhook-signature", signature);
                request.body(body).send().await.is_ok_and(|reply| reply.status() == StatusCode::ACCEPTED)
            }
            Self::Webchat { address, http, .. } => {
                let body = json!({"session_id": session(person), "message": text, "client_message_id": id});
                let request = http.post(format!("http://{address}/api/v1/?action=messages")).json(&body);
                request.send().await.is_ok_and(|reply| reply.status() == StatusCode::OK)
            }
            Self::Telegram(_) | Self::Exec(_) => panic!("it is polled"),
        }
    }

    /// What people were answered, each in order.
    pub(crate) async fn answers(&self, people: usize) -> Vec<String> {
        match self {
            Self::Telegram(telegram) => telegram.log().into_iter().map(|sent| sent.text).collect(),
            Self::Webhook { receiver, .. } => receiver.texts(),
            Self::Exec(platform) => {
                let (mut whole, mut open) = (Vec::new(), std::collections::BTreeMap::<_, String>::new());
                for sent in platform.log() {
                    let text = open.entry(sent.user).or_default();
                    text.push_str(&sent.text);
                    if sent.last {
                        whole.push(std::mem::take(text));
                    }
                }
                whole
            }
            Self::Webchat { address, http, .. } => {
                let mut all = Vec::new();
                for person in 1..=people {
                    let url = format!("http://{address}/api/v1/?action=responses&session_id={}", session(person));
                    let Ok(reply) = http.get(url).send().await else { continue };
                    let Ok(reply) = reply.json::<Value>().await else { continue };
                    let responses = reply["data"]["responses"].as_array().cloned().unwrap_or_default();
                    all.extend(responses.iter().filter_map(|one| one["response"].as_str().map(str::to_owned)));
                }
                all
            }
        }
    }

    /// The far side goes, with every connection.
    pub(crate) async fn goes_away(&mut self) {
        match self {
            Self::Telegram(telegram) => telegram.goes_away().await,
            Self::Exec(platform) => platform.goes_away().await,
            Self::Webhook { receiver, .. } => receiver.goes_away(),
            Self::Webchat { bridge, .. } => bridge.take().expect("there is a bridge").kill9(),
        }
    }

    pub(crate) async fn comes_back(&mut self, rig: &Rig) {
        match self {
            Self::Telegram(telegram) => telegram.comes_back().await.unwrap(),
            Self::Exec(platform) => platform.comes_back().await.unwrap(),
            Self::Webhook { receiver, .. } => receiver.comes_back().await,
            Self::Webchat { bridge, .. } => *bridge = Some(rig.spawn("bridge", &["plugin", "run", "webchat"], &[])),
        }
    }
}
