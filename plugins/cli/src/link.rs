//! One connection of a terminal to the plugin.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    TerminalError,
    lines::{Line, LineReader},
    protocol::{MAX_REPLY_BYTES, Reply, Request, VERSION, line},
};

/// Requests and replies under way, each.
const QUEUE: usize = 64;
/// For the last lines of a terminal that leaves.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Two tasks do the reading and writing, so that waiting for either can be given up at any time without half a
/// line being lost. They end with the link.
#[derive(Debug)]
pub(crate) struct Link {
    requests: mpsc::Sender<Request>,
    replies: mpsc::Receiver<Reply>,
    writing: AbortOnDropHandle<()>,
    reading: AbortOnDropHandle<()>,
}

impl Link {
    /// Connects and says hello; the plugin's `welcome` is the first of [`Link::next`].
    pub(crate) async fn open(socket: &Path, user: &str, follow: bool) -> Result<Self, TerminalError> {
        let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => TerminalError::NobodyListens(socket.into()),
            _ => TerminalError::Connect { socket: socket.into(), source },
        })?;
        let (read, write) = stream.into_split();
        let (requests, requests_out) = mpsc::channel(QUEUE);
        let (replies, replies_out) = mpsc::channel(QUEUE);
        let reading = AbortOnDropHandle::new(tokio::spawn(read_replies(read, replies)));
        let writing = AbortOnDropHandle::new(tokio::spawn(write_requests(write, requests_out)));
        let link = Self { requests, replies: replies_out, writing, reading };
        link.say(Request::Hello { v: VERSION, user: user.to_owned(), follow });
        Ok(link)
    }

    /// Queues a request. False when the plugin is gone or takes none any more: the link is of no more use.
    pub(crate) fn say(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }

    /// Gives the connection up; [`Link::next`] says so after what has come already.
    pub(crate) fn close(&mut self) {
        self.reading.abort();
    }

    /// Ends the connection once everything said is written: the receipt of the last answer must not be lost.
    pub(crate) async fn finish(self) {
        let Self { requests, writing, .. } = self;
        drop(requests);
        if timeout(FLUSH_TIMEOUT, writing).await.is_err() {
            tracing::debug!("the plugin takes no more lines");
        }
    }

    /// The next reply; `None` when the connection is lost. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }
}

async fn read_replies(read: OwnedReadHalf, replies: mpsc::Sender<Reply>) {
    let mut lines = LineReader::new(read, MAX_REPLY_BYTES);
    while let Ok(Some(Line::Text(text))) = lines.next().await {
        // A newer plugin may say things that this terminal has no ear for.
        let Ok(reply) = serde_json::from_str(&text) else { continue };
        if replies.send(reply).await.is_err() {
            return;
        }
    }
}

async fn write_requests(mut write: OwnedWriteHalf, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        if write.write_all(&line(&request)).await.is_err() {
            return;
        }
    }
}
