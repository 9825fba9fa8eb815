//! Finds out, without the help of the idempotency key, whether Letta has a turn.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    http::{Call, CallError},
    turn::Turn,
    wire::{Message, Run},
};

/// How far Letta's clock may be from the database's.
const CLOCK_MARGIN: Duration = Duration::from_secs(120);
const PAGE: usize = 100;
const MAX_PAGES: usize = 50;

#[derive(Debug)]
pub(super) enum Found {
    /// The message is stored, by this run.
    Run(String),
    /// The message is stored, and Letta does not say by which run.
    Orphan,
    /// Not stored, but something runs that may be it: Letta stores nothing before a turn's first step is over.
    Running,
    /// Neither stored nor running.
    Absent,
}

impl Turn<'_> {
    pub(super) async fn search(&self) -> Call<Found> {
        // In this order: a run that ends between the two questions is then in the answer to the second.
        let running = self.something_runs().await?;
        let since = self.sent_at() - CLOCK_MARGIN;
        let (mut cursor, mut limit): (Option<String>, usize) = (None, PAGE);
        for _ in 0..MAX_PAGES {
            let page = match self.conversation_page(cursor.as_deref(), limit).await {
                // Images stand in the listing with their bytes.
                Err(CallError::TooLong) if limit > 1 => {
                    limit = (limit / 10).max(1);
                    continue;
                }
                page => page?,
            };
            if let Some(message) = page.iter().find(|message| self.is_ours(message)) {
                return Ok(message.run_id.clone().map_or(Found::Orphan, Found::Run));
            }
            let passed = page.iter().filter_map(Message::date).any(|date| date < since);
            cursor = page.iter().rev().find_map(|message| message.id.clone());
            // A page may hold more items than asked for, never fewer unless it is the last.
            if passed || page.len() < limit || cursor.is_none() {
                return Ok(if running { Found::Running } else { Found::Absent });
            }
        }
        Err(CallError::Garbled(format!("more than {MAX_PAGES} pages of messages since the turn was sent")))
    }

    pub(super) fn is_ours(&self, message: &Message) -> bool {
        message.is("user_message") && message.otid.as_deref() == Some(self.key())
    }

    async fn something_runs(&self) -> Call<bool> {
        let query = [
            ("agent_id", self.agent.options.agent_id.as_str()),
            ("conversation_id", self.request.conversation.as_str()),
            ("active", "true"),
            ("order", "desc"),
            ("limit", "100"),
        ];
        let runs: Vec<Run> = self.agent.http.get(&["runs", ""], &query, self.request.trace).await?;
        let since: OffsetDateTime = self.sent_at() - CLOCK_MARGIN;
        // Rows of turns that died with their server stay active for ever; older ones are none of this turn's.
        Ok(runs.iter().any(|run| run.created_at().is_none_or(|created| created >= since)))
    }

    /// So many of the conversation's messages, newest first, older than `cursor`.
    pub(super) async fn conversation_page(&self, cursor: Option<&str>, limit: usize) -> Call<Vec<Message>> {
        let limit = limit.to_string();
        let mut query = vec![("order", "desc"), ("limit", limit.as_str())];
        query.extend(cursor.map(|id| ("after", id)));
        let path = ["conversations", self.request.conversation.as_str(), "messages"];
        self.agent.http.get(&path, &query, self.request.trace).await
    }

    /// All messages of a run, in order.
    pub(super) async fn run_messages(&self, run: &str) -> Call<Vec<Message>> {
        let limit = PAGE.to_string();
        let mut all: Vec<Message> = Vec::new();
        for _ in 0..MAX_PAGES {
            let cursor = all.iter().rev().find_map(|message| message.id.clone());
            let mut query = vec![("order", "asc"), ("limit", limit.as_str())];
            query.extend(cursor.as_deref().map(|id| ("after", id)));
            let page: Vec<Message> =
                self.agent.http.get(&["runs", run, "messages"], &query, self.request.trace).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
        Err(CallError::Garbled(format!("more than {MAX_PAGES} pages of messages in one run")))
    }
}
