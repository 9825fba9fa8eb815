//! W3C trace context, carried through SQL, broker headers and the agent's HTTP headers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A `traceparent` value (W3C Trace Context, version 00). One message keeps one trace id end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent of version 00")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// A new, sampled trace.
    pub fn random() -> Self {
        // Zero is the one value that the standard forbids for either id.
        Self { trace_id: rand::random::<u128>().max(1), parent_id: rand::random::<u64>().max(1), flags: 1 }
    }

    /// The same trace, under a new parent span.
    pub fn child(self) -> Self {
        Self { parent_id: rand::random::<u64>().max(1), ..self }
    }

    /// The trace's id, and the id of the span that whoever gets this is a child of.
    pub fn ids(self) -> (u128, u64) {
        (self.trace_id, self.parent_id)
    }

    /// The 32 hex digits that name the trace.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn hex(part: Option<&str>, digits: usize) -> Result<u128, InvalidTraceParent> {
            let part = part.filter(|p| p.len() == digits && p.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
            u128::from_str_radix(part.ok_or(InvalidTraceParent)?, 16).map_err(|_| InvalidTraceParent)
        }
        let mut parts = text.split('-');
        if parts.next() != Some("00") {
            return Err(InvalidTraceParent);
        }
        let trace_id = hex(parts.next(), 32)?;
        let parent_id = u64::try_from(hex(parts.next(), 16)?).map_err(|_| InvalidTraceParent)?;
        let flags = u8::try_from(hex(parts.next(), 2)?).map_err(|_| InvalidTraceParent)?;
        if trace_id == 0 || parent_id == 0 || parts.next().is_some() {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace_id, parent_id, flags })
    }
}

impl TryFrom<String> for TraceParent {
    type Error = InvalidTraceParent;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics_and_keeps_what_it_accepts(text in "\\PC{0,70}") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(parent.to_string(), text);
            }
        }
    }

    #[test]
    fn a_child_stays_in_its_trace() {
        let parent = TraceParent::random();
        assert_eq!(parent.to_string().parse(), Ok(parent));
        assert_eq!(parent.child().trace_id(), parent.trace_id());
        assert_ne!(parent.child(), parent);
        for bad in ["", "01-0-0-0", &format!("00-{:032x}-{:016x}-01", 0, 1), "00-+1-1-1"] {
            assert!(bad.parse::<TraceParent>().is_err());
        }
    }
}
