//! One terminal's connection, from hello to its end.

use std::{io, time::Duration};

use broca_core::{Incoming, MessageId, MessageState, Sender, retry::Budget};
use broca_plugin::{Context, IngestError, Ingested, MessageStatus};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    lines::{Line, LineReader},
    protocol::{MAX_HISTORY, MAX_REQUEST_BYTES, MAX_WAITING, Reply, Request, VERSION, line},
    terminals::{Seat, Terminals, Waiting},
};

/// From the connection to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A terminal that takes no bytes for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests read and not yet worked on, replies said and not yet written, each.
const QUEUE: usize = 64;
/// How often the waiting list is looked at.
const TICK: Duration = Duration::from_millis(100);
/// From the acceptance of a message to the first question about it.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// An answer that exists and is not delivered here after this time went elsewhere.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a name given in hello.
const MAX_USER_BYTES: usize = 128;

/// Serves one terminal until either side ends it.
pub(crate) async fn serve(stream: UnixStream, ctx: Context, terminals: &Terminals) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = LineReader::new(read, MAX_REQUEST_BYTES);
    let greeted = ctx.shutdown.run_until_cancelled(timeout(HELLO_TIMEOUT, lines.next())).await;
    let Some(Ok(Ok(Some(first)))) = greeted else { return Ok(()) };
    let (user, follow) = match greet(first) {
        Ok(hello) => hello,
        Err(reason) => return say(&mut write, &Reply::Refused { event_id: None, reason }).await,
    };
    say(&mut write, &Reply::Welcome { v: VERSION, instance: ctx.instance.clone() }).await?;

    let (replies, replies_out) = mpsc::channel(QUEUE);
    let (requests, requests_out) = mpsc::channel(QUEUE);
    let seated = terminals.take_seat(user, follow, replies);
    let seat = &*seated.seat;
    // Reading, working and writing do not wait for each other: a slow database does not hold up a receipt.
    tokio::select! {
        ended = read_requests(&mut lines, seat, requests) => ended,
        () = work(requests_out, seat, &ctx) => Ok(()),
        ended = write_replies(&mut write, replies_out) => ended,
        () = follow_up(seat, &ctx) => Ok(()),
        () = seat.closed.cancelled() => Ok(()),
        () = ctx.shutdown.cancelled() => Ok(()),
    }
}

/// Who is there, or why they cannot be served.
fn greet(first: Line) -> Result<(String, bool), String> {
    match parse(first)? {
        Request::Hello { v, .. } if v != VERSION => Err(format!(
            "this plugin speaks version {VERSION} of the terminal protocol, not {v}: upgrade the older side"
        )),
        Request::Hello { user, .. } if user.trim().is_empty() || user.chars().any(char::is_control) => {
            Err("a name is missing: say who writes, e.g. --as alice".into())
        }
        Request::Hello { user, .. } if user.len() > MAX_USER_BYTES => {
            Err(format!("the name has {} bytes, more than the limit of {MAX_USER_BYTES}", user.len()))
        }
        Request::Hello { user, follow, .. } => Ok((user, follow)),
        _ => Err("say hello first".into()),
    }
}

