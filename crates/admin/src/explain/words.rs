//! A verdict in words: the sentence, what it rests on, and what comes next.

use broca_core::{EventKind, ResponseState, Timestamp, access::Reason, format::rfc3339};
use broca_store::{JourneyEvent, MessageRecord, Standing};

use super::Verdict;
use crate::telling::{self, lasting, why};

/// Steps of the journey that every explanation ends with.
const LAST_STEPS: usize = 3;

pub(super) fn sentence(verdict: &Verdict, standing: &Standing) -> String {
    let now = standing.journey.now;
    let ago = |at: Timestamp| lasting(now.since(at));
    let accepted = standing.journey.message.received_at;
    match verdict {
        Verdict::Behind { ahead, first, first_is } => {
            let first_is = sentence(first_is, standing);
            match ahead {
                1 => format!("waits behind the message before it, {first}, which is {first_is}"),
                n => {
                    format!("waits behind {n} earlier messages of its conversation; the first, {first}, is {first_is}")
                }
            }
        }
        Verdict::HeldByWorker { worker, since, attempt, attempt_since, .. } => {
            let since = since.map(|since| format!(" since {}", ago(since))).unwrap_or_default();
            let turn = match attempt.zip(*attempt_since) {
                Some((attempt, since)) => format!(": attempt {attempt} is with the agent for {}", ago(since)),
                None => String::new(),
            };
            format!("held by worker {worker}{since}{turn}")
        }
        Verdict::LeaseRanOut { worker, lease_until, .. } => {
            format!(
                "left by worker {worker}, whose lease ran out {} ago; nobody has taken it over yet",
                ago(*lease_until)
            )
        }
        Verdict::Parked { until, class, reason, attempts, max_attempts } => {
            let after = match why(class.as_deref(), reason.as_deref()).strip_prefix(": ") {
                Some(why) => format!(" after {why}"),
                None => String::new(),
            };
            let of = match attempts.zip(*max_attempts) {
                Some((attempts, of)) => format!(" (attempt {attempts} of {of})"),
                None => String::new(),
            };
            format!("parked until {}{after}{of}", rfc3339(*until))
        }
        Verdict::Gathering { until } => {
            format!("waiting until {} for more messages, to be answered with them", rfc3339(*until))
        }
        Verdict::Unpublished { since } => {
            format!("stored, and the broker has not confirmed its wake for {}", ago(*since))
        }
        Verdict::Queued { .. } => format!("waiting for a worker, accepted {} ago", ago(accepted)),
        Verdict::OnHold { subject, actor, reason, since, until } => {
            let until = until.map_or_else(|| "until it is released".to_owned(), |at| format!("until {}", rfc3339(at)));
            format!("kept back by a hold on its {subject} {until}, by {actor} {} ago: {reason}", ago(*since))
        }
        Verdict::Returning => "about to go back into its queue: the hold that kept it back has ended".to_owned(),
        Verdict::Stored => "stored: it was only listened to, and no agent is asked".to_owned(),
        Verdict::Suppressed { class, reason } => format!("suppressed{}", why(class.as_deref(), reason.as_deref())),
        Verdict::Cancelled { class, reason, notice } => {
            format!("cancelled{}{}", why(class.as_deref(), reason.as_deref()), told(*notice))
        }
        Verdict::Failed { class, reason, notice } => {
            format!("failed{}{}", why(class.as_deref(), reason.as_deref()), told(*notice))
        }
        other => answer_sentence(other, now),
    }
}

/// Whether the person knows.
fn told(notice: Option<ResponseState>) -> &'static str {
    match notice {
        None => "",
        Some(ResponseState::Delivered) => "; the person was told so",
        Some(ResponseState::Pending | ResponseState::Delivering | ResponseState::Retry) => {
            "; a notice of that is on its way"
        }
        Some(ResponseState::Unknown) => "; nobody knows whether the notice of that arrived",
        Some(ResponseState::Dead | ResponseState::Suppressed) => "; the notice of that was not delivered",
    }
}

