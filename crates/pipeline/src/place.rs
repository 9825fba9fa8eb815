//! Where a process is among those of its machine, so that another one there can tell that it is gone.
//!
//! A number alone would not do: it means another process after a reboot, in another container, and once it was used again.

/// This process's place; `None` where the system does not tell.
pub(crate) fn mine() -> Option<String> {
    here(std::process::id())
}

/// Whether the process at that place is gone for certain. One on another machine, or that cannot be seen, is not.
pub(crate) fn is_dead(place: &str) -> bool {
    let mut parts = place.split(' ');
    let (Some(boot), Some(namespace), Some(pid)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let same_machine =
        machine().is_some_and(|(our_boot, our_namespace)| (boot, namespace) == (&our_boot, &our_namespace));
    // Where the first process cannot be seen, others may be hidden from us, too.
    if !same_machine || started(1).is_none() {
        return false;
    }
    pid.parse().is_ok_and(|pid| here(pid).as_deref() != Some(place))
}

fn here(pid: u32) -> Option<String> {
    let (boot, namespace) = machine()?;
    Some(format!("{boot} {namespace} {pid} {}", started(pid)?))
}

/// Which boot of which machine, and which of its worlds of process numbers.
fn machine() -> Option<(String, String)> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some((boot.trim().to_owned(), namespace.to_string_lossy().into_owned()))
}

/// When a process was started, in the kernel's own measure; `None` when there is none, or nothing of it is left but its
/// entry.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_seen_to_be_gone_and_only_then() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let place = here(child.id()).unwrap();
        assert!(!is_dead(&place) && !is_dead(&mine().unwrap()));
        let elsewhere = place.replacen(' ', "x ", 1);
        let reused = format!("{place}1");
        assert!(is_dead(&reused), "the number is another process's by now");
        child.kill().unwrap();
        // Killed and not yet waited for: it does nothing any more.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !is_dead(&place) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_dead(&place) && !is_dead(&elsewhere) && !is_dead("nonsense") && !is_dead(""));
    }
}
