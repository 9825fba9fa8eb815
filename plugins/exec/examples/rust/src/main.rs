//! A plugin in Rust: a program of its own, which needs nothing of Broca's and no library but `serde_json`.
//!
//! Its platform is the scripted one that `broca rehearse platform` runs: HTTP and JSON, polled for what people write, and
//! asked whether it has an answer. A real platform's API stands where `platform` is, with the HTTP client of your choice;
//! the rest stays as it is.

mod host;
mod platform;

use std::{
    io::{self, BufRead, ErrorKind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{host::Host, platform::Platform};

struct Plugin {
    host: Host,
    platform: Platform,
    max_chars: usize,
    stopping: AtomicBool,
}

fn main() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let hello: Value = serde_json::from_str(&lines.next().unwrap_or_else(|| Ok("{}".into()))?)?;
    let host = Host::new();
    let settings = &hello["settings"];
    let Some(url) = settings["url"].as_str() else {
        host.say("failed", json!({"cause": "settings", "reason": "url is missing: say where the platform is"}));
        return Ok(());
    };
    let capabilities = json!({"settles": true, "max_text_chars": settings["max_text_chars"]});
    let max_chars = settings["max_text_chars"].as_u64().map_or(usize::MAX, |chars| chars as usize);
    let platform = Platform::new(url);
    let plugin = Arc::new(Plugin { host, platform, max_chars, stopping: AtomicBool::new(false) });
    plugin.host.say("ready", json!({"name": "rust-example", "version": "1.0.0", "capabilities": capabilities}));
    // Not waited for at the end: of a poll that is under way nothing was confirmed.
    thread::spawn({
        let plugin = Arc::clone(&plugin);
        move || plugin.poll()
    });
    let mut deliveries = Vec::new();
    for line in lines {
        let told: Value = serde_json::from_str(&line?)?;
        let plugin = Arc::clone(&plugin);
        deliveries.retain(|delivery: &thread::JoinHandle<()>| !delivery.is_finished());
        match told["type"].as_str() {
            Some("deliver") => deliveries.push(thread::spawn(move || plugin.deliver(&told))),
            Some("settle") => deliveries.push(thread::spawn(move || plugin.settle(&told))),
            Some("part_recorded" | "part_lost" | "accepted" | "refused" | "unavailable") => plugin.host.hear(told),
            Some("shutdown") => break,
            _ => {}
        }
    }
    plugin.stopping.store(true, Ordering::Release);
    plugin.host.close();
    for delivery in deliveries {
        drop(delivery.join());
    }
    Ok(())
}

impl Plugin {
    /// What people write goes in; the platform forgets an update only when the next poll is behind it.
    fn poll(&self) {
        let (mut offset, mut connected) = (0, None);
        while !self.stopping.load(Ordering::Acquire) {
            let taken = self.take(&mut offset, if connected == Some(true) { 2_000 } else { 0 });
            if connected != Some(taken.is_ok()) {
                connected = Some(taken.is_ok());
                let state = if taken.is_ok() { "connected" } else { "degraded" };
                let detail = taken.as_ref().err().cloned().unwrap_or_default();
                self.host.say("state", json!({"state": state, "detail": detail}));
            }
            if taken.is_err() {
                thread::sleep(Duration::from_millis(500));
            }
        }
    }

    fn take(&self, offset: &mut u64, wait_ms: u64) -> Result<(), String> {
        let polled = self.platform.updates(*offset, wait_ms);
        let mut updates = polled.map_err(|error| format!("the platform does not answer: {error}"))?;
        updates.sort_by_key(|update| update["update_id"].as_u64());
        for update in updates {
            let number = update["update_id"].as_u64().ok_or("the platform sends updates without numbers")?;
            let message = json!({
                "event_id": number.to_string(),
                "sender": {"platform_user_id": update["user"], "username": update["user"]},
                "chat_id": update["chat_id"],
                "text": update["text"],
            });
            match self.host.ask("ingest", json!({"message": message})) {
                Some(answer) if answer["type"] != "unavailable" => *offset = number + 1, // Accepted, or refused for good.
                Some(answer) => return Err(answer["reason"].to_string()), // Not confirmed: the platform gives it again.
                None => return Ok(()),                                    // The host is gone.
            }
        }
        Ok(())
    }

    /// One answer goes out, in as many messages as the platform wants for it.
    fn deliver(&self, order: &Value) {
        let (id, response) = (&order["id"], &order["response"]);
        let mut rest = response["rest"].as_str().unwrap_or_default();
        let mut part = response["parts"].as_array().map_or(0, Vec::len);
        loop {
            let end = rest.char_indices().nth(self.max_chars).map_or(rest.len(), |(at, _)| at);
            let piece;
            (piece, rest) = rest.split_at(end);
            let sent = self.platform.send(&json!({
                "response_id": response["id"],
                "user": order["profile"]["platform_user_id"],
                "chat_id": response["chat_id"],
                "text": piece,
                "part": part,
                "last": rest.is_empty(),
            }));
            let sent = match sent {
                Ok(reply) if reply.status == 200 => reply.body["message_id"].clone(),
                Ok(reply) => return self.refused(id, reply.status, reply.retry_after_s),
                Err(error) => {
                    let (what, class) = match error.kind() {
                        // There was not even a connection.
                        ErrorKind::ConnectionRefused => ("retry", "unavailable"),
                        // It may have it, or not: `settle` asks.
                        _ => ("unknown", "timeout"),
                    };
                    return self.host.say(what, json!({"id": id, "class": class, "reason": error.to_string()}));
                }
            };
            if rest.is_empty() {
                return self.host.say("delivered", json!({"id": id, "platform_message_ids": [sent]}));
            }
            let noted = json!({"id": id, "platform_message_id": sent, "text_bytes": piece.len()});
            if !self.host.part_is_recorded(noted) {
                return; // Somebody else goes on with it.
            }
            part += 1;
        }
    }

    fn refused(&self, id: &Value, status: u16, retry_after_s: Option<u64>) {
        let reason = format!("the platform answered {status}");
        let (what, class) = match status {
            429 => ("retry", "rate_limited"),
            500.. => ("retry", "unavailable"),
            403 => ("dead", "blocked"),
            _ => ("dead", "rejected"),
        };
        let after_ms = retry_after_s.map(|seconds| seconds * 1_000);
        self.host.say(what, json!({"id": id, "class": class, "reason": reason, "after_ms": after_ms}));
    }

    /// A delivery was cut off: does the platform have the answer?
    fn settle(&self, order: &Value) {
        let id = &order["id"];
        let Ok(parts) = self.platform.sent(order["response"]["id"].as_str().unwrap_or_default()) else {
            return self.host.say("settled", json!({"id": id, "outcome": "cannot_tell"}));
        };
        let settled = match parts.last() {
            None => json!({"id": id, "outcome": "not_delivered"}),
            Some(last) if last["last"] == true => {
                let ids: Vec<&Value> = parts.iter().map(|part| &part["message_id"]).collect();
                json!({"id": id, "outcome": "delivered", "platform_message_ids": ids})
            }
            Some(_) => {
                let mut end = 0;
                let part = |part: &Value| {
                    end += part["bytes"].as_u64().unwrap_or_default();
                    json!({"platform_message_id": part["message_id"], "text_end": end})
                };
                let parts: Vec<Value> = parts.iter().map(part).collect();
                json!({"id": id, "outcome": "partly", "parts": parts})
            }
        };
        self.host.say("settled", settled);
    }
}