fn parse(line: Line) -> Result<Request, String> {
    match line {
        Line::Text(text) => serde_json::from_str(&text).map_err(|e| format!("the line is no request: {e}")),
        Line::TooLong { bytes } => {
            Err(format!("the line has {bytes} bytes, more than the limit of {MAX_REQUEST_BYTES}: send it in parts"))
        }
        Line::NotUtf8 => Err("the line is not UTF-8: convert it first".into()),
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    lines: &mut LineReader<R>,
    seat: &Seat,
    requests: mpsc::Sender<Request>,
) -> io::Result<()> {
    while let Some(line) = lines.next().await? {
        let queued = match parse(line) {
            Ok(Request::Received { response_id }) => {
                seat.received(response_id);
                true
            }
            Ok(request) => requests.send(request).await.is_ok(),
            Err(reason) => seat.replies.send(Reply::Refused { event_id: None, reason }).await.is_ok(),
        };
        if !queued {
            break;
        }
    }
    Ok(())
}

async fn write_replies<W: AsyncWrite + Unpin>(write: &mut W, mut replies: mpsc::Receiver<Reply>) -> io::Result<()> {
    while let Some(reply) = replies.recv().await {
        say(write, &reply).await?;
    }
    Ok(())
}

async fn say<W: AsyncWrite + Unpin>(write: &mut W, reply: &Reply) -> io::Result<()> {
    match timeout(WRITE_TIMEOUT, write.write_all(&line(reply))).await {
        Ok(written) => written,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Works on requests in the order in which they came.
async fn work(mut requests: mpsc::Receiver<Request>, seat: &Seat, ctx: &Context) {
    while let Some(request) = requests.recv().await {
        let reply = match request {
            Request::Message { event_id, text, budget } => {
                if take_message((event_id, text, budget), seat, ctx).await.is_err() {
                    return;
                }
                continue;
            }
            Request::History { limit } => match ctx.history(&seat.user, limit.min(MAX_HISTORY)).await {
                Ok(items) => Reply::History { items },
                Err(error) => Reply::Unavailable { event_id: None, reason: error.to_string() },
            },
            Request::Hello { .. } | Request::Received { .. } => {
                Reply::Refused { event_id: None, reason: "hello was said already".into() }
            }
        };
        if seat.replies.send(reply).await.is_err() {
            return;
        }
    }
}

async fn take_message(
    (event_id, text, budget): (String, String, Option<Budget>),
    seat: &Seat,
    ctx: &Context,
) -> Result<(), mpsc::error::SendError<Reply>> {
    if seat.is_full() {
        let reason = format!("{MAX_WAITING} of your messages wait for their answers: say it again when some are done");
        return seat.replies.send(Reply::Unavailable { event_id: Some(event_id), reason }).await;
    }
    match ctx.ingest(incoming(&seat.user, &event_id, text, budget)).await {
        Ok(ingested) => {
            let (message_id, duplicate) = match ingested {
                Ingested::New(id) | Ingested::Suppressed(id, _) => (id, false),
                Ingested::Duplicate(id) => (id, true),
            };
            seat.replies.send(Reply::Accepted { event_id, message_id, duplicate }).await?;
            // The answer of a message that is said again may have gone by already: ask at once, and take it as it is.
            let (first, grace) = if duplicate { (Duration::ZERO, Duration::ZERO) } else { (FIRST_PAUSE, GRACE) };
            seat.wait_for(message_id, Waiting { due: Instant::now() + first, pause: FIRST_PAUSE, grace });
            Ok(())
        }
        Err(IngestError::Refused(refusal)) => {
            seat.replies.send(Reply::Refused { event_id: Some(event_id), reason: refusal.to_string() }).await
        }
        Err(IngestError::Unavailable(reason)) => {
            seat.replies.send(Reply::Unavailable { event_id: Some(event_id), reason }).await
        }
    }
}

fn incoming(user: &str, event_id: &str, text: String, budget: Option<Budget>) -> Incoming {
    Incoming {
        // Terminals choose their event ids; one person's must not swallow another's message.
        event_id: if event_id.is_empty() { String::new() } else { format!("{user}:{event_id}") },
        sender: Sender { platform_user_id: user.to_owned(), username: Some(user.to_owned()), ..Sender::default() },
        text,
        budget,
        ..Incoming::default()
    }
}

/// Asks what became of the messages that this terminal waits for: one that ends without an answer is never delivered.
async fn follow_up(seat: &Seat, ctx: &Context) {
    loop {
        let Some(due) = seat.due(Instant::now()) else {
            seat.begins.notified().await;
            continue;
        };
        for (message, waiting) in due {
            let next = match ctx.status(message).await {
                Ok(Some(status)) => judge(status, waiting),
                Ok(None) => Next::Over(gone(message)),
                Err(_) => Next::AskAgain(waiting.later()),
            };
            match next {
                Next::AskAgain(waiting) => seat.put_off(message, waiting),
                // An answer that was delivered meanwhile has taken the message off the list.
                Next::Over(reply) if seat.stop_waiting(message) => {
                    if seat.replies.send(reply).await.is_err() {
                        return;
                    }
                }
                Next::Over(_) => {}
            }
        }
        sleep(TICK).await;
    }
}

enum Next {
    AskAgain(Waiting),
    Over(Reply),
}

fn judge(status: MessageStatus, waiting: Waiting) -> Next {
    let MessageStatus { message_id, state, reason, answer } = status;
    match answer {
        _ if !state.is_terminal() => Next::AskAgain(waiting.later()),
        Some(_) if !waiting.grace.is_zero() => {
            Next::AskAgain(Waiting { due: Instant::now() + waiting.grace, grace: Duration::ZERO, ..waiting })
        }
        answer => Next::Over(Reply::Ended { message_id, state, reason, answer }),
    }
}

fn gone(message_id: MessageId) -> Reply {
    let reason = Some("the message was deleted".into());
    Reply::Ended { message_id, state: MessageState::Cancelled, reason, answer: None }
}
