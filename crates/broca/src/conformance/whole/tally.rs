//! What became of what was said, from the platform's and the agent's own logs.

use std::collections::{HashMap, HashSet};

use crate::conformance::platform::Sent;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) said: usize,
    /// Messages without an answer.
    pub(super) lost: Vec<String>,
    /// Answers beyond the first of a message, and turns of the agent.
    pub(super) doubled: Vec<String>,
    /// Answers that came behind one of a later message.
    pub(super) disordered: Vec<String>,
}

/// The messages that have an answer. Each text is a word that the agent repeats.
pub(super) fn words<'a>(sent: &[Sent], said: &'a [(String, String)]) -> HashSet<&'a str> {
    let texts: HashSet<&str> = sent.iter().flat_map(|sent| named(&sent.text)).collect();
    said.iter().map(|(_, word)| word.as_str()).filter(|word| texts.contains(word)).collect()
}

fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

impl Tally {
    pub(super) fn of(said: &[(String, String)], sent: &[Sent], turns: &[String]) -> Self {
        let known: HashSet<&str> = said.iter().map(|(_, word)| word.as_str()).collect();
        let answers: Vec<(&str, &str)> = sent
            .iter()
            .flat_map(|sent| named(&sent.text).map(|word| (sent.user.as_str(), word)))
            .filter(|(_, word)| known.contains(word))
            .collect();
        let turns = turns.iter().flat_map(|text| named(text)).filter(|word| known.contains(word));
        let answered: HashSet<&str> = answers.iter().map(|(_, word)| *word).collect();
        let lost = said.iter().map(|(_, word)| word).filter(|word| !answered.contains(word.as_str())).cloned();
        let mut doubled = repeated(answers.iter().map(|(_, word)| *word));
        doubled.extend(repeated(turns).into_iter().map(|word| format!("{word} at the agent")));
        let mut last: HashMap<&str, &str> = HashMap::new();
        let mut disordered = Vec::new();
        for (user, word) in &answers {
            // The words of a person rise.
            let before = last.get(user).copied().unwrap_or_default();
            last.insert(user, before.max(word));
            if before > *word {
                disordered.push((*word).to_owned());
            }
        }
        Self { said: said.len(), lost: lost.collect(), doubled, disordered }
    }
}

/// The words that stand more than once, once for each time too many.
fn repeated<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = HashSet::new();
    words.filter(|word| !seen.insert(*word)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_damage_is_seen() {
        let said: Vec<_> =
            ["u00-m00000", "u01-m00001", "u00-m00002"].map(|word| (word[..3].to_owned(), word.to_owned())).into();
        let sent = |words: &[&str]| -> Vec<Sent> {
            let one = |word: &&str| Sent {
                user: word[..3].to_owned(),
                text: format!("You said: [Trial ID: {}] {word}", &word[..3]),
                id: "m".to_owned(),
            };
            words.iter().map(one).collect()
        };
        let clean = Tally::of(&said, &sent(&["u00-m00000", "u00-m00002", "u01-m00001"]), &[]);
        assert_eq!(clean, Tally { said: 3, ..Tally::default() });
        let bad = Tally::of(
            &said,
            &sent(&["u00-m00002", "u00-m00000", "u00-m00000"]),
            &["x u00-m00002".into(), "u00-m00002".into()],
        );
        assert_eq!(bad.lost, ["u01-m00001"]);
        assert_eq!(bad.doubled, ["u00-m00000", "u00-m00002 at the agent"]);
        assert_eq!(bad.disordered, ["u00-m00000", "u00-m00000"]);
    }
}
