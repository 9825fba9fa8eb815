//! What became of each check.

use std::fmt;

use serde::Serialize;

use crate::output::table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Pass,
    Fail,
    /// It does not apply, or nobody could look: no pass.
    NotChecked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotChecked => "not checked",
        })
    }
}

/// Why a check is no pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Wrong { what: String, advice: String },
    NotChecked { why: String, advice: String },
}

impl Trouble {
    /// What it is, and what to do about it.
    pub(crate) fn words(self) -> (String, String) {
        match self {
            Self::Wrong { what, advice } | Self::NotChecked { why: what, advice } => (what, advice),
        }
    }
}

pub(crate) type Checked<T = ()> = Result<T, Trouble>;

pub(super) fn wrong(what: impl Into<String>, advice: &str) -> Trouble {
    Trouble::Wrong { what: what.into(), advice: advice.to_owned() }
}

pub(super) fn not_checked(why: impl Into<String>, advice: &str) -> Trouble {
    Trouble::NotChecked { why: why.into(), advice: advice.to_owned() }
}

/// `Ok`, or what is wrong.
pub(super) fn holds(condition: bool, what: impl FnOnce() -> String, advice: &str) -> Checked {
    if condition { Ok(()) } else { Err(wrong(what(), advice)) }
}

#[derive(Debug, Serialize)]
pub(crate) struct Item {
    pub(crate) check: String,
    pub(crate) result: Verdict,
    /// What was seen, where it is no pass.
    pub(crate) what: Option<String>,
    /// What to do about it.
    pub(crate) advice: Option<String>,
}

impl Item {
    pub(super) fn of(check: impl Into<String>, ended: Checked) -> Self {
        let (result, what, advice) = match ended {
            Ok(()) => (Verdict::Pass, None, None),
            Err(Trouble::Wrong { what, advice }) => (Verdict::Fail, Some(what), Some(advice)),
            Err(Trouble::NotChecked { why, advice }) => (Verdict::NotChecked, Some(why), Some(advice)),
        };
        Self { check: check.into(), result, what, advice: advice.filter(|advice| !advice.is_empty()) }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) plugin: String,
    /// Of what `--chaos` chose.
    pub(crate) seed: Option<u64>,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) not_checked: usize,
    pub(crate) items: Vec<Item>,
}

impl Report {
    pub(super) fn of(plugin: &str, seed: Option<u64>, items: Vec<Item>) -> Self {
        let count = |verdict: Verdict| items.iter().filter(|item| item.result == verdict).count();
        let (passed, failed, not_checked) = (count(Verdict::Pass), count(Verdict::Fail), count(Verdict::NotChecked));
        Self { plugin: plugin.to_owned(), seed, passed, failed, not_checked, items }
    }

    pub(crate) fn text(&self) -> String {
        let rows = self.items.iter().map(|item| {
            let what = [item.what.as_deref(), item.advice.as_deref()].into_iter().flatten().collect::<Vec<_>>();
            [item.check.clone(), item.result.to_string(), what.join("; ")]
        });
        let seed = self.seed.map(|seed| format!(" (--seed {seed})")).unwrap_or_default();
        let Self { plugin, passed, failed, not_checked, .. } = self;
        let sum = format!("{plugin}: {passed} passed, {failed} failed, {not_checked} not checked{seed}");
        format!("{}\n\n{sum}", table(["check", "result", "what, and what to do"], rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_checked_is_no_pass() {
        let items = vec![
            Item::of("a", Ok(())),
            Item::of("b", Err(wrong("it sings", "be quiet"))),
            Item::of("c", Err(not_checked("nobody listened", ""))),
        ];
        let report = Report::of("x", Some(7), items);
        assert_eq!((report.passed, report.failed, report.not_checked), (1, 1, 1));
        let text = report.text();
        assert!(text.contains("it sings; be quiet") && text.ends_with("1 not checked (--seed 7)"), "{text}");
    }
}
