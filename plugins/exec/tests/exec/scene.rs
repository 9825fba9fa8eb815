//! A program, hosted.

use std::sync::Arc;

use broca_core::{DeliveryError, MessageId, Receipt};
use broca_plugin::{Plugin, PluginState};
use broca_plugin_exec::{blueprint, untied};
use broca_rehearsal::pipeline::{Hosted, MemoryPipeline};
use serde_json::{Value, json};

pub(crate) struct Scene {
    pub(crate) pipeline: Arc<MemoryPipeline>,
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) hosted: Hosted,
}

/// Settings of a program in Python, whose text this is. It finds `read()` for the next line and `say(type, …)`.
pub(crate) fn python(text: &str) -> Value {
    let program = format!(
        "import json, sys, time, os, signal\n\
         def read():\n    line = sys.stdin.readline()\n    return json.loads(line) if line else sys.exit(0)\n\
         def say(kind, **fields):\n    print(json.dumps({{'v': 1, 'type': kind, **fields}}), flush=True)\n\
         {text}"
    );
    json!({"command": ["python3", "-c", program], "start_timeout_ms": 10_000})
}

impl Scene {
    pub(crate) fn of(settings: Value) -> Self {
        let plugin = blueprint("pigeon", untied).build(settings).unwrap();
        let pipeline = MemoryPipeline::new();
        let hosted = Hosted::start(plugin.clone(), &pipeline);
        Self { pipeline, plugin, hosted }
    }

    /// Once the program is ready.
    pub(crate) async fn ready(settings: Value) -> Self {
        let scene = Self::of(settings);
        scene.pipeline.until(|seen| seen.states.contains(&PluginState::Connected)).await;
        scene
    }

    /// The first message that was accepted.
    pub(crate) async fn first(&self) -> MessageId {
        self.pipeline.until(|seen| !seen.accepted.is_empty()).await.accepted[0].id
    }

    pub(crate) async fn answer(&self, message: MessageId, text: &str) -> Result<Receipt, DeliveryError> {
        self.pipeline.answer(&*self.plugin, message, text).await
    }
}
