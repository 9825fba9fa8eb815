//! What people write.

use std::time::Duration;

use broca_plugin_exec::protocol::{FromChild, RequestId, ToChild};

use super::Bench;
use crate::conformance::{
    QUICK,
    life::{Life, OPEN_REQUESTS, PATIENCE},
    scene::Scene,
    verdict::{Checked, holds, not_checked, wrong},
};

/// A platform that would be told too early is told within that time.
const SOON: Duration = Duration::from_millis(600);
/// Of messages in a flood.
const FLOOD: usize = 10_000;
/// What the memory of a program may come to with all of them; in MiB.
const MOST_MIB: u64 = 512;

pub(super) async fn all(bench: &mut Bench<'_>) {
    let ended = reported(bench).await;
    bench.is("what a person writes is reported", ended);
    let ended = confirmed_after_the_commit(bench).await;
    bench.is("the platform is told after `accepted`, not before", ended);
    let ended = unavailable(bench).await;
    bench.is("after `unavailable` it reports the same event again", ended);
    let ended = refused(bench).await;
    bench.is("after `refused` it goes on", ended);
    let ended = killed_before_accepted(bench).await;
    bench.is("kill -9 before `accepted`: the event comes again", ended);
    let ended = killed_after_accepted(bench).await;
    bench.is("kill -9 after `accepted`: an event that comes again has its own id", ended);
    let ended = repeated(bench).await;
    bench.is("an event that the platform repeats has one id", ended);
    let ended = backwards(bench).await;
    bench.is("events that come in the wrong order are put right", ended);
    let ended = flood(bench).await;
    bench.is(&format!("a flood of {FLOOD} messages is reported once each, in order"), ended);
}

async fn reported(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    scene.platform.say("alice", "good morning").await?;
    let (id, message) = life.report().await?;
    let advice = "see \"What people write\" in plugins/exec/README.md";
    holds(message.text == "good morning", || format!("its text is {:?}", message.text), advice)?;
    let sender = &message.sender.platform_user_id;
    holds(!sender.is_empty(), || "it does not say who wrote: sender.platform_user_id".to_owned(), advice)?;
    let advice = "give the platform's own id of the event: without it a repeated event is a second message";
    holds(!message.event_id.is_empty(), || "it has no event_id".to_owned(), advice)?;
    life.accept(id, &message).await
}

async fn confirmed_after_the_commit(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let platform = scene.platform.scripted()?;
    let mut life = scene.begin().await?;
    platform.say("alice", "good morning");
    let (id, message) = life.report().await?;
    let early = platform.wait_for_confirmation(SOON).await;
    let advice = "confirm an event to the platform when `accepted` or `refused` came: until then nothing is stored";
    holds(!early, || "the platform was told before the message was accepted".to_owned(), advice)?;
    life.accept(id, &message).await?;
    let told = platform.wait_for_confirmation(PATIENCE).await;
    holds(told, || "the platform is never told that the message is taken".to_owned(), advice)
}

async fn unavailable(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    scene.platform.say("alice", "good morning").await?;
    let (id, first) = life.report().await?;
    life.tell(&ToChild::Unavailable { id, reason: "the database is away".into() }).await?;
    let (id, again) = life.report().await?;
    let what = || format!("{:?} was not accepted, and then came {:?}", first.event_id, again.event_id);
    holds(again.event_id == first.event_id, what, "report what was not accepted again, before what is behind it")?;
    life.accept(id, &again).await
}

async fn refused(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    scene.platform.say("alice", "never").await?;
    let (id, first) = life.report().await?;
    life.tell(&ToChild::Refused { id, reason: "the message is empty: send some text".into() }).await?;
    scene.platform.say("alice", "next").await?;
    let (id, next) = life.report().await?;
    let what = || "a message that can never be accepted is reported again".to_owned();
    holds(next.event_id != first.event_id, what, "after `refused`, confirm it to the platform and go on")?;
    life.accept(id, &next).await
}

async fn killed_before_accepted(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    scene.platform.say("alice", "good morning").await?;
    let (_, first) = life.report().await?;
    let mut life = scene.begin_again(life.kill().await).await?;
    let (id, again) = life.report().await?;
    let what = || format!("it was {:?} before, and {:?} when it came again", first.event_id, again.event_id);
    holds(again.event_id == first.event_id, what, "take the event's id from the platform: it must survive you")?;
    life.accept(id, &again).await
}

