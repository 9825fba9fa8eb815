//! Another consumer of the dead letters, as somebody's alerting would have.

use std::time::Duration;

use broca_bus::Consumer;
use broca_core::{envelope::Envelope, subject};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Rig;

const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub struct DeadLetters {
    consumer: Consumer,
}

impl DeadLetters {
    /// Makes a durable consumer of its own, by a file and the operator's command.
    pub async fn open(rig: &Rig) -> Self {
        let files = rig.folder().join("more-nats");
        std::fs::create_dir_all(files.join("consumers")).expect("a folder can be made");
        let consumer = json!({
            "name": "alerts", "durable_name": "alerts", "deliver_policy": "all", "ack_policy": "explicit",
            "filter_subject": "broca.dlq.>",
        });
        std::fs::write(files.join("consumers/BROCA_DLQ.alerts.json"), consumer.to_string()).expect("a file is written");
        rig.succeeds(&["nats", "apply", "--files", files.to_str().expect("a plain path")]);
        let consumer = rig.bus().await.consumer(subject::STREAM_DLQ, "alerts", 8).await;
        Self { consumer: consumer.expect("the consumer was made") }
    }

    /// The next one: its subject and what it says.
    pub async fn next(&mut self) -> (String, Envelope) {
        let next = timeout(PATIENCE, self.consumer.next(&CancellationToken::new())).await;
        let job = next.expect("there is a dead letter").expect("nobody shuts down");
        let read = (job.subject().to_owned(), Envelope::decode(job.payload()).expect("it is an envelope"));
        job.ack().await.expect("NATS takes the ack");
        read
    }
}
