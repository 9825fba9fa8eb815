//! The plugin: one bot.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use broca_core::{
    DeliveryError, MessageId, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
};
use broca_plugin::{
    Applied, Blueprint, Capabilities, Context, Manifest, Markdown, Parts, Plugin, PluginError, PluginState, Secret,
    SettingsError, Typing, typed,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    api::Api,
    command,
    deliver::Outbox,
    gate::Refusals,
    health::{Health, Persistent, persist, state_of},
    inbox::Inbox,
    notice::Notices,
    pace::Pace,
    place, poll,
    settings::{SharedRules, TelegramSettings},
    text::MAX_TEXT_UNITS,
    webhook,
};

/// The plugin as the binary finds it.
pub fn blueprint() -> Blueprint {
    Blueprint::new(manifest(), TelegramPlugin::new)
}

fn manifest() -> Manifest {
    let capabilities = Capabilities {
        max_text_chars: Some(MAX_TEXT_UNITS),
        typing: true,
        attachments: true,
        threads: true,
        markdown: Markdown::Telegram,
        ..Capabilities::default()
    };
    Manifest { capabilities, ..Manifest::new("telegram", env!("CARGO_PKG_VERSION")) }
}

/// Serves one bot, by the bot API.
///
/// Telegram can be asked neither whether it has a message nor whether it knows one, and takes no idempotency key: an
/// answer whose delivery was cut off is unknown ([`Plugin::settle`] is the default), and never sent again blindly.
#[derive(Debug)]
pub struct TelegramPlugin {
    settings: TelegramSettings,
    rules: SharedRules,
    api: OnceLock<Api>,
    pace: Arc<Pace>,
    refusals: Arc<Refusals>,
    /// Telegram wants to be left alone with typing until then.
    quiet_until: Mutex<Option<Instant>>,
}

impl TelegramPlugin {
    /// # Errors
    /// [`PluginError::Settings`] says which of them do not fit each other.
    pub fn new(settings: TelegramSettings) -> Result<Self, PluginError> {
        settings.check()?;
        Ok(Self {
            rules: SharedRules::new(settings.rules()),
            settings,
            api: OnceLock::new(),
            pace: Arc::default(),
            refusals: Arc::default(),
            quiet_until: Mutex::new(None),
        })
    }

    /// The client; the token is read when it is first needed.
    fn api(&self) -> Result<Api, PluginError> {
        if let Some(api) = self.api.get() {
            return Ok(api.clone());
        }
        let token = read(&self.settings.token, "token")?;
        if !is_token(token.expose_secret()) {
            return Err(PluginError::Settings(
                "token is not one that @BotFather gives: a number, a colon, and letters".into(),
            ));
        }
        let api = Api::new(&self.settings.api_url, &token)
            .map_err(|error| PluginError::Settings(format!("no HTTP client: {}", error.without_url())))?;
        Ok(self.api.get_or_init(|| api).clone())
    }

    async fn serve(&self, api: &Api, inbox: Inbox, health: &mut Health) -> Result<(), PluginError> {
        let Some(url) = &self.settings.webhook_url else {
            // Telegram answers no poll while it has a webhook to call.
            return match persist(&inbox.ctx.shutdown, health, || api.delete_webhook()).await {
                Persistent::Done(_) => poll::run(api, &inbox, health).await,
                Persistent::Stopped => Ok(()),
                Persistent::BadCredentials(error) => Err(error),
            };
        };
        let secret = match &self.settings.webhook_secret {
            Some(secret) => read(secret, "webhook_secret")?,
            None => webhook::secret_of(&read(&self.settings.token, "token")?),
        };
        webhook::run(api, inbox, (url, &self.settings), secret, health).await
    }
}

/// It becomes a part of every address that is called.
fn is_token(text: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.split_once(':').is_some_and(|(id, secret)| {
        id.parse::<u64>().is_ok_and(|id| id > 0) && !secret.is_empty() && secret.chars().all(known)
    })
}

