//! What may happen to a program and to those around it.

use std::{fs::DirEntry, time::Duration};

use broca_rehearsal::platform::Fault;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::stage::{INSTANCE, Stage};
use crate::failure::{Blame, Code, Failure};

/// A send hangs so long that there is time to kill the program.
const HOLD_MS: u64 = 400;
const SOON: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mischief {
    Duplicates,
    Reorder,
    Delay,
    CrashBetweenSendAndReceipt,
    RateLimit,
    PlatformFails,
    Restart,
    HostKilled,
    BrokerKilled,
    PlatformAway,
}

impl Mischief {
    pub(super) const ALL: [Self; 10] = [
        Self::Duplicates,
        Self::Reorder,
        Self::Delay,
        Self::CrashBetweenSendAndReceipt,
        Self::RateLimit,
        Self::PlatformFails,
        Self::Restart,
        Self::HostKilled,
        Self::BrokerKilled,
        Self::PlatformAway,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Duplicates => "duplicates",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::CrashBetweenSendAndReceipt => "crash between send and receipt",
            Self::RateLimit => "429",
            Self::PlatformFails => "500",
            Self::Restart => "restart",
            Self::HostKilled => "host killed",
            Self::BrokerKilled => "broker killed",
            Self::PlatformAway => "platform away",
        }
    }

    /// Whether a platform that its author plays takes part in it, too.
    pub(super) fn needs_no_script(self) -> bool {
        matches!(self, Self::CrashBetweenSendAndReceipt | Self::Restart | Self::HostKilled | Self::BrokerKilled)
    }

    /// Does it, while people write.
    pub(super) async fn happens(self, stage: &mut Stage) -> Result<(), Failure> {
        match self {
            Self::Duplicates => stage.platform.script(|script| script.repeat_updates = true),
            Self::Reorder => stage.platform.script(|script| script.reverse_updates = true),
            Self::Delay => stage.platform.script(|script| (script.delay_ms, script.hold_ms) = (100, 100)),
            Self::CrashBetweenSendAndReceipt => {
                stage.platform.script(|script| script.hold_ms = HOLD_MS);
                let before = stage.platform.sent().len();
                stage.platform.wait_for_sent(SOON, |sent| sent.len() > before).await;
                stage.kill(false)?;
            }
            Self::RateLimit => {
                let fault = Fault::RateLimited { retry_after_s: 1 };
                stage.platform.script(|script| script.send_faults = [fault; 3].into());
            }
            Self::PlatformFails => stage.platform.script(|script| {
                script.send_faults = [Fault::ServerError; 2].into();
                script.update_faults = [Fault::ServerError, Fault::CutBefore].into();
            }),
            Self::Restart => {
                let pid = stage.up.pid(INSTANCE).and_then(|pid| i32::try_from(pid).ok());
                pid.map_or(Ok(()), |pid| kill(Pid::from_raw(pid), Signal::SIGTERM)).blame(Code::Failure, "SIGTERM")?;
            }
            Self::HostKilled => stage.kill(true)?,
            Self::BrokerKilled => stage.kill_broker()?,
            Self::PlatformAway => {
                stage.platform.goes_away().await;
                tokio::time::sleep(Duration::from_millis(700)).await;
                stage.platform.comes_back().await.blame(Code::Failure, "the platform's port")?;
            }
        }
        Ok(())
    }
}

/// The processes that `parent` started, where the system tells it.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let of_parent = |entry: DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may hold anything.
        let mut rest = stat.rsplit(") ").next()?.split(' ');
        let (state, ppid) = (rest.next()?, rest.next()?);
        (ppid.parse() == Ok(parent) && state != "Z").then_some(pid)
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(of_parent).collect()
}
