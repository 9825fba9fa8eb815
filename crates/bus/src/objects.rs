//! Files in the object store: one bucket for each instance, one object under each name.
//!
//! Writing is the client library's. Reading is not: the library reads by a consumer without a name, and the right to
//! create one is the right to read any stream. A consumer with a name has its stream and its filter in the subject of
//! the request, so that a worker's user may be allowed the chunks of files, of all instances, and nothing else.

use std::time::Duration;

use async_nats::{
    Message, StatusCode,
    client::{Request, RequestErrorKind},
    jetstream::{
        self,
        consumer::push::OrderedConfig,
        context::ContextBuilder,
        object_store::{ObjectInfo, PutErrorKind},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use crate::{Bus, BusError, api::ApiError, connect::API_TIMEOUT};

/// For all of one file, reading or writing.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Bus {
    /// Stores a file under `name`, which must name this very content: where there is one already, it stays.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] also when the bucket is full, or there is none, or this user may not write to it.
    pub async fn put_object(&self, bucket: &str, name: &str, content: &[u8]) -> Result<(), BusError> {
        let put = async {
            if self.object_info(bucket, name).await?.is_some_and(|info| info.size == content.len()) {
                return Ok(());
            }
            let store = self.jetstream().get_object_store(bucket).await.map_err(|error| unavailable(bucket, &error))?;
            match store.put(name, &mut &content[..]).await {
                Ok(_) => Ok(()),
                // Somebody stored the same at the same moment; what this user may not remove, expires.
                Err(error) if error.kind() == PutErrorKind::PurgeOldChunks => Ok(()),
                Err(error) => Err(unavailable(bucket, &error)),
            }
        };
        within(bucket, put).await
    }

    /// The file under `name`; `None` when there is none, or not all of it, or one of more than `limit` bytes.
    pub async fn object(&self, bucket: &str, name: &str, limit: usize) -> Result<Option<Vec<u8>>, BusError> {
        let read = async {
            let Some(info) = self.object_info(bucket, name).await?.filter(|info| info.size <= limit) else {
                return Ok(None);
            };
            let config = OrderedConfig {
                name: Some(format!("file-{:032x}", rand::random::<u128>())),
                deliver_subject: self.inner.client().new_inbox(),
                filter_subject: format!("$O.{bucket}.C.{}", info.nuid),
                ..OrderedConfig::default()
            };
            let consumer = self.jetstream().create_consumer_on_stream(config, format!("OBJ_{bucket}")).await;
            let consumer = consumer.map_err(|error| unavailable(bucket, &error))?;
            // Chunks are a little older than what names them, and expire before it.
            if consumer.cached_info().num_pending < info.chunks as u64 {
                return Ok(None);
            }
            let mut chunks = consumer.messages().await.map_err(|error| unavailable(bucket, &error))?;
            let mut content = Vec::with_capacity(info.size);
            while content.len() < info.size {
                match chunks.next().await {
                    Some(Ok(chunk)) => content.extend_from_slice(&chunk.payload),
                    Some(Err(error)) => return Err(unavailable(bucket, &error)),
                    None => return Err(unavailable(bucket, &"the reading ended early")),
                }
            }
            Ok(Some(content))
        };
        within(bucket, read).await
    }

    /// Removes the file under `name`; false when there was none, or no bucket.
    pub async fn drop_object(&self, bucket: &str, name: &str) -> Result<bool, BusError> {
        let drop = async {
            let look = format!("STREAM.INFO.OBJ_{bucket}");
            match self.inner.api.request::<Value>(&look, &Value::Null, API_TIMEOUT).await {
                Ok(_) => {}
                Err(ApiError::NotFound) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if self.object_info(bucket, name).await?.is_none() {
                return Ok(false);
            }
            let store = self.jetstream().get_object_store(bucket).await.map_err(|error| unavailable(bucket, &error))?;
            store.delete(name).await.map_err(|error| unavailable(bucket, &error))?;
            Ok(true)
        };
        within(bucket, drop).await
    }

    fn jetstream(&self) -> jetstream::Context {
        let api = &self.inner.api;
        ContextBuilder::new().timeout(API_TIMEOUT).api_prefix(&api.prefix).build(api.client.clone())
    }

    async fn object_info(&self, bucket: &str, name: &str) -> Result<Option<ObjectInfo>, BusError> {
        let api = &self.inner.api;
        let subject = format!("{}.DIRECT.GET.OBJ_{bucket}.{}", api.prefix, meta_subject(bucket, name));
        let request = Request::new().payload(Bytes::new()).timeout(None);
        match tokio::time::timeout(API_TIMEOUT, api.client.send_request(subject, request)).await {
            Ok(Ok(message)) => info(bucket, &message),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                Err(unavailable(bucket, &"there is no such bucket now; if this stays, run `broca nats apply`"))
            }
            Ok(Err(error)) => Err(unavailable(bucket, &error)),
            Err(_) => {
                let why = format!("no answer within {API_TIMEOUT:?} (or this user may not look into it)");
                Err(unavailable(bucket, &why))
            }
        }
    }
}

fn meta_subject(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{}", URL_SAFE.encode(name))
}

fn info(bucket: &str, message: &Message) -> Result<Option<ObjectInfo>, BusError> {
    match message.status {
        Some(StatusCode::NOT_FOUND) => Ok(None),
        Some(status) => Err(unavailable(bucket, &format!("{status} {}", message.description.as_deref().unwrap_or("")))),
        None => {
            let info: ObjectInfo =
                serde_json::from_slice(&message.payload).map_err(|error| unavailable(bucket, &error))?;
            Ok(Some(info).filter(|info| !info.deleted))
        }
    }
}

fn unavailable(bucket: &str, why: &impl ToString) -> BusError {
    BusError::Unavailable(format!("the files of {bucket}: {}", why.to_string()))
}

async fn within<T>(bucket: &str, work: impl Future<Output = Result<T, BusError>>) -> Result<T, BusError> {
    let late = || Err(unavailable(bucket, &format!("not done within {OBJECT_TIMEOUT:?}")));
    tokio::time::timeout(OBJECT_TIMEOUT, work).await.unwrap_or_else(|_| late())
}