fn answer_sentence(verdict: &Verdict, now: Timestamp) -> String {
    let ago = |at: Timestamp| lasting(now.since(at));
    match verdict {
        Verdict::AnsweredWith { message } => {
            format!("answered in one turn with others; the answer is to the last of them, {message}")
        }
        Verdict::AnswerUnpublished { since, .. } => {
            format!("answered, and the broker has not confirmed the answer for {}", ago(*since))
        }
        Verdict::AnswerQueued { instance, .. } => {
            format!("answered; the answer waits for the plugin of instance {instance}")
        }
        Verdict::AnswerBehind { ahead: 1, first, .. } => {
            format!("answered; the answer waits behind the one before it in its chat, to message {first}")
        }
        Verdict::AnswerBehind { ahead, first, .. } => {
            format!("answered; the answer waits behind {ahead} earlier ones of its chat, the first to message {first}")
        }
        Verdict::Delivering { host, since, .. } => {
            let since = since.map(|since| format!(" since {}", ago(since))).unwrap_or_default();
            format!("answered; the answer is being delivered by {host}{since}")
        }
        Verdict::DeliveryCutOff { host, lease_until, .. } => {
            let ago = ago(*lease_until);
            format!("answered; {host} went silent while it delivered the answer, its lease ran out {ago} ago")
        }
        Verdict::DeliveryParked { until, class, reason, .. } => {
            let why = why(class.as_deref(), reason.as_deref());
            format!("answered; the next attempt to deliver it is at {}{why}", rfc3339(*until))
        }
        Verdict::Delivered { at, receipt, .. } => {
            let at = at.map(|at| format!(" at {}", rfc3339(at))).unwrap_or_default();
            let receipt = if receipt.is_empty() { "without an id".to_owned() } else { receipt.join(", ") };
            format!("delivered{at}, receipt {receipt}")
        }
        Verdict::DeliveryDead { class, reason, .. } => {
            format!("answered, and the answer cannot be delivered{}", why(class.as_deref(), reason.as_deref()))
        }
        Verdict::DeliveryUnknown { class, reason, .. } => {
            let why = why(class.as_deref(), reason.as_deref());
            format!("answered, and nobody knows whether the platform has the answer{why}")
        }
        Verdict::DeliverySuppressed { class, reason, .. } => {
            format!("answered, and the answer is kept back{}", why(class.as_deref(), reason.as_deref()))
        }
        _ => "answered: the agent had nothing to say".to_owned(),
    }
}

pub(super) fn evidence(verdict: &Verdict, standing: &Standing) -> Vec<String> {
    let (message, now) = (&standing.journey.message, standing.journey.now);
    let mut lines = Vec::new();
    let about = match verdict {
        Verdict::Behind { first_is, .. } => first_is,
        other => other,
    };
    match about {
        Verdict::HeldByWorker { epoch, renewed, lease_until, .. } => {
            let left = lasting(lease_until.since(now));
            let beat = renewed.map(|at| format!(", last heartbeat {} ago", lasting(now.since(at)))).unwrap_or_default();
            lines.push(format!("lease of epoch {epoch} until {} ({left} left){beat}", rfc3339(*lease_until)));
        }
        Verdict::LeaseRanOut { sweep_at, .. } | Verdict::Queued { sweep_at } => {
            lines.push(format!("the sweep of any worker wakes it at {}", rfc3339(*sweep_at)));
        }
        Verdict::Delivering { lease_until, .. } => {
            lines.push(format!("the process has it until {}", rfc3339(*lease_until)));
        }
        _ => {}
    }
    let failed = standing.journey.events.iter().filter(|event| is_failure(event));
    let last = standing.journey.events.iter().rev().take(LAST_STEPS).rev();
    let mut steps: Vec<&JourneyEvent> = failed.collect();
    steps.extend(last.filter(|event| !is_failure(event)));
    steps.sort_by_key(|event| event.at);
    lines.extend(
        steps.into_iter().map(|event| format!("{} {}", rfc3339(event.at), telling::sentence(event, message.id))),
    );
    lines
}

/// A failed attempt is evidence, however long ago it was.
fn is_failure(event: &JourneyEvent) -> bool {
    matches!(
        event.kind,
        EventKind::TurnRetry
            | EventKind::TurnDead
            | EventKind::TurnUnknown
            | EventKind::DeliveryRetry
            | EventKind::DeliveryDead
            | EventKind::DeliveryUnknown
    )
}

