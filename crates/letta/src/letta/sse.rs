//! An incremental reader of server-sent events, with bounds.
//!
//! Only what Letta uses is kept: the event's name (it sets one for errors alone) and its data.

use bytes::Bytes;

/// One event: `data` lines joined by line breaks. Comments and unknown fields are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    pub(super) name: Option<String>,
    pub(super) data: String,
}

/// An event longer than the parser's bound: the stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is longer than {0} bytes")]
pub(super) struct EventTooLong(pub(super) usize);

/// Fed with chunks as they arrive, however they are cut.
#[derive(Debug)]
pub(super) struct SseParser {
    max_event_bytes: usize,
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    /// The last byte was a carriage return: a line feed right after it belongs to the same line end.
    after_cr: bool,
    first_line: bool,
}

impl SseParser {
    /// `max_event_bytes` bounds one event, its unfinished line included.
    pub(super) fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            line: Vec::new(),
            event: SseEvent::default(),
            has_data: false,
            after_cr: false,
            first_line: true,
        }
    }

    /// Reads one chunk and appends the events that it completes to `out`.
    ///
    /// # Errors
    /// [`EventTooLong`]; events completed before it are in `out`.
    pub(super) fn feed(&mut self, chunk: &Bytes, out: &mut impl Extend<SseEvent>) -> Result<(), EventTooLong> {
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(rest);
            };
            self.keep(&rest[..end])?;
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            out.extend(self.end_line());
        }
        Ok(())
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + self.event.data.len() + part.len() > self.max_event_bytes {
            return Err(EventTooLong(self.max_event_bytes));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let mut line: &str = &text;
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => self.event.name = Some(value.to_owned()),
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<SseEvent> {
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let mut parser = SseParser::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            parser.feed(&Bytes::copy_from_slice(chunk), &mut events).unwrap();
        }
        events
    }

    fn event(name: Option<&str>, data: &str) -> SseEvent {
        SseEvent { name: name.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn reads_lettas_events_and_the_forms_of_the_standard() {
        let events = parse(&[
            "\u{feff}: hello\n\ndata: {\"a\":1}\n\nevent: error\r\ndata:x\r\ndata: y\r\rid: 7\ndata\n\ndata: cut off"
                .as_bytes(),
        ]);
        assert_eq!(events, [event(None, "{\"a\":1}"), event(Some("error"), "x\ny"), event(None, "")]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = SseParser::new(16);
        let mut events = Vec::new();
        assert_eq!(parser.feed(&Bytes::from_static(b"data: 1\n\ndata: 0123"), &mut events), Ok(()));
        assert_eq!(parser.feed(&Bytes::from_static(b"4567890"), &mut events), Err(EventTooLong(16)));
        assert_eq!(events, [event(None, "1")]);

        let mut parser = SseParser::new(16);
        let lines = Bytes::from_static(b"data: 123456\ndata: 123456\n");
        assert_eq!(parser.feed(&lines, &mut events), Err(EventTooLong(16)));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            lines in proptest::collection::vec("(data: ?|event: |: |id: )?[a-zä€🙂:\u{feff} ]{0,12}(\n|\r\n|\r|\n\n|\r\r\n)", 0..20),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let whole = lines.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
            at.extend([0, whole.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            prop_assert_eq!(parse(&chunks), parse(&[&whole]));
        }

        #[test]
        fn junk_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut events = Vec::new();
            let read = SseParser::new(64).feed(&Bytes::from(junk), &mut events);
            prop_assert!(read.is_ok() || read == Err(EventTooLong(64)));
        }
    }
}
