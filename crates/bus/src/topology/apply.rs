//! Comparing with the server, and applying. Idempotent: what is as the files say is not touched.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ApplyOptions, Change, ChangeKind, Config, ConsumerFile, Topology,
    compare::{Sort, compare, overlay},
    files::filled,
};
use crate::{
    Bus, BusError,
    api::{Api, ApiError},
};

/// Creating replicated streams waits for their leaders.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One thing to look at, and what to send if it is to change.
#[derive(Debug)]
struct Step {
    change: Change,
    request: Request,
}

#[derive(Debug)]
struct Request {
    name: String,
    body: Value,
}

#[derive(Deserialize)]
struct Info {
    config: Config,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct ConsumerNames {
    #[serde(default)]
    total: usize,
    consumers: Option<Vec<String>>,
}

impl Topology {
    /// What [`Topology::apply`] would do.
    pub async fn diff(&self, bus: &Bus, options: &ApplyOptions) -> Result<Vec<Change>, BusError> {
        let steps = self.plan(&bus.inner.api, options).await?;
        Ok(steps.into_iter().map(|step| step.change).collect())
    }

    /// Creates and updates until the server has what the files say; returns one change for every stream,
    /// bucket and consumer. What cannot be changed is [`ChangeKind::Refused`], and the rest is still done.
    pub async fn apply(&self, bus: &Bus, options: &ApplyOptions) -> Result<Vec<Change>, BusError> {
        let api = &bus.inner.api;
        let mut changes = Vec::new();
        for Step { mut change, request } in self.plan(api, options).await? {
            let acts = matches!(change.kind, ChangeKind::Created | ChangeKind::Updated { .. } | ChangeKind::Removed);
            if acts && let Err(why) = execute(api, &request).await? {
                change.kind = ChangeKind::Refused { why };
            }
            changes.push(change);
        }
        Ok(changes)
    }

    async fn plan(&self, api: &Api, options: &ApplyOptions) -> Result<Vec<Step>, BusError> {
        let mut steps = Vec::new();
        for stream in &self.streams {
            steps.push(plan_stream(api, stream, options).await?);
        }
        for template in &self.objects {
            for instance in &options.with_files {
                steps.push(plan_stream(api, &filled(template, instance), options).await?);
            }
        }
        for file in &self.consumers {
            if !file.is_template() {
                steps.push(plan_consumer(api, file, options).await?);
                continue;
            }
            for instance in &options.instances {
                steps.push(plan_consumer(api, &file.for_instance(instance), options).await?);
            }
            if options.prune {
                steps.extend(plan_prune(api, file, options).await?);
            }
        }
        Ok(steps)
    }
}

async fn plan_stream(api: &Api, stream: &Config, options: &ApplyOptions) -> Result<Step, BusError> {
    let name = stream.get("name").and_then(Value::as_str).unwrap_or_default();
    let current = look_up(api, &format!("STREAM.INFO.{name}")).await?.map(|info| info.config);
    let mut wanted = stream.clone();
    for limits in options.limits.iter().filter(|limits| limits.stream == name) {
        limits.lay_over(&mut wanted);
    }
    match options.replicas {
        Some(replicas) => {
            wanted.insert("num_replicas".into(), json!(replicas));
        }
        // A cluster that somebody scaled up must not lose its copies to a plain apply.
        None if current.is_some() => {
            wanted.remove("num_replicas");
        }
        None => {}
    }
    let target = match name.strip_prefix("KV_").or(name.strip_prefix("OBJ_")) {
        Some(bucket) => format!("bucket {bucket}"),
        None => format!("stream {name}"),
    };
    let verb = if current.is_some() { "UPDATE" } else { "CREATE" };
    Ok(Step {
        change: Change { target, kind: compare(Sort::Stream, &wanted, current.as_ref()) },
        request: Request {
            name: format!("STREAM.{verb}.{name}"),
            body: Value::Object(overlay(current.as_ref(), &wanted)),
        },
    })
}

async fn plan_consumer(api: &Api, file: &ConsumerFile, options: &ApplyOptions) -> Result<Step, BusError> {
    let (stream, name) = (&file.stream, file.name());
    let current = look_up(api, &format!("CONSUMER.INFO.{stream}.{name}")).await?.map(|info| info.config);
    let mut wanted = file.config.clone();
    if let Some(ack_wait) = options.ack_wait {
        wanted.insert("ack_wait".into(), json!(u64::try_from(ack_wait.as_nanos()).unwrap_or(u64::MAX)));
    }
    let action = if current.is_some() { "update" } else { "create" };
    Ok(Step {
        change: Change {
            target: format!("consumer {stream}.{name}"),
            kind: compare(Sort::Consumer, &wanted, current.as_ref()),
        },
        request: Request {
            name: format!("CONSUMER.CREATE.{stream}.{name}"),
            body: json!({"stream_name": stream, "config": overlay(current.as_ref(), &wanted), "action": action}),
        },
    })
}

/// The consumers that this template made for instances that are not listed any more.
async fn plan_prune(api: &Api, file: &ConsumerFile, options: &ApplyOptions) -> Result<Vec<Step>, BusError> {
    let stream = &file.stream;
    let mut steps = Vec::new();
    for name in consumer_names(api, stream).await? {
        let Some(instance) = file.instance_in(&name) else { continue };
        if options.instances.contains(&instance) {
            continue;
        }
        let Some(info) = look_up(api, &format!("CONSUMER.INFO.{stream}.{name}")).await? else { continue };
        let waiting = info.num_pending + info.num_ack_pending;
        let kind = if waiting == 0 {
            ChangeKind::Removed
        } else {
            let why =
                format!("{waiting} answers still wait for instance {instance}; deliver or dead-letter them first");
            ChangeKind::Refused { why }
        };
        steps.push(Step {
            change: Change { target: format!("consumer {stream}.{name}"), kind },
            request: Request { name: format!("CONSUMER.DELETE.{stream}.{name}"), body: Value::Null },
        });
    }
    Ok(steps)
}

async fn consumer_names(api: &Api, stream: &str) -> Result<Vec<String>, BusError> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let body = json!({"offset": names.len()});
        let page: ConsumerNames = match api.request(&format!("CONSUMER.NAMES.{stream}"), &body, TIMEOUT).await {
            Ok(page) => page,
            Err(ApiError::NotFound) => return Ok(names),
            Err(error) => return Err(error.into()),
        };
        let found = page.consumers.unwrap_or_default();
        let last = found.is_empty();
        names.extend(found);
        if last || names.len() >= page.total {
            return Ok(names);
        }
    }
}

async fn look_up(api: &Api, name: &str) -> Result<Option<Info>, BusError> {
    match api.request(name, &Value::Null, TIMEOUT).await {
        Ok(info) => Ok(Some(info)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The inner result is the server's considered refusal, which must not stop the rest.
async fn execute(api: &Api, request: &Request) -> Result<Result<(), String>, BusError> {
    match api.request::<Value>(&request.name, &request.body, TIMEOUT).await {
        Ok(_) => Ok(Ok(())),
        Err(ApiError::Other(BusError::Refused { code, reason, .. })) => {
            Ok(Err(format!("{reason} (error code {code})")))
        }
        Err(ApiError::NotFound) => Ok(Err("its stream does not exist".into())),
        Err(error) => Err(error.into()),
    }
}
