//! Is this deployment as it should be? Each question ends in a [`Finding`] with what was seen and what to do; nothing is
//! changed. What needs a setting or an agent is asked by the caller, in the same words.

mod broker;
mod database;
mod rights;
mod work;

use serde::Serialize;

pub use broker::broker;
pub use database::database;
pub use rights::{Role, rights};
pub use work::work;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It works, and will not for long, or not as well as it could.
    Warning,
    /// It does not work.
    Failed,
}

/// What `broca doctor --fix` may do about it: both are safe to repeat, and lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    Migrate,
    ApplyTopology,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `database`, `broker`, `agent default`, …
    pub subject: String,
    pub verdict: Verdict,
    pub detail: String,
    /// What a person should do; `None` where nothing is to be done.
    pub advice: Option<String>,
    pub fix: Option<Fix>,
}

impl Finding {
    pub fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Ok, detail: detail.into(), advice: None, fix: None }
    }

    pub fn warning(subject: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, advice: Some(advice.into()), ..Self::ok(subject, detail) }
    }

    pub fn failed(subject: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::warning(subject, detail, advice) }
    }

    /// The same, with what would mend it.
    #[must_use]
    pub fn mended_by(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}

/// Bytes, as people read them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut rest = bytes;
    while rest >= 10 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_reports() {
        assert_eq!(worst(&[]), Verdict::Ok);
        let findings = [Finding::ok("a", "fine"), Finding::failed("b", "gone", "start it"), Finding::ok("c", "fine")];
        assert_eq!(worst(&findings), Verdict::Failed);
        assert_eq!(worst(&findings[2..]), Verdict::Ok);
    }

    #[test]
    fn sizes_keep_two_digits_at_least() {
        assert_eq!([size(0), size(10_239), size(10_240), size(3 << 30)], ["0 B", "10239 B", "10 KiB", "3072 MiB"]);
        assert_eq!(size(u64::MAX), "16777215 TiB");
    }
}
