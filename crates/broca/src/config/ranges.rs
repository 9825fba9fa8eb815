//! Which numbers settings may have, for the check and for the reference.

use broca_core::{attachment::MAX_FILES, burst::Coalesce};
use serde_json::Value;

const HOUR_MS: u64 = 3_600_000;
const DAY_S: u64 = 86_400;
const WEEK_S: u64 = 7 * DAY_S;
/// In days.
const CENTURY: u64 = 36_500;
/// A picture must fit into one request to an agent.
const IMAGE_BYTES: u64 = 20 << 20;
/// In MiB.
const TERABYTE: u64 = 1 << 20;

/// The numbers that a setting may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// Dotted; `*` is any name, or any place in a list.
    pub(super) key: &'static str,
    pub(super) least: u64,
    pub(super) most: u64,
}

const fn range(key: &'static str, least: u64, most: u64) -> Range {
    Range { key, least, most }
}

pub(super) const RANGES: &[Range] = &[
    range("database.max_connections", 1, 1_000),
    range("worker.slots", 1, 50_000),
    range("worker.lease_ttl_ms", 1_000, HOUR_MS),
    range("worker.drain_ms", 0, HOUR_MS),
    range("worker.yield_after_messages", 1, 1_000_000),
    range("worker.yield_after_ms", 1, 24 * HOUR_MS),
    range("worker.sweep_interval_ms", 10, HOUR_MS),
    range("worker.sweep_grace_ms", 0, HOUR_MS),
    range("delivery.slots", 1, 10_000),
    range("delivery.timeout_ms", 100, HOUR_MS),
    range("delivery.lease_ttl_ms", 1_000, HOUR_MS),
    range("delivery.sweep_interval_ms", 10, HOUR_MS),
    range("delivery.drain_ms", 0, HOUR_MS),
    range("limits.max_text_bytes", 1, 512 * 1024),
    range("limits.max_json_bytes", 2, 256 * 1024),
    range("audit.interval_s", 0, DAY_S),
    range("audit.overdue_s", 1, DAY_S),
    range("quarantine_after", 0, 1_000),
    range("routes.*.quarantine_after", 0, 1_000),
    range("events.max_per_s", 1, 100_000),
    range("retention.interval_s", 0, DAY_S),
    range("retention.messages_days", 0, CENTURY),
    range("retention.dead_letters_days", 0, CENTURY),
    range("retention.open_dead_letters_days", 0, CENTURY),
    range("retention.events_days", 0, CENTURY),
    range("retention.records_days", 0, CENTURY),
    range("retention.audit_days", 0, CENTURY),
    range("retention.dedupe_days", 0, CENTURY),
    range("retention.streams.dlq_days", 0, CENTURY),
    range("retention.streams.dlq_mb", 1, TERABYTE),
    range("retention.streams.events_hours", 0, 24 * CENTURY),
    range("retention.streams.events_mb", 1, TERABYTE),
    range("retention.streams.in_mb", 1, TERABYTE),
    range("retention.streams.out_mb", 1, TERABYTE),
    range("up.workers", 1, 64),
    range("up.stop_grace_ms", 0, HOUR_MS),
    range("agents.*.turn_timeout_s", 1, DAY_S),
    range("agents.*.stuck_after_s", 1, DAY_S),
    range("agents.*.delay_ms", 0, HOUR_MS),
    range("agents.*.max_concurrent_turns", 1, 100_000),
    range("agents.*.endpoint_max_concurrent_turns", 1, 100_000),
    range("agents.*.breaker_failures", 0, 1_000),
    range("agents.*.breaker_open_ms", 1, HOUR_MS),
    range("agents.*.breaker_open_max_ms", 1, 24 * HOUR_MS),
    range("retry.max_attempts", 1, 1_000),
    range("retry.initial_ms", 1, HOUR_MS),
    range("retry.max_ms", 1, 24 * HOUR_MS),
    range("retry.max_age_s", 0, 52 * WEEK_S),
    range("delivery_retry.max_attempts", 1, 1_000),
    range("delivery_retry.initial_ms", 1, HOUR_MS),
    range("delivery_retry.max_ms", 1, 24 * HOUR_MS),
    range("delivery_retry.max_age_s", 0, 52 * WEEK_S),
    range("routes.*.retry.max_attempts", 1, 1_000),
    range("routes.*.retry.initial_ms", 1, HOUR_MS),
    range("routes.*.retry.max_ms", 1, 24 * HOUR_MS),
    range("routes.*.retry.max_age_s", 0, 52 * WEEK_S),
    range("routes.*.coalesce.window_ms", 0, HOUR_MS),
    range("routes.*.coalesce.max_messages", 1, Coalesce::MOST_MESSAGES as u64),
    range("routes.*.coalesce.max_bytes", 1, 1 << 20),
    range("pairing.code_life_s", 60, WEEK_S),
    range("pairing.max_open", 1, 10_000),
    range("pairing.per_day", 1, 1_000),
    range("access.rate_per_minute", 0, 1_000_000),
    range("access.burst", 1, 1_000_000),
    range("access.daily_cap", 0, 1_000_000),
    range("plugins.*.access.rate_per_minute", 0, 1_000_000),
    range("plugins.*.access.burst", 1, 1_000_000),
    range("plugins.*.access.daily_cap", 0, 1_000_000),
    range("routes.*.access.rate_per_minute", 0, 1_000_000),
    range("routes.*.access.burst", 1, 1_000_000),
    range("routes.*.access.daily_cap", 0, 1_000_000),
    range("attachments.max_bytes", 1, IMAGE_BYTES),
    range("attachments.max_images", 1, MAX_FILES as u64),
    range("attachments.keep_days", 1, CENTURY),
    range("attachments.bucket_mb", 1, TERABYTE),
    range("plugins.*.attachments.max_bytes", 1, IMAGE_BYTES),
    range("plugins.*.attachments.max_images", 1, MAX_FILES as u64),
    range("plugins.*.attachments.keep_days", 1, CENTURY),
    range("plugins.*.attachments.bucket_mb", 1, TERABYTE),
];

