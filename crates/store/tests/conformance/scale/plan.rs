//! A plan that PostgreSQL wrote into its log, and what it says of a statement.

use serde_json::Value;

/// Rows that any statement may look at, whatever it gives.
const FREE: f64 = 150.0;
/// And so many for each that it gives: a message has a profile, a conversation, a turn, an answer, a delivery.
const PER_ROW: f64 = 12.0;

/// Of all messages, those that wait, are held, failed or are on their way out are fewer than this.
const OPEN: f64 = 0.03;

/// Messages that a page looks at at the most, as `search.rs` has it, and rows of each.
const WINDOW: f64 = 20_000.0 * 4.0;

/// What a statement may look at that does not give so many rows, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Excuse {
    /// At all that is open or failed, and nothing else: it counts or sorts that.
    Open,
    /// At a window of the newest messages, however many there are: some rows for each of [`WINDOW`].
    Window,
    /// At everything: for people, or once in a long while.
    All,
}

pub(super) const EXCUSED: &[(&str, Excuse)] = &[
    ("workload", Excuse::Open),
    ("backlog", Excuse::Open),
    ("backlog: conversations", Excuse::Open),
    ("backlog: each conversation", Excuse::Open),
    ("backlog: each message", Excuse::Open),
    ("audit no-turn", Excuse::Open),
    ("audit empty-queue", Excuse::Open),
    ("audit too-old", Excuse::Open),
    ("forget: what is there", Excuse::Open),
    // The outbox is short, and read once.
    ("copies of closed letters", Excuse::Open),
    ("standing: owed publishes", Excuse::Open),
    // Answers that are open have no index by when they are due: it would be written with each attempt.
    ("due deliveries", Excuse::Open),
    // Messages are walked until there are so many conversations.
    ("conversations", Excuse::Window),
    // At all that one person wrote.
    ("conversations with a person", Excuse::Window),
    // Conversations have no index by their scope: it would be written with each message.
    ("forget: conversations", Excuse::All),
    ("counts", Excuse::All),
    ("counts: messages", Excuse::All),
    ("counts: answers", Excuse::All),
    ("retention: kept", Excuse::All),
    ("retention: old records", Excuse::All),
    // As `access_counters` has no index by time.
    ("retention: old counters", Excuse::All),
    // Where there is a greatest number of messages: entries of the key, once a round.
    ("retention: the newest messages", Excuse::All),
];

pub(super) struct Plan {
    /// The first line of the statement, without its dashes.
    pub(super) label: String,
    /// That it gave or wrote.
    pub(super) rows: f64,
    pub(super) examined: f64,
    pub(super) ms: f64,
    tree: Value,
}

impl Plan {
    /// All that are in a log, in their order. `auto_explain` writes each behind `plan:`, indented by a tab.
    pub(super) fn all_in(log: &str) -> Vec<Self> {
        let mut plans = Vec::new();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            let Some((_, duration)) = line.split_once("duration: ").filter(|_| line.ends_with("plan:")) else {
                continue;
            };
            let ms = duration.split(' ').next().and_then(|ms| ms.parse().ok()).unwrap_or_default();
            let mut text = String::new();
            while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
                text.push_str(more);
            }
            // The last one may be half written.
            plans.extend(serde_json::from_str(&text).ok().and_then(|plan| Self::read(plan, ms)));
        }
        plans
    }

    fn read(plan: Value, ms: f64) -> Option<Self> {
        let query = plan["Query Text"].as_str()?;
        let label = query.strip_prefix("-- ")?.lines().next()?.to_owned();
        let tree = plan["Plan"].clone();
        let mut plan = Self { label, rows: 0.0, examined: 0.0, ms, tree };
        plan.rows = rows(&plan.tree).max(written(&plan.tree));
        plan.examined = examined(&plan.tree);
        Some(plan)
    }

    /// What is wrong with it, if anything is.
    pub(super) fn fault(&self, messages: f64) -> Option<String> {
        let most = FREE + PER_ROW * self.rows;
        let most = match EXCUSED.iter().find(|(label, _)| *label == self.label) {
            None => most,
            Some((_, Excuse::Open)) => most.max(OPEN * messages),
            Some((_, Excuse::Window)) => most.max(WINDOW),
            Some((_, Excuse::All)) => return None,
        };
        (self.examined > most).then(|| {
            let Self { label, rows, examined, tree, .. } = self;
            format!("'{label}' looked at {examined} rows for {rows}, more than {most}:\n{tree:#}")
        })
    }
}

fn number(node: &Value, key: &str) -> f64 {
    node[key].as_f64().unwrap_or_default()
}

fn rows(node: &Value) -> f64 {
    number(node, "Actual Rows") * number(node, "Actual Loops").max(1.0)
}

fn children(node: &Value) -> impl Iterator<Item = &Value> {
    node["Plans"].as_array().into_iter().flatten()
}

/// What statements inside a statement wrote.
fn written(node: &Value) -> f64 {
    let here = match (node["Node Type"].as_str(), children(node).next()) {
        (Some("ModifyTable"), Some(source)) => rows(source),
        _ => 0.0,
    };
    children(node).map(written).fold(here, f64::max)
}

/// Rows that were read from tables and indexes, those among them that were thrown away.
fn examined(node: &Value) -> f64 {
    let reads = node["Relation Name"].is_string() && node["Node Type"] != "ModifyTable";
    let thrown_away = number(node, "Rows Removed by Filter") + number(node, "Rows Removed by Index Recheck");
    let here = if reads { rows(node) + thrown_away * number(node, "Actual Loops").max(1.0) } else { 0.0 };
    here + children(node).map(examined).sum::<f64>()
}
