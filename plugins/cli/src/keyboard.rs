//! The standard input, read by a thread of its own.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};

/// Standard input for [`crate::Terminal::chat`]. A person may never press Enter again: unlike a read of tokio's own
/// standard input, one that waits here does not keep the runtime from ending.
#[derive(Debug)]
pub struct Keyboard {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    rest: Vec<u8>,
}

impl Keyboard {
    /// Starts to read the standard input; call it once. The thread ends with the input, or with the process.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn stdin() -> io::Result<Self> {
        Self::of(io::stdin())
    }

    fn of(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(4);
        thread::Builder::new().name("keyboard".into()).spawn(move || {
            loop {
                let mut chunk = vec![0; 8 * 1024];
                let read = match source.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(bytes) => {
                        chunk.truncate(bytes);
                        Ok(chunk)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { chunks, rest: Vec::new() })
    }
}

impl AsyncRead for Keyboard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.rest = chunk?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let bytes = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..bytes]);
        self.rest.drain(..bytes);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn hands_on_every_byte() {
        let input: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut read = Vec::new();
        Keyboard::of(io::Cursor::new(input.clone())).unwrap().read_to_end(&mut read).await.unwrap();
        assert_eq!(read, input);
    }
}