impl Range {
    /// Every number that stands at its key, with the key in full.
    pub(super) fn values(&self, settings: &Value, mut seen: impl FnMut(&str, u64)) {
        let parts: Vec<&str> = self.key.split('.').collect();
        walk(settings, &parts, String::new(), &mut seen);
    }
}

fn walk(value: &Value, parts: &[&str], path: String, seen: &mut dyn FnMut(&str, u64)) {
    let Some((part, rest)) = parts.split_first() else {
        if let Some(number) = value.as_u64() {
            seen(&path, number);
        }
        return;
    };
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (value, *part) {
        (Value::Object(fields), "*") => fields.iter().for_each(|(name, field)| walk(field, rest, below(name), seen)),
        (Value::Array(items), "*") => {
            items.iter().enumerate().for_each(|(at, item)| walk(item, rest, below(&at.to_string()), seen));
        }
        (Value::Object(fields), name) => {
            if let Some(field) = fields.get(name) {
                walk(field, rest, below(name), seen);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_at_a_key_is_seen() {
        let settings = serde_json::json!({
            "routes": [{"retry": null}, {"retry": {"max_attempts": 7}}], "agents": {"a": {"delay_ms": 3}, "b": {"delay_ms": 4}},
        });
        let seen = |key| {
            let mut found = Vec::new();
            range(key, 0, 0).values(&settings, |key, value| found.push((key.to_owned(), value)));
            found
        };
        assert_eq!(seen("routes.*.retry.max_attempts"), [("routes.1.retry.max_attempts".to_owned(), 7)]);
        assert_eq!(seen("agents.*.delay_ms").len(), 2);
        assert_eq!(seen("nowhere.at_all"), []);
    }
}
