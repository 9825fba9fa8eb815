//! What a role's user may do at the broker: all that it needs, and nothing else. Both are tried, in forms that change nothing.

use broca_bus::{Attempt, Bus, BusError};
use broca_core::{
    Instance, MessageId,
    event::EventType,
    subject::{self, CONSUMER_WORKERS, KEY_MODES, KV_SETTINGS, STREAM_DLQ, STREAM_IN, STREAM_OUT, STREAM_SETTINGS},
};

use super::Finding;

/// Whose user it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Worker,
    /// Of this plugin instance.
    Plugin(Instance),
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker => f.write_str("worker"),
            Self::Plugin(instance) => write!(f, "{instance}"),
        }
    }
}

/// `worker`, or the name of an instance.
impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "worker" {
            return Ok(Self::Worker);
        }
        text.parse().map(Self::Plugin).map_err(|error| format!("'{text}' is neither worker nor an instance: {error}"))
    }
}

/// Tries everything as the user of `bus`, which should have the role; `instances` are those that there are.
pub async fn rights(bus: &Bus, role: &Role, instances: &[Instance]) -> Finding {
    let mut others = instances.iter().filter(|instance| !matches!(role, Role::Plugin(own) if own == *instance));
    let Some(other) = others.next().cloned().or_else(|| "another".parse().ok()) else {
        return Finding::warning(format!("rights of {role}"), "there is no instance to try with", "configure one");
    };
    let (needed, forbidden) = match role {
        Role::Worker => (needed_by_worker(&other), forbidden_to_worker(&other)),
        Role::Plugin(own) => (needed_by_plugin(own), forbidden_to_plugin(own, &other)),
    };
    let subject = format!("rights of {role}");
    let tried = async { Ok::<_, BusError>((tried(bus, &needed).await?, tried(bus, &forbidden).await?)) };
    match tried.await {
        Ok((may, exceeds)) => judged(subject, &needed, &may, &exceeds),
        Err(error) => Finding::failed(subject, error.to_string(), "is the broker away? try again"),
    }
}

/// Those that are let through.
async fn tried(bus: &Bus, attempts: &[Attempt]) -> Result<Vec<Attempt>, BusError> {
    let asked =
        attempts.iter().map(async |attempt| Ok::<_, BusError>(bus.may(attempt).await?.then(|| attempt.clone())));
    futures::future::join_all(asked).await.into_iter().filter_map(Result::transpose).collect()
}

fn judged(subject: String, needed: &[Attempt], may: &[Attempt], exceeds: &[Attempt]) -> Finding {
    let named = |attempts: &[Attempt]| attempts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let lacks: Vec<Attempt> = needed.iter().filter(|attempt| !may.contains(attempt)).cloned().collect();
    let advice = "nats/nats-server.conf has a user for each role with the rights that it needs";
    match (lacks.is_empty(), exceeds.is_empty()) {
        (true, true) => Finding::ok(subject, "all that it needs, and nothing else that was tried"),
        (false, true) => Finding::failed(subject, format!("it may not {}", named(&lacks)), advice),
        (true, false) => Finding::failed(subject, format!("it may {}, and need not", named(exceeds)), advice),
        (false, false) => Finding::failed(
            subject,
            format!("it may not {}; and it may {}, and need not", named(&lacks), named(exceeds)),
            advice,
        ),
    }
}

fn publish(subject: String) -> Attempt {
    Attempt::Publish(subject)
}

fn ask(name: impl Into<String>) -> Attempt {
    Attempt::Ask(name.into())
}

fn pull(stream: &str, consumer: &str) -> Attempt {
    ask(format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"))
}

/// What only the administrator may: to make, change, empty and remove, to read what is others', to set.
fn of_the_administrator() -> Vec<Attempt> {
    let mut attempts = vec![
        ask("STREAM.CREATE.BROCA_DOCTOR"),
        ask(format!("CONSUMER.CREATE.{STREAM_IN}.doctor")),
        publish(format!("$KV.{KV_SETTINGS}.{KEY_MODES}")),
    ];
    for stream in [STREAM_IN, STREAM_OUT, STREAM_DLQ, STREAM_SETTINGS] {
        let names = ["STREAM.UPDATE", "STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.GET"];
        attempts.extend(names.map(|name| ask(format!("{name}.{stream}"))));
    }
    attempts
}

fn needed_by_worker(instance: &Instance) -> Vec<Attempt> {
    vec![
        pull(STREAM_IN, CONSUMER_WORKERS),
        publish(subject::incoming(instance)),
        publish(subject::outgoing(instance)),
        publish(subject::dead_letter("turn", instance, MessageId::new())),
        publish(subject::event(&EventType::Message, instance)),
    ]
}

fn forbidden_to_worker(instance: &Instance) -> Vec<Attempt> {
    let mut attempts = of_the_administrator();
    attempts.push(pull(STREAM_OUT, &subject::outgoing_consumer(instance)));
    attempts
}

fn needed_by_plugin(own: &Instance) -> Vec<Attempt> {
    vec![
        pull(STREAM_OUT, &subject::outgoing_consumer(own)),
        publish(subject::incoming(own)),
        publish(subject::dead_letter("delivery", own, MessageId::new())),
        publish(subject::event(&EventType::Status, own)),
    ]
}

fn forbidden_to_plugin(own: &Instance, other: &Instance) -> Vec<Attempt> {
    let mut attempts = of_the_administrator();
    attempts.extend([
        pull(STREAM_IN, CONSUMER_WORKERS),
        pull(STREAM_OUT, &subject::outgoing_consumer(other)),
        publish(subject::incoming(other)),
        publish(subject::outgoing(own)),
        publish(subject::outgoing(other)),
        publish(subject::dead_letter("turn", own, MessageId::new())),
        publish(subject::dead_letter("delivery", other, MessageId::new())),
        publish(subject::event(&EventType::Message, other)),
    ]);
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn too_little_and_too_much_are_both_wrong() {
        let own: Instance = "telegram".parse().unwrap();
        let needed = needed_by_plugin(&own);
        let found = |may: &[Attempt], exceeds: &[Attempt]| judged("rights".to_owned(), &needed, may, exceeds);
        assert_eq!(found(&needed, &[]).verdict, Verdict::Ok);
        let lacks = found(&needed[1..], &[]);
        assert_eq!((lacks.verdict, lacks.detail.contains("out-telegram")), (Verdict::Failed, true));
        let exceeds = found(&needed, &[publish("broca.out.cli".to_owned())]);
        assert_eq!(exceeds.detail, "it may publish to broca.out.cli, and need not");
    }

    #[test]
    fn a_role_is_worker_or_an_instance() {
        assert_eq!("worker".parse(), Ok(Role::Worker));
        assert!(matches!("telegram".parse(), Ok(Role::Plugin(instance)) if instance.as_str() == "telegram"));
        assert!("No Such".parse::<Role>().is_err());
    }
}
