//! `broca nats`: the broker's streams and consumers.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use broca_bus::{ApplyOptions, Bus, Change, StreamLimits, Topology};
use broca_core::{AttachmentPolicy, Instance, subject};

use crate::{
    app::App,
    config::StreamSettings,
    failure::{Code, Failure},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes the broker hold what the files say, and prints what changed
    Apply(ApplyArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// Changes nothing; prints what differs and ends with exit code 1 if something does
    #[arg(long)]
    check: bool,
    /// The folder with streams/, consumers/, kv/ and objects/ [default: what this binary was built with]
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Removes the consumers of instances that are not configured, unless messages wait for them
    #[arg(long)]
    prune: bool,
}

pub(crate) async fn run(app: &App, command: &Command) -> Result<(), Failure> {
    let Command::Apply(args) = command;
    let topology = match &args.files {
        Some(folder) => Topology::load(folder)?,
        None => Topology::embedded()?,
    };
    let bus = app.bus("admin").await?;
    let options = ApplyOptions { prune: args.prune, ..apply_options(app) };
    let changes = if args.check {
        topology.diff(&bus, &options).await?
    } else {
        apply_when_able(&topology, &bus, &options).await?
    };
    app.output.result(&serde_json::json!({"items": changes}), || {
        changes.iter().map(Change::to_string).collect::<Vec<_>>().join("\n")
    })?;
    verdict(&changes, args.check)
}

/// How long a cluster may take to elect the leaders that making a stream needs.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Applies, again while the broker is not able to: a cluster that forms or loses a node answers late or not at all, and
/// what was made in the meantime is found unchanged the next time.
pub(crate) async fn apply_when_able(
    topology: &Topology,
    bus: &Bus,
    options: &ApplyOptions,
) -> Result<Vec<Change>, broca_bus::BusError> {
    let deadline = Instant::now() + CLUSTER_PATIENCE;
    loop {
        match topology.apply(bus, options).await {
            Err(error) if error.is_transient() && Instant::now() < deadline => {
                tracing::warn!(%error, "the broker cannot do this yet, tried again");
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            ended => return ended,
        }
    }
}

/// Makes sure that an instance has a consumer for its answers, and a bucket if it carries files, e.g. one that nobody had enabled when the others were made.
pub(crate) async fn ensure_consumer(app: &App, bus: &Bus, instance: &Instance) -> Result<(), Failure> {
    let options = options_for(app, vec![instance.clone()]);
    for change in apply_when_able(&Topology::embedded()?.of_instances(), bus, &options).await? {
        if !change.is_unchanged() {
            tracing::info!("{change}");
        }
    }
    Ok(())
}

/// What the settings say about the broker's streams and consumers.
pub(crate) fn apply_options(app: &App) -> ApplyOptions {
    options_for(app, app.enabled_instances())
}

fn options_for(app: &App, instances: Vec<Instance>) -> ApplyOptions {
    let settings = &app.config.settings;
    let lease = Duration::from_millis(settings.worker.lease_ttl_ms.max(settings.delivery.lease_ttl_ms));
    let with_files: Vec<Instance> = instances.iter().filter(|instance| app.keeps_files(instance)).cloned().collect();
    let mut limits = limits(&settings.retention.streams);
    let of_files = |instance| files_limits(instance, &app.attachments(instance), settings.retention.messages_days);
    limits.extend(with_files.iter().map(of_files));
    ApplyOptions {
        instances,
        with_files,
        replicas: settings.nats.replicas,
        // A wake must not come again before the lease of whoever died with it is over.
        ack_wait: (lease > ACK_WAIT_IN_FILES).then_some(lease),
        limits,
        prune: false,
    }
}

fn limits(streams: &StreamSettings) -> Vec<StreamLimits> {
    let mb = |mb: Option<u64>| mb.map(|mb| mb << 20);
    let hours = |hours: Option<u64>| hours.map(|hours| Duration::from_secs(hours * 3_600));
    let limit = |stream: &str, max_age, max_bytes| StreamLimits { stream: stream.to_owned(), max_age, max_bytes };
    vec![
        limit(subject::STREAM_DLQ, hours(streams.dlq_days.map(|days| days * 24)), mb(streams.dlq_mb)),
        limit(subject::STREAM_EVENTS, hours(streams.events_hours), mb(streams.events_mb)),
        limit(subject::STREAM_IN, None, mb(streams.in_mb)),
        limit(subject::STREAM_OUT, None, mb(streams.out_mb)),
    ]
}

/// A file does not outlive its message, of which `messages_days` are kept (0: for ever).
fn files_limits(instance: &Instance, policy: &AttachmentPolicy, messages_days: u64) -> StreamLimits {
    let days = if messages_days > 0 { policy.keep_days.min(messages_days) } else { policy.keep_days };
    StreamLimits {
        stream: subject::files_stream(instance),
        max_age: Some(Duration::from_secs(days * 86_400)),
        max_bytes: Some(policy.bucket_mb << 20),
    }
}

const ACK_WAIT_IN_FILES: Duration = Duration::from_secs(30);

fn verdict(changes: &[Change], check: bool) -> Result<(), Failure> {
    let refused = changes.iter().filter(|change| change.is_refused()).count();
    let differ = changes.iter().filter(|change| !change.is_unchanged()).count();
    if refused > 0 && !check {
        return Err(Failure::new(
            Code::Conflict,
            format!("{refused} of {} could not be brought in line", changes.len()),
        )
        .hint("the lines above say why; such a stream or consumer must be made anew by hand"));
    }
    if check && differ > 0 {
        return Err(Failure::new(Code::Failure, format!("{differ} of {} differ from the files", changes.len()))
            .hint("`broca nats apply` brings them in line"));
    }
    Ok(())
}