fn read(secret: &Secret, key: &str) -> Result<SecretString, PluginError> {
    secret.read().map_err(|error| PluginError::Settings(format!("{key}: {error}")))
}

#[async_trait]
impl Plugin for TelegramPlugin {
    fn manifest(&self) -> Manifest {
        manifest()
    }

    /// The bot's number, which every token of it begins with.
    fn account(&self) -> Option<String> {
        let token = self.settings.token.read().ok()?;
        token.expose_secret().split_once(':').map(|(bot, _)| bot.to_owned())
    }

    async fn check(&self) -> Result<Option<String>, PluginError> {
        match self.api()?.me().await {
            Ok(me) => Ok(Some(format!("bot {} ({})", me.username.as_deref().unwrap_or("without a name"), me.id))),
            Err(error) => Err(match state_of(&error) {
                PluginState::BadCredentials { detail } => PluginError::Credentials(detail),
                _ => PluginError::Platform(error.to_string()),
            }),
        }
    }

    async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let api = self.api()?;
        let mut health = Health::new(ctx.clone());
        let me = match persist(&ctx.shutdown, &mut health, || api.me()).await {
            Persistent::Done(me) => me,
            Persistent::Stopped => return Ok(()),
            Persistent::BadCredentials(error) => return Err(error),
        };
        tracing::info!(instance = %ctx.instance, bot = me.id, username = me.username, "connected to Telegram");
        if let Err(error) = api.set_commands(&command::MENU).await {
            tracing::info!(%error, "Telegram did not take the menu of commands");
        }
        let notices = Notices::new(api.clone(), self.pace.clone());
        let (rules, refusals) = (self.rules.clone(), self.refusals.clone());
        let inbox = Inbox { api: api.clone(), me, ctx, rules, notices: notices.clone(), refusals };
        let ended = self.serve(&api, inbox, &mut health).await;
        notices.finish().await;
        ended
    }

    async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        _message_id: MessageId,
        parts: &Parts,
    ) -> Result<Receipt, DeliveryError> {
        let api = self.api().map_err(|error| DeliveryError::Retry {
            after: Some(Duration::from_secs(60)),
            failure: Failure::new(FailureClass::Misconfigured, error.to_string()),
        })?;
        let outbox = Outbox { api, pace: self.pace.clone() };
        outbox.deliver(response, profile, parts, &self.rules.now()).await
    }

    async fn apply_settings(&self, settings: Value) -> Result<Applied, SettingsError> {
        let settings: TelegramSettings = typed(settings)?;
        settings.check().map_err(|error| SettingsError::one("", error.to_string()))?;
        if !settings.same_account(&self.settings) {
            return Ok(Applied::Restart);
        }
        self.rules.replace(settings.rules());
        Ok(Applied::Live)
    }

    async fn typing(&self, typing: &Typing) {
        let is_quiet = self.quiet().is_some_and(|until| until > Instant::now());
        let to = place::target(typing.chat_id.as_deref(), &typing.platform_user_id);
        let (Some(to), Ok(api), true) = (to, self.api(), self.rules.now().typing && !is_quiet) else { return };
        let Err(error) = api.typing(to).await else { return };
        tracing::debug!(chat = to.chat, %error, "not seen typing");
        if let Some(wait) = error.refused().and_then(|refused| refused.retry_after) {
            *self.quiet() = Some(Instant::now() + wait);
        }
    }
}

impl TelegramPlugin {
    fn quiet(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::is_token;

    #[test]
    fn what_is_no_token_is_not_called_with() {
        assert!(is_token("4839574812:AAFD39kkdpWt3ywyRZergyOLMaJhac60qcE"));
        for text in ["", "your_token_here", "12:", ":ab", "0:ab", "12:a/../b", "12:a b", "12:a\n", "-1:ab"] {
            assert!(!is_token(text), "{text}");
        }
    }
}
