//! The contract between Broca and a platform plugin.
//!
//! A plugin is one process for one platform account. It reports what its platform says ([`Context::ingest`]) and
//! hands answers to its platform ([`Plugin::deliver`]); who may talk, who answers, in which order and how often
//! something is tried is not its business.
//!
//! # A whole plugin
//!
//! Its platform is a pair of channels, and below it runs against a pipeline that answers in capitals. A real one
//! differs in what stands where the channels are; `plugins/demo` is the one to read next.
//!
//! ```
//! use std::sync::Arc;
//!
//! use broca_core::{DeliveryError, Incoming, MessageId, Profile, Receipt, Response, Sender};
//! use broca_plugin::{Context, IngestError, Manifest, Parts, Plugin, PluginError, PluginState};
//! use tokio::sync::{Mutex, mpsc};
//!
//! /// What came in: its number and its text.
//! type Event = (u64, String);
//!
//! #[derive(Debug)]
//! struct Channels {
//!     incoming: Mutex<mpsc::Receiver<Event>>,
//!     outgoing: mpsc::Sender<String>,
//! }
//!
//! #[async_trait::async_trait]
//! impl Plugin for Channels {
//!     fn manifest(&self) -> Manifest {
//!         Manifest::new("channels", "1.0.0")
//!     }
//!
//!     async fn run(&self, ctx: Context) -> Result<(), PluginError> {
//!         ctx.report(PluginState::Connected);
//!         let mut incoming = self.incoming.lock().await;
//!         while let Some(event) = ctx.shutdown.run_until_cancelled(incoming.recv()).await {
//!             let Some((number, text)) = event else {
//!                 return Err(PluginError::Platform("the channel was closed".into()));
//!             };
//!             let message = Incoming {
//!                 // The platform's own number: the same event reported twice is one message.
//!                 event_id: number.to_string(),
//!                 sender: Sender { platform_user_id: "alice".into(), ..Sender::default() },
//!                 text,
//!                 ..Incoming::default()
//!             };
//!             match ctx.ingest(message).await {
//!                 Ok(_) => {} // Committed: here a platform is told so.
//!                 Err(IngestError::Refused(why)) => tracing::info!(%why, "refused"), // Told so, too, and not asked again.
//!                 Err(IngestError::Unavailable(why)) => return Err(PluginError::Platform(why)), // Not told: it will ask again.
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     async fn deliver(
//!         &self,
//!         response: &Response,
//!         _profile: &Profile,
//!         _message_id: MessageId,
//!         _parts: &Parts,
//!     ) -> Result<Receipt, DeliveryError> {
//!         match self.outgoing.send(response.text.clone()).await {
//!             Ok(()) => Ok(Receipt::of(response.id.to_string())),
//!             Err(_) => Err(DeliveryError::Dead(broca_core::agent::Failure::new(
//!                 broca_core::agent::FailureClass::NotFound,
//!                 "the channel was closed",
//!             ))),
//!         }
//!     }
//! }
//!
//! # use std::time::Duration;
//! # use broca_core::{Instance, ProfileId, ResponseId, UserId};
//! # use broca_plugin::{HistoryEntry, Ingest, Ingested, MessageStatus, StateSink, host};
//! # use tokio_util::sync::CancellationToken;
//! # #[derive(Debug)]
//! # struct Capitals(mpsc::Sender<(MessageId, Incoming)>);
//! # #[async_trait::async_trait]
//! # impl Ingest for Capitals {
//! #     async fn ingest(&self, _: &Instance, platform: &str, incoming: Incoming) -> Result<Ingested, IngestError> {
//! #         assert_eq!(platform, "channels");
//! #         let id = MessageId::new();
//! #         self.0.send((id, incoming)).await.map_err(|e| IngestError::Unavailable(e.to_string()))?;
//! #         Ok(Ingested::New(id))
//! #     }
//! #     async fn status(&self, _: &Instance, _: MessageId) -> Result<Option<MessageStatus>, IngestError> { Ok(None) }
//! #     async fn history(&self, _: &str, _: &str, _: u32) -> Result<Vec<HistoryEntry>, IngestError> { Ok(Vec::new()) }
//! # }
//! # #[derive(Debug)]
//! # struct Silent;
//! # impl StateSink for Silent {
//! #     fn report(&self, _: &Instance, _: PluginState) {}
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let (accepted, mut pipeline) = mpsc::channel(1);
//! let (says, incoming) = mpsc::channel(1);
//! let (outgoing, mut hears) = mpsc::channel(1);
//! let plugin = Arc::new(Channels { incoming: Mutex::new(incoming), outgoing });
//! # let shutdown = CancellationToken::new();
//! # let platform = plugin.manifest().platform;
//! # let ctx = Context::new("channels".parse().unwrap(), platform, shutdown.clone(), Arc::new(Capitals(accepted)), Arc::new(Silent));
//! # let hosted = tokio::spawn(host(plugin.clone(), ctx, Duration::from_secs(1)));
//! says.send((1, "good morning".into())).await.unwrap();
//! # let (message_id, message) = pipeline.recv().await.unwrap();
//! # let response = Response {
//! #     id: ResponseId::new(), kind: broca_core::ResponseKind::Answer, text: message.text.to_uppercase(), chat_id: None,
//! #     attributes: serde_json::Value::Null, attempt: 1, parts: Vec::new(), trace: None,
//! # };
//! # let profile = Profile {
//! #     id: ProfileId::new(), user_id: UserId::new(), platform: "channels".into(),
//! #     platform_user_id: message.sender.platform_user_id, username: None, display_name: None,
//! #     metadata: serde_json::Value::Null,
//! # };
//! # let receipt = plugin.deliver(&response, &profile, message_id, &Parts::in_memory(&response)).await.unwrap();
//! # assert_eq!(receipt, Receipt::of(response.id.to_string()));
//! assert_eq!(hears.recv().await.unwrap(), "GOOD MORNING");
//! # shutdown.cancel();
//! # hosted.await.unwrap().unwrap();
//! # }
//! ```

mod blueprint;
mod contract;
mod event;
mod host;
mod manifest;
mod parts;
mod settings;
mod state;

pub use blueprint::Blueprint;
pub use contract::{
    Cancelled, Context, HistoryEntry, Ingest, IngestError, Ingested, MessageStatus, Plugin, PluginError,
};
pub use event::{EventSink, Listen, NoEvents, Typing, hear};
pub use host::{HostError, host};
pub use manifest::{Capabilities, Manifest, Markdown};
pub use parts::{PartSink, Parts};
pub use settings::{Applied, Problem, Secret, SettingKey, SettingsError, SettingsSchema, typed};
pub use state::{Health, PluginState, StateSink};