pub(super) fn next(verdict: &Verdict, message: &MessageRecord) -> Option<String> {
    let id = message.id;
    Some(match verdict {
        Verdict::OnHold { .. } => "`broca hold list` shows the holds, `broca hold release` ends one".to_owned(),
        Verdict::Returning => "a worker's sweep brings it back: is one running?".to_owned(),
        Verdict::Behind { first, .. } => format!("`broca explain {first}` says more of the message it waits for"),
        Verdict::LeaseRanOut { .. } | Verdict::Queued { .. } => {
            "a worker takes it: is one running, with this database and this NATS? `broca status` shows what waits"
                .to_owned()
        }
        Verdict::Gathering { .. } => "its turn begins then, or sooner when it is asked for urgently".to_owned(),
        Verdict::AnsweredWith { message } => format!("`broca explain {message}` says where the answer is"),
        Verdict::Parked { .. } | Verdict::DeliveryParked { .. } => "it is tried again then, by itself".to_owned(),
        Verdict::Unpublished { .. } | Verdict::AnswerUnpublished { .. } => {
            "a worker's sweep publishes it as soon as NATS takes it: `broca status` asks NATS".to_owned()
        }
        Verdict::Failed { .. } => format!("`broca replay {id}` brings it back, `broca dlq resolve {id}` leaves it"),
        Verdict::Suppressed { class, .. } => after_suppression(class.as_deref(), message),
        Verdict::Stored | Verdict::Cancelled { .. } => {
            format!("`broca replay {id}` has it answered after all")
        }
        Verdict::AnswerQueued { instance, .. } => {
            format!("is the plugin running? `broca plugin run {instance}` starts one, `broca status` shows what waits")
        }
        Verdict::AnswerBehind { first, .. } => format!("`broca explain {first}` says what holds the chat up"),
        Verdict::DeliveryCutOff { .. } => {
            "the next process of its plugin asks the platform whether it has the answer".to_owned()
        }
        Verdict::DeliveryDead { .. } | Verdict::DeliverySuppressed { .. } => {
            format!("`broca replay {id}` delivers the answer again")
        }
        Verdict::DeliveryUnknown { .. } => {
            format!("look at the platform; if the answer is not there, `broca replay {id}` sends it again")
        }
        Verdict::HeldByWorker { .. }
        | Verdict::NothingToSay
        | Verdict::Delivering { .. }
        | Verdict::Delivered { .. } => return None,
    })
}

/// What lets its sender in, and then the message.
fn after_suppression(class: Option<&str>, message: &MessageRecord) -> String {
    let (id, who) = (message.id, format!("{}/{}", message.platform, message.platform_user_id));
    let this_one = format!("`broca replay {id}` has this one answered after all");
    let reason = Reason::ALL.iter().find(|reason| Some(reason.as_str()) == class);
    let Some(reason) = reason else { return this_one };
    let others = match reason {
        Reason::Inactive => format!("`broca users activate {who}` lets the person in again"),
        Reason::Ignored => {
            format!("`broca ignore list` has the rule, unless the settings have it (`ignore`, in {WHERE})")
        }
        Reason::Denied => "`broca access list` has the rule, `broca access remove` takes it back".to_owned(),
        Reason::NotOwner | Reason::NotAllowed => format!("`broca access allow {who}` lets them in"),
        Reason::NotPaired => format!("`broca pairing list` has their code, `broca access allow {who}` needs none"),
        Reason::GroupSilent | Reason::GroupsOff | Reason::GroupNotAllowed => {
            format!("`groups` and `chats` say what is taken in groups, in {WHERE}")
        }
        Reason::Command => return "its reply says what came of it".to_owned(),
        Reason::RateLimited | Reason::DailyCap => {
            format!("`rate_per_minute`, `burst` and `daily_cap` say how much, in {WHERE}")
        }
    };
    format!("{others}; {this_one}")
}

/// The places of the settings that say who may talk.
const WHERE: &str = "[access], [plugins.<instance>.access] or [routes.access]";
