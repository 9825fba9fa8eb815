//! Counts from the agent's and the platform's own logs, never from our tables.

use std::collections::HashMap;

use crate::Rig;

/// What became of what was said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub said: usize,
    /// Messages with at least one answer at the platform.
    pub answered: usize,
    pub lost: Vec<String>,
    /// Answers at the platform beyond the first of a message.
    pub answered_twice: Vec<String>,
    /// Turns at the agent beyond the first of a message.
    pub asked_twice: Vec<String>,
    /// Neighbours in a person's answers, or in their turns, that stand the wrong way round.
    pub out_of_order: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        let wrong = [&self.lost, &self.answered_twice, &self.asked_twice, &self.out_of_order];
        self.answered == self.said && wrong.iter().all(|list| list.is_empty())
    }

    /// Holds the logs against what was said: `(person, text)`, texts unique and rising for each person.
    pub fn of(rig: &Rig, said: &[(String, String)]) -> Self {
        let answers: Vec<_> = rig.platform.log().into_iter().map(|d| (d.user, named(&d.text, said))).collect();
        let turns: Vec<_> = rig
            .letta
            .turns()
            .into_iter()
            .map(|turn| named(&turn.text, said))
            .map(|text| (text.split('-').next().unwrap_or_default().to_owned(), text))
            .collect();
        let count = |list: &[(String, String)]| {
            let mut counts: HashMap<String, usize> = HashMap::new();
            for (_, text) in list {
                *counts.entry(text.clone()).or_default() += 1;
            }
            counts
        };
        let (answer_counts, turn_counts) = (count(&answers), count(&turns));
        let more_than_one = |counts: &HashMap<String, usize>| {
            counts.iter().filter(|(_, n)| **n > 1).map(|(text, _)| text.clone()).collect::<Vec<_>>()
        };
        let lost: Vec<_> =
            said.iter().map(|(_, text)| text).filter(|t| !answer_counts.contains_key(*t)).cloned().collect();
        Self {
            said: said.len(),
            answered: said.len() - lost.len(),
            lost,
            answered_twice: more_than_one(&answer_counts),
            asked_twice: more_than_one(&turn_counts),
            out_of_order: [inversions(&answers), inversions(&turns)].concat(),
        }
    }
}

/// Turns of one conversation that ran at the same time, from the agent's own log.
pub fn overlapping_turns(rig: &Rig) -> Vec<String> {
    let mut turns = rig.letta.turns();
    turns.sort_by(|a, b| (&a.conversation, a.started_at_us).cmp(&(&b.conversation, b.started_at_us)));
    let neighbours = turns.windows(2).filter(|pair| pair[0].conversation == pair[1].conversation);
    let overlap = neighbours.filter(|pair| pair[1].started_at_us < pair[0].finished_at_us);
    overlap.map(|pair| format!("{} and {} in {}", pair[0].run_id, pair[1].run_id, pair[0].conversation)).collect()
}

/// Which message a text is about: the said text that it holds.
fn named(text: &str, said: &[(String, String)]) -> String {
    let found = said.iter().map(|(_, t)| t).find(|t| text.contains(t.as_str()));
    found.cloned().unwrap_or_else(|| format!("stray: {text}"))
}

fn inversions(list: &[(String, String)]) -> Vec<String> {
    let mut last: HashMap<&str, &str> = HashMap::new();
    let mut wrong = Vec::new();
    for (person, text) in list {
        if let Some(before) = last.insert(person, text)
            && before > text.as_str()
        {
            wrong.push(format!("{before} before {text}"));
        }
    }
    wrong
}
