//! Lines of bounded length from a stream that may send anything.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// One line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Text(String),
    /// It was skipped; no more than the limit of it was ever held.
    TooLong {
        bytes: u64,
    },
    NotUtf8,
}

#[derive(Debug)]
pub(crate) struct LineReader<R> {
    source: BufReader<R>,
    limit: usize,
    line: Vec<u8>,
    /// Bytes of the present line so far, skipped ones included.
    bytes: u64,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self { source: BufReader::new(source), limit, line: Vec::new(), bytes: 0 }
    }

    /// The next line; `None` at the end. The last line needs no line break.
    ///
    /// Cancel safe: what was read of a line stays here.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let chunk = self.source.fill_buf().await?;
            if chunk.is_empty() {
                return Ok((self.bytes > 0).then(|| self.take()));
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            self.bytes += part.len() as u64;
            let room = self.limit.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Line {
        let bytes = std::mem::take(&mut self.bytes);
        let mut line = std::mem::take(&mut self.line);
        if bytes > self.limit as u64 {
            return Line::TooLong { bytes };
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_or(Line::NotUtf8, Line::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], limit: usize) -> Vec<Line> {
        let mut reader = LineReader::new(input, limit);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn a_bad_line_spoils_only_itself() {
        let text = |t: &str| Line::Text(t.into());
        let input = b"one\r\n\n12345678\n123456789\n\xff\xfe\nlast";
        let expected =
            [text("one"), text(""), text("12345678"), Line::TooLong { bytes: 9 }, Line::NotUtf8, text("last")];
        assert_eq!(lines(input, 8).await, expected);
    }

    #[tokio::test]
    async fn a_line_far_beyond_the_limit_is_counted_and_not_kept() {
        let mut input = vec![b'x'; 10 << 20];
        input.extend_from_slice(b"\nok\n");
        let mut reader = LineReader::new(&input[..], 1 << 20);
        assert_eq!(reader.next().await.unwrap(), Some(Line::TooLong { bytes: 10 << 20 }));
        assert!(reader.line.capacity() <= 2 << 20);
        assert_eq!(reader.next().await.unwrap(), Some(Line::Text("ok".into())));
        assert_eq!(reader.next().await.unwrap(), None);
    }
}
