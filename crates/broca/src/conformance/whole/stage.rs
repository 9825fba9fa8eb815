//! Everything that runs, and the phases in which something happens to it.

use std::{path::Path, time::Duration};

use broca_rehearsal::letta::{LettaScript, ScriptedLetta};
use serde_json::{Map, json};
use tokio::time::{Instant, sleep};

use super::{
    PATIENCE, Played,
    mischief::children,
    tally::{Tally, words},
};
use crate::{
    apart::{Apart, kill9},
    app::App,
    conformance::{
        platform::Platform,
        subject::Subject,
        verdict::{Checked, holds, wrong},
    },
    failure::{Blame, Code, Failure},
};

/// The instance that runs the plugin.
pub(super) const INSTANCE: &str = "trial";
const PEOPLE: usize = 4;
/// The longest that the platform is away.
const AWAY: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Stage {
    pub(super) platform: Platform,
    pub(super) up: Apart,
    letta: ScriptedLetta,
    /// Who wrote what, in order.
    said: Vec<(String, String)>,
    /// The program finds out what became of a delivery that was cut off.
    settles: bool,
    /// Answers that were unknown when they were last counted.
    unknown: usize,
}

impl Stage {
    pub(super) async fn set(app: &App, subject: &Subject, folder: &Path) -> Result<Checked<Self>, Failure> {
        let platform = match Platform::open(subject).await {
            Ok(platform) => platform,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let letta = ScriptedLetta::start(LettaScript { min_ms: 20, max_ms: 80, ..LettaScript::default() }).await?;
        let settings = settings(subject, &platform.url(), &letta.url())?;
        let up = Apart::start(app, 2, &settings, folder)?;
        let settles = subject.capabilities.settles;
        let stage = Self { platform, up, letta, said: Vec::new(), settles, unknown: 0 };
        let deadline = Instant::now() + PATIENCE;
        let ready = || stage.up.pid(INSTANCE).is_some();
        if let Err(failure) = stage.up.until(deadline, "the private `broca up` did not get ready", ready).await {
            let log = std::fs::read_to_string(folder.join("up.log")).unwrap_or_default();
            // What it says at its end is what is wrong, and what to do.
            let begin = log.rfind("error: ").unwrap_or_else(|| log.trim_end().rfind('\n').unwrap_or_default());
            return Err(failure.hint(log[begin..].trim()));
        }
        Ok(Ok(stage))
    }

    /// Everybody writes so many messages, taking turns.
    pub(super) async fn everybody_says(&mut self, each: usize) -> Checked {
        self.everybody_adds(each, "").await
    }

    /// The same, with more behind it.
    async fn everybody_adds(&mut self, each: usize, more: &str) -> Checked {
        for _ in 0..each {
            for person in 0..PEOPLE {
                let user = format!("u{person:02}");
                let word = format!("{user}-m{:05}", self.said.len());
                self.platform.say(&user, &format!("{word}{more}")).await?;
                self.said.push((user, word));
            }
        }
        Ok(())
    }

    /// Everybody is answered, as the platform itself says.
    pub(super) async fn calm(&mut self) -> Played {
        if let Err(trouble) = self.everybody_says(3).await {
            return Ok(Err(trouble));
        }
        self.judged(false).await
    }

    /// Kills the program while answers go out, then its host.
    pub(super) async fn killed(&mut self) -> Played {
        for of_host in [false, true, false, true] {
            if let Err(trouble) = self.everybody_says(2).await {
                return Ok(Err(trouble));
            }
            let before = self.platform.sent().len();
            self.platform.wait_for_sent(PATIENCE, |sent| sent.len() > before).await;
            self.kill(of_host)?;
        }
        // Of one that does not ask its platform nobody can tell more.
        self.judged(!self.settles).await
    }

    /// Kills the program, or the process that hosts it.
    pub(super) fn kill(&self, host: bool) -> Result<(), Failure> {
        let Some(pid) = self.up.pid(INSTANCE) else { return Ok(()) };
        if host {
            return kill9(pid);
        }
        // Where nobody tells who its children are, it is the host again.
        let programs = children(pid);
        if programs.is_empty() { kill9(pid) } else { programs.into_iter().try_for_each(kill9) }
    }

    pub(super) async fn without_broker(&mut self) -> Played {
        self.kill_broker()?;
        if let Err(trouble) = self.everybody_says(2).await {
            return Ok(Err(trouble));
        }
        self.judged(false).await
    }

    pub(super) fn kill_broker(&self) -> Result<(), Failure> {
        self.up.pid("nats").map_or(Ok(()), kill9)
    }

    /// Answers come due while it is away; nothing is on its way when it goes.
    pub(super) async fn without_platform(&mut self) -> Played {
        if let Err(trouble) = self.platform.scripted() {
            return Ok(Err(trouble));
        }
        if let Err(trouble) = self.everybody_adds(1, " #letta(takes=1500)").await {
            return Ok(Err(trouble));
        }
        if let Ok(platform) = self.platform.scripted() {
            platform.wait_for_confirmation(PATIENCE).await;
        }
        self.platform.goes_away().await;
        let store = self.up.store().await?;
        let deadline = Instant::now() + AWAY;
        while Instant::now() < deadline {
            let counts = store.counts().await.blame(Code::Unavailable, "the private database")?;
            if counts.responses.get("retry").is_some_and(|waiting| *waiting > 0) {
                break;
            }
            sleep(LOOK_EVERY).await;
        }
        self.platform.comes_back().await.blame(Code::Failure, "the platform's port")?;
        self.judged(false).await
    }

    /// Waits until everything is over, and holds the platform's own log against what was said.
    /// Where it is `excused`, an answer may be marked as unknown instead.
    pub(super) async fn judged(&mut self, excused: bool) -> Played {
        let deadline = Instant::now() + PATIENCE;
        let count = self.said.len();
        let answered = || words(&self.platform.sent(), &self.said).len() >= count;
        // Not an error: what is missing then is what the count is for, or marked as unknown.
        let mut unknown = 0;
        while !answered() && Instant::now() < deadline {
            let counts = self.up.settled(Instant::now() + Duration::from_secs(2)).await?;
            unknown = counts.responses.get("unknown").copied().unwrap_or_default();
            let over = counts.responses.values().sum::<i64>();
            let of_all = usize::try_from(over).is_ok_and(|over| over >= count);
            if of_all && counts.outbox == 0 && counts.pending_conversations == 0 && unknown > 0 {
                break;
            }
        }
        let counts = self.up.settled(deadline).await?;
        unknown = unknown.max(counts.responses.get("unknown").copied().unwrap_or_default());
        let unknown = usize::try_from(unknown).unwrap_or_default();
        let forgiven = if excused { unknown } else { self.unknown };
        self.unknown = unknown;
        let turns: Vec<String> = self.letta.turns().into_iter().map(|turn| turn.text).collect();
        let tally = Tally::of(&self.said, &self.platform.sent(), &turns);
        Ok(verdict(&tally, forgiven))
    }
}

fn verdict(tally: &Tally, forgiven: usize) -> Checked {
    let Tally { said, lost, doubled, disordered } = tally;
    if lost.len() > forgiven {
        let what = format!("of {said} messages {} have no answer at the platform: {}", lost.len(), shown(lost));
        return Err(wrong(
            what,
            "confirm an event only after `accepted`, and say `delivered` only of what the platform has",
        ));
    }
    let what = || format!("of {said} answers {} are there twice: {}", doubled.len(), shown(doubled));
    let advice = "give each event the platform's own id; say `unknown` of a send of which you cannot tell, and `retry` of none that the platform may have";
    holds(doubled.is_empty(), what, advice)?;
    let what = || format!("{} stand in the wrong order: {}", disordered.len(), shown(disordered));
    holds(disordered.is_empty(), what, "report a chat's messages in their order, and one answer after the other")
}

/// The first few.
fn shown(words: &[String]) -> String {
    let more = if words.len() > 5 { ", …" } else { "" };
    words.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}

/// Leases are short, so that the test is.
fn settings(subject: &Subject, url: &str, letta: &str) -> Result<String, Failure> {
    let own = subject.settings(url, Map::new());
    let folder = subject.program.folder.as_ref();
    let command: Vec<String> =
        [subject.program.command.display().to_string()].into_iter().chain(subject.program.args.clone()).collect();
    let plugin = match &subject.schema {
        Some(_) => json!({"plugin": subject.name, "settings": own}),
        None => json!({"plugin": "exec", "settings": {"command": command, "options": own}}),
    };
    let settings = json!({
        "mode": "live",
        "plugin_folders": if subject.schema.is_some() { folder.into_iter().collect::<Vec<_>>() } else { Vec::new() },
        "agents": {"default": {"endpoint": letta, "agent_id": "agent-rehearsal"}},
        "worker": {"lease_ttl_ms": 2_000, "sweep_interval_ms": 250},
        "delivery": {"lease_ttl_ms": 2_000, "sweep_interval_ms": 250},
        "delivery_retry": {"initial_ms": 200, "max_ms": 1_000},
        "plugins": {"cli": {"enabled": false}, INSTANCE: plugin},
    });
    toml::to_string(&settings).blame(Code::Failure, "the settings of the private `broca up`")
}

impl Stage {
    pub(super) async fn strike(self) {
        self.up.stop().await;
    }
}
