//! One attempt at a delivery, from asking what became of an earlier one to what this one came to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use broca_core::{
    DeliveryError, Part,
    agent::{Failure, FailureClass},
    delivery::Settlement,
    format::rfc3339,
    retry::{Decision, RetryPolicy},
};
use broca_plugin::{PartSink, Parts};
use broca_store::{DeliveryEnd, Dispatch, Refused};

use crate::{
    crash::{CrashPoint, point},
    deliver::Deliverer,
    meter,
    parts::Recorder,
    spans,
};

/// One attempt, and what it came to.
pub(crate) async fn attempt(
    deliverer: &Deliverer,
    dispatch: Dispatch,
    interrupted: bool,
) -> (Arc<Dispatch>, DeliveryEnd) {
    let started = Instant::now();
    let (dispatch, end) = tried(deliverer, dispatch, interrupted).await;
    spans::delivered(&deliverer.instance, &dispatch, started, &end);
    (dispatch, end)
}

async fn tried(deliverer: &Deliverer, mut dispatch: Dispatch, interrupted: bool) -> (Arc<Dispatch>, DeliveryEnd) {
    if interrupted {
        match ask(deliverer, &dispatch).await {
            Asked::Ended(end) => return (Arc::new(dispatch), end),
            Asked::Lacks(parts) => dispatch.response.parts = parts,
        }
    }
    let dispatch = Arc::new(dispatch);
    if let Some(refused) = &dispatch.refused {
        let end = DeliveryEnd::Dead(not_sent(refused));
        return (dispatch, end);
    }
    let parts = Arc::new(Parts::new(&dispatch.response, Arc::new(recorder(deliverer, &dispatch))));
    let (plugin, handed, noted) = (deliverer.plugin.clone(), dispatch.clone(), parts.clone());
    // A task of its own, so that a plugin's panic ends one delivery and not the process.
    let mut call =
        tokio::spawn(async move { plugin.deliver(&handed.response, &handed.profile, handed.message, &noted).await });
    let started = Instant::now();
    let result = match tokio::time::timeout(deliverer.options.timeout, &mut call).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(cut_off("the plugin panicked while delivering")),
        Err(_) => {
            call.abort();
            Err(cut_off("the platform did not answer in time"))
        }
    };
    point(CrashPoint::PlatformSent);
    meter::platform_took(&deliverer.instance, &dispatch.profile.platform, started.elapsed());
    let got_on = parts.all().len() > dispatch.response.parts.len();
    let policy = &deliverer.options.retry;
    let end = match result {
        Ok(receipt) => DeliveryEnd::Delivered(receipt),
        Err(DeliveryError::Dead(failure)) => dead(failure, deliverer.options.probe_after),
        Err(DeliveryError::Retry { after, failure }) => again(policy, &dispatch, got_on, after, failure),
        Err(DeliveryError::Unknown(failure)) => match ask(deliverer, &with(&dispatch, parts.all())).await {
            Asked::Ended(DeliveryEnd::Unknown(_)) => DeliveryEnd::Unknown(failure),
            Asked::Ended(known) => known,
            Asked::Lacks(_) => again(policy, &dispatch, got_on, None, failure),
        },
    };
    (dispatch, end)
}

fn not_sent(refused: &Refused) -> Failure {
    let since = rfc3339(refused.since);
    let reason =
        format!("not sent: since {since} the platform refuses everything for this chat ({})", refused.failure.reason);
    Failure::new(refused.failure.class, reason)
}

/// Two classes say something of the chat, and not of this answer alone.
fn dead(failure: Failure, probe_after: Duration) -> DeliveryEnd {
    match failure.class {
        FailureClass::Blocked | FailureClass::NotFound => DeliveryEnd::TargetDead { failure, probe_after },
        _ => DeliveryEnd::Dead(failure),
    }
}

fn with(dispatch: &Dispatch, parts: Vec<Part>) -> Dispatch {
    let mut dispatch = dispatch.clone();
    dispatch.response.parts = parts;
    dispatch
}

fn recorder(deliverer: &Deliverer, dispatch: &Dispatch) -> Recorder {
    Recorder {
        store: deliverer.store.clone(),
        response: dispatch.response.id,
        host: deliverer.host.clone(),
        attempt: dispatch.response.attempt,
        draining: deliverer.draining.clone(),
    }
}

fn cut_off(reason: &str) -> DeliveryError {
    DeliveryError::Unknown(Failure::new(FailureClass::Interrupted, reason))
}

/// What the platform says of an attempt that was cut off.
enum Asked {
    Ended(DeliveryEnd),
    /// It lacks all of the answer, or what is behind these parts.
    Lacks(Vec<Part>),
}

/// Asks the platform about an attempt that was cut off, and records the parts that it has.
async fn ask(deliverer: &Deliverer, dispatch: &Dispatch) -> Asked {
    let asked = deliverer.plugin.settle(&dispatch.response, &dispatch.profile, dispatch.message);
    match tokio::time::timeout(deliverer.options.timeout, asked).await {
        Ok(Settlement::Delivered(receipt)) => Asked::Ended(DeliveryEnd::Delivered(receipt)),
        Ok(Settlement::NotDelivered) => Asked::Lacks(dispatch.response.parts.clone()),
        Ok(Settlement::Partly(parts)) => match recorder(deliverer, dispatch).record(&parts).await {
            Ok(()) => Asked::Lacks(parts),
            Err(error) => {
                Asked::Ended(DeliveryEnd::Unknown(Failure::new(FailureClass::Interrupted, error.to_string())))
            }
        },
        Ok(Settlement::CannotTell) | Err(_) => {
            let reason = "an attempt was cut off and the platform cannot tell whether it has the answer";
            Asked::Ended(DeliveryEnd::Unknown(Failure::new(FailureClass::Interrupted, reason)))
        }
    }
}

/// `got_on`: the attempt sent something before it failed, and is the first of the budget.
fn again(
    policy: &RetryPolicy,
    dispatch: &Dispatch,
    got_on: bool,
    after: Option<Duration>,
    failure: Failure,
) -> DeliveryEnd {
    let spent = if got_on { 1 } else { dispatch.response.attempt.saturating_sub(dispatch.attempts_before) };
    match policy.decide(spent, dispatch.age, after) {
        Decision::RetryAfter(delay) => DeliveryEnd::Retry { failure, delay },
        Decision::GiveUp(why) => DeliveryEnd::Dead(Failure::new(failure.class, format!("{} ({why})", failure.reason))),
    }
}
