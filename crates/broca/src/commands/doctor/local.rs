//! What this machine has to offer: room on the disk, and files that the settings name.

use std::path::Path;

use broca_admin::doctor::{Finding, size};
use nix::sys::statvfs::statvfs;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::certificates;

/// With less, the broker or the database stops soon.
const LITTLE: u64 = 1 << 30;
const NOTHING: u64 = 100 << 20;

/// The room where the data folder is, or will be.
pub(super) fn disk(data_dir: &Path) -> Finding {
    let folder = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let existing = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    match statvfs(existing) {
        // The two numbers have other widths elsewhere.
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        Ok(stat) => room(existing, u64::from(stat.blocks_available()) * stat.fragment_size() as u64),
        Err(error) => Finding::warning(
            "disk",
            format!("{}: {error}", existing.display()),
            "make data_dir a folder that can be read",
        ),
    }
}

fn room(folder: &Path, free: u64) -> Finding {
    let detail = format!("{} free at {}", size(free), folder.display());
    let advice = "make room, or move data_dir: a database or broker that cannot write accepts no messages";
    match free {
        free if free < NOTHING => Finding::failed("disk", detail, advice),
        free if free < LITTLE => Finding::warning("disk", detail, advice),
        _ => Finding::ok("disk", detail),
    }
}

/// The file of authorities that NATS is trusted by, if one is named.
pub(super) fn authorities(file: Option<&Path>) -> Option<Finding> {
    let file = file?;
    let read = CertificateDer::pem_file_iter(file).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let advice = "nats.tls_ca must name a PEM file with the certificates of the authorities";
    Some(match read {
        Ok(found) if found.is_empty() => {
            Finding::failed("certificates", format!("{} has none", file.display()), advice)
        }
        Ok(found) => {
            let where_from = format!("{} in {}", found.len(), file.display());
            let ends: Vec<_> = found.iter().map(|one| certificates::ends(one)).collect();
            match ends.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(ends) => {
                    certificates::judged("certificates", &where_from, ends.into_iter().min().unwrap_or_default())
                }
                Err(why) => Finding::failed("certificates", format!("{where_from}: {why}"), advice),
            }
        }
        Err(error) => Finding::failed("certificates", format!("{}: {error}", file.display()), advice),
    })
}

#[cfg(test)]
mod tests {
    use broca_admin::doctor::Verdict;

    use super::*;

    #[test]
    fn a_full_disk_is_a_failure_and_a_fuller_one_a_warning() {
        let at = Path::new("/");
        assert_eq!(room(at, 2 << 30).verdict, Verdict::Ok);
        assert_eq!(room(at, 500 << 20).verdict, Verdict::Warning);
        assert_eq!(room(at, 0).verdict, Verdict::Failed);
        // A folder that is still to be made has the room of the one that it will be in.
        assert!(disk(&std::env::temp_dir().join("broca-not/yet/there")).detail.contains("free at"));
    }

    #[test]
    fn a_file_without_certificates_is_said() {
        assert_eq!(authorities(None), None);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert_eq!(authorities(Some(&file)).unwrap().verdict, Verdict::Failed);
        std::fs::write(&file, "nothing of the kind").unwrap();
        assert_eq!(authorities(Some(&file)).unwrap().verdict, Verdict::Failed);
    }
}
