//! What a person is told when their message finally failed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::agent::FailureClass;

/// Off unless somebody turns it on: a bot that speaks of its failures is not for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NoticePolicy {
    /// Whether anybody is told.
    pub enabled: bool,
    /// What they are told.
    pub text: String,
    /// Other texts for classes of failure; an empty one says nothing.
    pub texts: BTreeMap<FailureClass, String>,
}

impl Default for NoticePolicy {
    fn default() -> Self {
        Self {
            enabled: false,
            text: "Sorry, this message could not be answered. Please try again later.".to_owned(),
            texts: BTreeMap::new(),
        }
    }
}

impl NoticePolicy {
    /// What is said of a failure; `None` is nothing. The failure's reason is for operators and never part of it.
    pub fn says(&self, class: FailureClass) -> Option<&str> {
        let text = self.texts.get(&class).unwrap_or(&self.text).trim();
        (self.enabled && !text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_when_it_is_on_and_by_the_class() {
        assert_eq!(NoticePolicy::default().says(FailureClass::Rejected), None);
        let texts = [(FailureClass::Rejected, "Not this.".to_owned()), (FailureClass::Busy, " ".to_owned())];
        let policy = NoticePolicy { enabled: true, text: "Sorry.".to_owned(), texts: texts.into() };
        assert_eq!(policy.says(FailureClass::Unavailable), Some("Sorry."));
        assert_eq!(policy.says(FailureClass::Rejected), Some("Not this."));
        assert_eq!(policy.says(FailureClass::Busy), None);
    }
}
