use std::time::Duration;

use broca_core::rights::Access;
use broca_store::Flow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Acting, Code, Effect, Facts, Operation, OperationError, Span};

/// What is looked at unless more is asked for, and at most.
const WINDOW: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Pieces of the window, unless another length of them is given, and at most.
const PIECES: u32 = 60;
const MOST_PIECES: u64 = 720;

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhichFlow {
    /// How far back; 10m unless given, 1d at most.
    pub window: Option<Span>,
    /// How long each piece of it is, in whole seconds; a sixtieth of the window unless given.
    pub bucket: Option<Span>,
}

impl WhichFlow {
    fn times(&self) -> Result<(Duration, Duration), OperationError> {
        let window = self.window.map_or(WINDOW, |span| span.0);
        let bucket = self.bucket.map_or(window / PIECES, |span| span.0);
        let bucket = Duration::from_secs(bucket.as_secs().max(1));
        let wrong = |message: &str| Err(OperationError::new(Code::Usage, message));
        if window < bucket || window > LONGEST {
            return wrong("the window is one bucket to one day long");
        }
        if window.as_secs() / bucket.as_secs() > MOST_PIECES {
            return wrong("the window has 720 buckets at most: make them longer");
        }
        Ok((window, bucket))
    }
}

#[derive(Debug)]
pub struct ShowFlow;

impl Operation for ShowFlow {
    type Request = WhichFlow;
    type Answer = Flow;
    const FACTS: Facts = Facts {
        name: "flow.show",
        summary: "What came in, went out and failed lately, by time, plugin instance and agent, and the turns under way. Cheap.",
        access: Access::Read,
        effect: Effect::Reads,
        reaches_people: false,
        cli: "flow",
        absent: &[],
    };

    async fn run(act: &Acting<'_>, request: &WhichFlow) -> Result<Flow, OperationError> {
        let (window, bucket) = request.times()?;
        Ok(act.store().flow(window, bucket).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_not_too_many_pieces() {
        let asked = |window: u64, bucket: Option<u64>| {
            let span = |seconds| Span(Duration::from_secs(seconds));
            WhichFlow { window: Some(span(window)), bucket: bucket.map(span) }.times()
        };
        let seconds = |window, bucket| Ok((Duration::from_secs(window), Duration::from_secs(bucket)));
        assert_eq!(WhichFlow::default().times(), seconds(600, 10));
        assert_eq!(asked(20, None), seconds(20, 1));
        assert_eq!(asked(86_400, None), seconds(86_400, 1_440));
        for (window, bucket) in [(0, None), (86_401, None), (5, Some(6)), (3_600, Some(1))] {
            assert!(asked(window, bucket).is_err(), "{window} {bucket:?}");
        }
    }
}
