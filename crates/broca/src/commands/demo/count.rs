//! What became of what was said, from the agent's and the platform's own logs.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use broca_rehearsal::{letta::TurnLine, platform::Delivery};
use serde::Serialize;

/// The figures of the demo.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// Messages that the plugin confirmed to the platform.
    pub(super) accepted: usize,
    /// Messages with an answer at the platform.
    pub(super) answered: usize,
    pub(super) lost: usize,
    /// Turns beyond the first of a message at the agent, and answers beyond the first at the platform.
    pub(super) duplicated: usize,
    /// Neighbours that stand the wrong way round in a person's turns or in their answers.
    pub(super) out_of_order: usize,
    #[serde(skip)]
    said: usize,
}

impl Count {
    pub(super) fn of(said: &[(String, String)], turns: &[TurnLine], sent: &[Delivery], unconfirmed: usize) -> Self {
        let turns = places(turns.iter().map(|turn| turn.text.as_str()), said);
        let answers = places(sent.iter().map(|sent| sent.text.as_str()), said);
        let answered = answers.iter().collect::<HashSet<_>>().len();
        let repeated = |places: &[usize]| places.len() - places.iter().collect::<HashSet<_>>().len();
        Self {
            accepted: said.len() - unconfirmed,
            answered,
            lost: said.len() - answered,
            duplicated: repeated(&turns) + repeated(&answers),
            out_of_order: inversions(&turns, said) + inversions(&answers, said),
            said: said.len(),
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.accepted == self.said && self.answered == self.said && self.lost + self.duplicated + self.out_of_order == 0
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {}, answered {}, lost {}, duplicated {}, out of order {}",
            self.accepted, self.answered, self.lost, self.duplicated, self.out_of_order
        )
    }
}

/// Who says what, in this order; no text is part of another.
pub(super) fn script(people: usize, each: usize) -> Vec<(String, String)> {
    let message = |person: usize, number: usize| (format!("user{person:03}"), format!("<{person:03}:{number:03}>"));
    (0..each).flat_map(|number| (0..people).map(move |person| message(person, number))).collect()
}

pub(super) fn answered(sent: &[Delivery], said: &[(String, String)]) -> usize {
    places(sent.iter().map(|sent| sent.text.as_str()), said).into_iter().collect::<HashSet<_>>().len()
}

/// For each text the place in the script of the message that it repeats.
fn places<'a>(texts: impl Iterator<Item = &'a str>, said: &[(String, String)]) -> Vec<usize> {
    let by_text: HashMap<&str, usize> = said.iter().enumerate().map(|(at, (_, text))| (text.as_str(), at)).collect();
    let marked = |text: &'a str| {
        let from = text.find('<')?;
        let to = from + text[from..].find('>')?;
        by_text.get(&text[from..=to]).copied()
    };
    texts.filter_map(marked).collect()
}

fn inversions(places: &[usize], said: &[(String, String)]) -> usize {
    let mut last: HashMap<&str, usize> = HashMap::new();
    let late = |place: &&usize| {
        let person = said[**place].0.as_str();
        last.insert(person, **place).is_some_and(|before| before > **place)
    };
    places.iter().filter(late).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_damage_is_seen() {
        let said = script(2, 2);
        let texts = |places: &[usize]| places.iter().map(|p| format!("You said: {}", said[*p].1)).collect::<Vec<_>>();
        let places_of = |order: &[usize]| places(texts(order).iter().map(String::as_str), &said);
        assert_eq!(places_of(&[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(inversions(&places_of(&[1, 0, 3, 2]), &said), 0, "people are independent of each other");
        assert_eq!(inversions(&places_of(&[2, 1, 0, 3]), &said), 1);
        let count = Count { accepted: 4, answered: 4, lost: 0, duplicated: 1, out_of_order: 0, said: 4 };
        assert!(!count.is_clean());
        assert_eq!(count.to_string(), "accepted 4, answered 4, lost 0, duplicated 1, out of order 0");
    }
}
