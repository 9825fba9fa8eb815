//! A bridge of its own: serves the API, a page and a widget.

mod admin;
mod api;
mod asked;
mod book;
mod door;
mod journal;
mod keys;
mod limits;
mod outside;
mod page;
mod public;
mod reply;
mod shared;
mod store;
mod stream;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use broca_core::{
    DeliveryError, MessageId, Profile, Receipt, Response,
    agent::{Failure, FailureClass},
    delivery::Settlement,
};
use broca_plugin::{Context, PluginError, PluginState, Typing};
use tokio::{net::TcpListener, sync::OnceCell};

use crate::{settings::ServerSettings, wire::is_session_id};
use journal::JournalError;
use shared::Shared;
use store::{Bounds, Store, Visitor};

/// How often sessions that are too old are looked for.
const TIDY: Duration = Duration::from_secs(600);
/// A message that is not known by then is one of a session that was forgotten, or of long ago.
const SOON: Duration = Duration::from_millis(500);
/// Requests under way when the process should stop get so long.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Server {
    settings: ServerSettings,
    store: OnceCell<Arc<Store>>,
    address: OnceLock<SocketAddr>,
}

impl Server {
    pub(crate) fn new(settings: ServerSettings) -> Result<Self, PluginError> {
        settings.check()?;
        Ok(Self { settings, store: OnceCell::new(), address: OnceLock::new() })
    }

    /// Where it listens, once it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    async fn store(&self) -> Result<&Arc<Store>, JournalError> {
        let open = || async {
            let ServerSettings { max_entries: entries, max_sessions: sessions, max_mib, .. } = self.settings;
            let bounds = Bounds { sessions, entries, bytes: max_mib << 20 };
            let file = self.settings.file.clone().unwrap_or_default();
            let opened = tokio::task::spawn_blocking(move || Store::open(&file, bounds)).await;
            let gone = |error: tokio::task::JoinError| JournalError::Io {
                path: "the file of chats".to_owned(),
                error: std::io::Error::other(error),
            };
            Ok(Arc::new(opened.map_err(gone)??))
        };
        self.store.get_or_try_init(open).await
    }

    /// The store, once no other process has it; `None` when this one should stop.
    async fn own_store(&self, ctx: &Context) -> Result<Option<Arc<Store>>, PluginError> {
        loop {
            match self.store().await {
                Ok(store) => return Ok(Some(store.clone())),
                Err(error @ JournalError::Taken(_)) => {
                    ctx.report(PluginState::WaitingForAccount { detail: error.to_string() });
                }
                Err(error) => return Err(PluginError::Platform(error.to_string())),
            }
            if ctx.shutdown.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn run(&self, ctx: Context) -> Result<(), PluginError> {
        let Some(store) = self.own_store(&ctx).await? else { return Ok(()) };
        let listen = self.settings.listen;
        let cannot = |error: std::io::Error| PluginError::Platform(format!("cannot listen at {listen}: {error}"));
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        // A plugin runs once.
        let address = *self.address.get_or_init(|| address);
        let shared = Arc::new(Shared::new(ctx.clone(), self.settings.clone(), store)?);
        tracing::info!(%address, "serving web chats");
        ctx.report(PluginState::Connected);
        let app = api::router(shared.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let shutdown = ctx.shutdown.clone();
        let serving = axum::serve(listener, app).with_graceful_shutdown(async move { shutdown.cancelled().await });
        let stopping = async {
            ctx.shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            ended = serving => ended.map_err(cannot),
            () = stopping => Ok(()),
            () = tidy(&shared) => Ok(()),
        }
    }

    pub(crate) async fn deliver(
        &self,
        response: &Response,
        profile: &Profile,
        message_id: MessageId,
    ) -> Result<Receipt, DeliveryError> {
        let visitor = visitor(response, profile)?;
        let store = self.store().await.map_err(|error| not_now(&error.to_string()))?;
        let message =
            |session: &book::Session| session.said.values().find(|said| said.message == message_id).map(|said| said.id);
        if response.attempt == 1 {
            is_said(store, &visitor.session, |session| message(session).is_some()).await;
        }
        let told = store.told(&visitor, (&response.id.to_string(), response.kind), message, &response.text).await;
        let (id, _) = told.map_err(|error| not_now(&error.to_string()))?;
        Ok(Receipt::of(id.to_string()))
    }

    pub(crate) async fn settle(&self, response: &Response) -> Settlement {
        let Ok(store) = self.store().await else { return Settlement::CannotTell };
        match store.has(&response.id.to_string()).await {
            Ok(Some(id)) => Settlement::Delivered(Receipt::of(id.to_string())),
            Ok(None) => Settlement::NotDelivered,
            Err(_) => Settlement::CannotTell,
        }
    }

    pub(crate) async fn typing(&self, typing: &Typing) {
        if let Ok(store) = self.store().await {
            store.typing(&typing.platform_user_id, typing.message_id);
        }
    }
}

async fn tidy(shared: &Shared) {
    loop {
        admin::tidy(shared).await;
        tokio::time::sleep(TIDY).await;
    }
}

/// What is answered at once may be faster than the note of what it answers.
async fn is_said(store: &Store, session: &str, is_there: impl Fn(&book::Session) -> bool) {
    let mut changed = store.listen(session);
    let said = async { while store.session(session, &is_there) != Some(true) && changed.changed().await.is_ok() {} };
    drop(tokio::time::timeout(SOON, said).await);
}

/// The session that the message came from, or the person's latest.
fn visitor(response: &Response, profile: &Profile) -> Result<Visitor, DeliveryError> {
    let named = [&response.attributes, &profile.metadata];
    let session = named.iter().find_map(|named| named["session_id"].as_str().filter(|session| is_session_id(session)));
    let session = session.ok_or_else(|| {
        DeliveryError::Dead(Failure::new(FailureClass::NotFound, "neither the message nor the profile names a session"))
    })?;
    Ok(Visitor { session: session.to_owned(), uid: profile.platform_user_id.clone(), address: String::new() })
}

fn not_now(reason: &str) -> DeliveryError {
    DeliveryError::Retry { after: None, failure: Failure::new(FailureClass::Unavailable, reason) }
}
