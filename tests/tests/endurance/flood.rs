//! 10,000 messages at once: all are taken, each once, in bounded memory.

use broca_core::MessageState;
use broca_tests::eventually;
use futures::{StreamExt, stream};

use crate::{
    far::{Kind, PATIENCE},
    stage::Stage,
};

const FLOOD: usize = 10_000;
/// Of people.
const CROWD: usize = 50;
/// Requests at a time, where people send them.
const AT_ONCE: usize = 64;
/// What a plugin's process may come to with all of them, in MiB. A development build; its floor is about 60.
const MOST_MIB: u64 = 400;

/// The most memory that the process ever had, in MiB.
fn peak_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

async fn is_taken_once(kind: Kind) {
    let route = format!("[[routes]]\nname = \"flood\"\ninstance = \"{}\"\nmode = \"listen\"\n", kind.instance());
    let mut stage = Stage::set(kind, &route, &[]).await;
    if stage.far.is_polled() {
        (0..FLOOD).for_each(|number| stage.far.say(number % CROWD + 1, &format!("n{number}")));
    } else {
        let sends = stream::iter(0..FLOOD).map(|number| {
            let (far, text) = (&stage.far, format!("n{number}"));
            async move {
                // Told to come back, or not listening yet: said again.
                while !far.is_taken(number % CROWD + 1, &text).await {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        });
        tokio::time::timeout(PATIENCE * 2, sends.buffer_unordered(AT_ONCE).collect::<Vec<()>>()).await.unwrap();
    }
    let stored = async |stage: &Stage| {
        let counts = stage.counts().await;
        counts.messages.get(MessageState::Stored.as_str()).copied().unwrap_or_default()
    };
    // A bridge has them, too, as messages of its own instance.
    let all = i64::try_from(if kind == Kind::Webchat { FLOOD * 2 } else { FLOOD }).unwrap();
    eventually(&format!("{kind:?}: all are stored"), PATIENCE * 2, || async { stored(&stage).await >= all }).await;
    let pid = stage.plugin.member(0).pid();
    let mib = peak_mib(pid);
    assert!(mib <= MOST_MIB, "{kind:?}: {mib} MiB");
    assert_eq!((stored(&stage).await, stage.plugin.replaced), (all, 0), "{kind:?}");
    eventually("nothing is amiss", PATIENCE, || async { stage.rig.is_sound().is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_webhooks() {
    is_taken_once(Kind::Webhook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_program() {
    is_taken_once(Kind::Exec).await;
}

/// Of pages at the server, and of the bridge at the client.
#[tokio::test(flavor = "multi_thread")]
async fn of_web_chats_at_server_and_client() {
    is_taken_once(Kind::Webchat).await;
}
