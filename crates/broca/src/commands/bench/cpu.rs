//! CPU time and memory of processes, from `/proc`.

use std::{collections::BTreeMap, fs, time::Duration};

/// The processes that a run is charged to, by role.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    pids: BTreeMap<&'static str, u32>,
}

impl Roles {
    pub(super) fn with(mut self, role: &'static str, pid: u32) -> Self {
        self.pids.insert(role, pid);
        self
    }

    /// CPU time used so far. Every process called `postgres` on the machine counts as the database's: a bench
    /// machine has one cluster.
    pub(super) fn used(&self) -> BTreeMap<&'static str, Duration> {
        let mut used: BTreeMap<_, _> = self.pids.iter().map(|(role, pid)| (*role, cpu_time(*pid))).collect();
        let postgres: Duration = all_pids().filter(|pid| command(*pid) == "postgres").map(cpu_time).sum();
        if !postgres.is_zero() {
            used.insert("postgres", postgres);
        }
        used
    }
}

/// What was used between two looks.
pub(super) fn since(
    before: &BTreeMap<&'static str, Duration>,
    after: &BTreeMap<&'static str, Duration>,
) -> BTreeMap<&'static str, Duration> {
    let zero = Duration::ZERO;
    after.iter().map(|(role, used)| (*role, used.saturating_sub(*before.get(role).unwrap_or(&zero)))).collect()
}

/// Resident memory in bytes; 0 when the process is gone.
pub(super) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
}

fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// User and system time, of the process and of its children that have ended.
fn cpu_time(pid: u32) -> Duration {
    /// Linux counts in hundredths of a second for user space, whatever the kernel's own tick is.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command may hold spaces; the numbers begin behind its closing bracket.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}