async fn killed_after_accepted(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let mut life = scene.begin().await?;
    scene.platform.say("alice", "first").await?;
    let (id, first) = life.report().await?;
    life.accept(id, &first).await?;
    let mut life = scene.begin_again(life.kill().await).await?;
    scene.platform.say("alice", "second").await?;
    loop {
        let (id, message) = life.report().await?;
        life.accept(id, &message).await?;
        if message.text == "second" {
            return Ok(());
        }
        let what = || format!("{:?} was accepted, and came again as {:?}", first.event_id, message.event_id);
        holds(message.event_id == first.event_id, what, "take the event's id from the platform: it must survive you")?;
    }
}

/// What it reports until `last` comes, each accepted.
async fn until(life: &mut Life, last: &str) -> Checked<Vec<(String, String)>> {
    let mut reported = Vec::new();
    loop {
        let (id, message) = life.report().await?;
        let is_last = message.text == last;
        let known = life.accepted.contains_key(&message.event_id);
        life.accept(id, &message).await?;
        if !known {
            reported.push((message.event_id, message.text));
        }
        if is_last {
            return Ok(reported);
        }
    }
}

fn texts(reported: &[(String, String)]) -> Vec<&str> {
    reported.iter().map(|(_, text)| text.as_str()).collect()
}

async fn repeated(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let platform = scene.platform.scripted()?;
    platform.script(|script| script.repeat_updates = true);
    for text in ["one", "two", "three"] {
        platform.say("alice", text);
    }
    let mut life = scene.begin().await?;
    let reported = until(&mut life, "three").await?;
    let what = || format!("each event was given twice, and {reported:?} were reported as events of their own");
    holds(texts(&reported) == ["one", "two", "three"], what, "give each event the id that the platform gives it")
}

async fn backwards(bench: &Bench<'_>) -> Checked {
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    let platform = scene.platform.scripted()?;
    platform.script(|script| script.reverse_updates = true);
    for text in ["one", "two", "three"] {
        platform.say("alice", text);
    }
    let mut life = scene.begin().await?;
    let mut reported = Vec::new();
    while reported.len() < 3 {
        let (id, message) = life.report().await?;
        life.accept(id, &message).await?;
        reported.push(message.text);
    }
    let what = || format!("they are reported as {reported:?}");
    holds(reported == ["one", "two", "three"], what, "sort what one poll gives you by the platform's numbers")
}

/// Answered in bunches, as a busy pipeline does.
async fn flood(bench: &Bench<'_>) -> Checked {
    if bench.extent.quick {
        return Err(not_checked(QUICK, ""));
    }
    let scene = Scene::fed(bench.subject, &bench.garbage).await?;
    for number in 0..FLOOD {
        scene.platform.say(&format!("u{}", number % 100), &format!("n{number}")).await?;
    }
    let mut life = scene.begin().await?;
    let mut last_of = vec![None; 100];
    let (mut taken, mut open) = (0, Vec::<(RequestId, _)>::new());
    while taken < FLOOD {
        let patience = if open.is_empty() { PATIENCE } else { Duration::ZERO };
        match life.hear_within(patience, |line| matches!(line, FromChild::Ingest { .. })).await {
            Some(FromChild::Ingest { id, message }) => open.push((id, message)),
            _ if open.is_empty() => {
                let what = format!("{taken} of {FLOOD} were reported, and then none for {PATIENCE:?}");
                return Err(wrong(what, "report what the platform gives you, however much it is"));
            }
            _ => {
                for (id, message) in std::mem::take(&mut open) {
                    taken += usize::from(!life.accepted.contains_key(&message.event_id));
                    life.accept(id, &message).await?;
                    in_order(&message.text, &mut last_of)?;
                }
            }
        }
        let what = || format!("{} of its questions were open at once", open.len());
        holds(
            open.len() <= OPEN_REQUESTS,
            what,
            "keep to `bounds.open_requests` of `hello`: those above are not taken",
        )?;
    }
    match life.peak_mib() {
        None => Err(not_checked("nobody tells how much memory it took", "")),
        Some(mib) => holds(mib <= MOST_MIB, || format!("it took {mib} MiB"), "do not keep what is accepted"),
    }
}

/// Each person's messages rise.
fn in_order(text: &str, last_of: &mut [Option<usize>]) -> Checked {
    let number: Option<usize> = text.trim_start_matches('n').parse().ok();
    let number = number.ok_or_else(|| wrong(format!("nobody wrote {text:?}"), ""))?;
    let place = number % last_of.len();
    let before = last_of[place].replace(number);
    let what = || format!("n{number} of a person came after n{}", before.unwrap_or_default());
    holds(before.is_none_or(|before| before <= number), what, "report a chat's messages in their order")
}
