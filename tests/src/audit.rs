//! Counts from the agent's and the platforms' own logs, never from our tables.

use std::collections::{HashMap, HashSet};

use broca_core::ResponseId;
use broca_rehearsal::platform::Delivery;

use crate::Rig;

/// What a rig's notices begin with: what people are told when there is no answer is no answer.
pub const NOTICE: &str = "[notice]";

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
    /// Neighbours in a person's answers, or in their turns, that stand the wrong way round. What is the right way is
    /// the platform's to say: the numbers of its updates, whatever order it gives them out in.
    pub out_of_order: Vec<String>,
    /// Answers to somebody else's message, or to none.
    pub strays: Vec<String>,
    /// Answers in parts of which one is missing.
    pub cut_short: Vec<String>,
    /// Who was told, each time, that there is no answer.
    pub notices: Vec<String>,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.answered == self.said && self.lost.is_empty() && self.wrong().is_empty()
    }

    /// All that no excuse is good for.
    pub fn wrong(&self) -> Vec<&String> {
        [&self.answered_twice, &self.asked_twice, &self.out_of_order, &self.strays, &self.cut_short]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Holds the logs against what was said: `(person, text)`. A text's first word is unique, rises for each person
    /// and begins with their name and a dash.
    pub fn of(rig: &Rig, said: &[(String, String)]) -> Self {
        let words: HashSet<&str> = said.iter().map(|(_, text)| first_word(text)).collect();
        let sent = rig.platforms().flat_map(|(_, platform)| platform.log());
        let (notices, sent): (Vec<_>, Vec<_>) = sent.partition(|sent| sent.text.starts_with(NOTICE));
        let whole = whole(&sent);
        let of = |a: &Whole<'_>| {
            named(&a.text, &words).into_iter().map(|word| (a.user.to_owned(), word)).collect::<Vec<_>>()
        };
        let answers: Vec<_> = whole.iter().flat_map(of).collect();
        let incomplete = whole.iter().filter(|answer| !answer.complete);
        let cut_short = incomplete.flat_map(|answer| named(&answer.text, &words)).collect();
        let apart = whole.iter().filter(|answer| answer.interrupted).flat_map(|answer| named(&answer.text, &words));
        let apart = apart.map(|word| format!("{word} in parts with another answer between")).collect();
        let turns = rig.letta.turns().into_iter().flat_map(|turn| named(&turn.text, &words));
        let turns: Vec<_> = turns.map(|word| (person(&word).to_owned(), word)).collect();
        let answered: HashSet<&str> = answers.iter().map(|(_, word)| word.as_str()).collect();
        let lost = said.iter().map(|(_, text)| first_word(text)).filter(|word| !answered.contains(word));
        let lost: Vec<_> = lost.map(str::to_owned).collect();
        let strays = answers.iter().filter(|(user, word)| person(word) != user).map(|(_, word)| word.clone()).collect();
        Self {
            said: said.len(),
            answered: said.len() - lost.len(),
            lost,
            answered_twice: repeated(&answers),
            asked_twice: repeated(&turns),
            out_of_order: [inversions(&answers), inversions(&turns), apart].concat(),
            strays,
            cut_short,
            notices: notices.into_iter().map(|notice| notice.user).collect(),
        }
    }
}

/// An answer at its platform, its parts put together.
struct Whole<'a> {
    user: &'a str,
    text: String,
    parts: u32,
    complete: bool,
    /// Another answer to the same chat began before its end.
    interrupted: bool,
}

/// Puts the parts of each answer together. A part that was sent before is an answer of its own: it stands there twice.
fn whole(sent: &[Delivery]) -> Vec<Whole<'_>> {
    let mut answers: Vec<Whole<'_>> = Vec::new();
    let mut begun: HashMap<ResponseId, usize> = HashMap::new();
    let mut latest: HashMap<(&str, Option<&str>), ResponseId> = HashMap::new();
    for one in sent {
        let in_chat = latest.insert((&one.user, one.chat_id.as_deref()), one.response_id);
        let known = begun.get(&one.response_id).copied();
        match known.map(|at| &mut answers[at]) {
            Some(answer) if one.part == answer.parts => {
                answer.text.push_str(&one.text);
                answer.parts += 1;
                answer.complete = one.last;
                answer.interrupted |= in_chat != Some(one.response_id);
            }
            Some(answer) if one.part < answer.parts => {
                let text = answer.text.clone();
                answers.push(Whole { user: &one.user, text, parts: 1, complete: true, interrupted: false });
            }
            _ => {
                begun.insert(one.response_id, answers.len());
                let (text, complete) = (one.text.clone(), one.last && one.part == 0);
                let parts = one.part + 1;
                answers.push(Whole { user: &one.user, text, parts, complete, interrupted: false });
            }
        }
    }
    answers
}

/// Turns of one conversation that ran at the same time, from the agent's own log.
pub fn overlapping_turns(rig: &Rig) -> Vec<String> {
    let mut turns = rig.letta.turns();
    turns.sort_by(|a, b| (&a.conversation, a.started_at_us).cmp(&(&b.conversation, b.started_at_us)));
    let neighbours = turns.windows(2).filter(|pair| pair[0].conversation == pair[1].conversation);
    let overlap = neighbours.filter(|pair| pair[1].started_at_us < pair[0].finished_at_us);
    overlap.map(|pair| format!("{} and {} in {}", pair[0].run_id, pair[1].run_id, pair[0].conversation)).collect()
}

pub(crate) fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Whose message a first word begins.
fn person(word: &str) -> &str {
    word.split('-').next().unwrap_or_default()
}

/// Which messages a text is about: the words that it holds. A turn may say several, and its answer repeats them.
fn named(text: &str, words: &HashSet<&str>) -> Vec<String> {
    let found = text.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| words.contains(word));
    let found: Vec<String> = found.map(str::to_owned).collect();
    if found.is_empty() { vec![format!("stray: {text}")] } else { found }
}

/// The words that stand more than once, once for each time too many.
fn repeated(list: &[(String, String)]) -> Vec<String> {
    let mut seen = HashSet::new();
    list.iter().map(|(_, word)| word).filter(|word| !seen.insert(word.as_str())).cloned().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<(String, String)> {
        words.iter().map(|word| (person(word).to_owned(), (*word).to_owned())).collect()
    }

    #[test]
    fn order_is_each_persons_own() {
        assert_eq!(inversions(&list(&["a-m1", "b-m7", "a-m2", "b-m8", "a-m5"])), Vec::<String>::new());
        assert_eq!(inversions(&list(&["a-m1", "a-m3", "b-m1", "a-m2", "a-m4"])), ["a-m3 before a-m2"]);
    }

    #[test]
    fn what_stands_twice_is_counted_each_time_too_many() {
        assert_eq!(repeated(&list(&["a-m1", "b-m1", "a-m1", "a-m1"])), ["a-m1", "a-m1"]);
        assert!(repeated(&list(&["a-m1", "a-m2"])).is_empty());
    }

    #[test]
    fn parts_are_put_together_and_none_is_missed() {
        let [one, two, three] = [(); 3].map(|()| ResponseId::new());
        let part = |response_id, part, text: &str, last| Delivery {
            response_id,
            user: "a".into(),
            chat_id: None,
            text: text.into(),
            part,
            last,
            message_id: "m".into(),
            at: broca_core::Timestamp(0),
        };
        let of = |sent: &[Delivery]| -> Vec<_> {
            whole(sent).into_iter().map(|a| (a.text, a.complete, a.interrupted)).collect()
        };
        let good = [part(one, 0, "on", false), part(one, 1, "e", true), part(two, 0, "two", true)];
        assert_eq!(of(&good), [("one".into(), true, false), ("two".into(), true, false)]);
        assert_eq!(of(&good[..1]), [("on".into(), false, false)], "its end is missing");
        assert_eq!(of(&[part(three, 1, "ree", true)]), [("ree".into(), false, false)], "its beginning is missing");
        let twice = [good[0].clone(), good[0].clone(), good[1].clone()];
        assert_eq!(of(&twice), [("one".into(), true, false), ("on".into(), true, false)]);
        let between = [good[0].clone(), good[2].clone(), good[1].clone()];
        assert_eq!(of(&between)[0], ("one".into(), true, true));
    }

    #[test]
    fn a_text_is_known_by_its_word_whatever_stands_around_it() {
        let words = HashSet::from(["a01-m00001", "a01-m00012"]);
        let text = "You said: [Username: @a01, Demo ID: a01] a01-m00012 #letta(llm_dies)";
        assert_eq!(named(text, &words), ["a01-m00012"]);
        let both = "[Demo ID: a01] a01-m00001\n\n[Demo ID: a01] a01-m00012";
        assert_eq!(named(both, &words), ["a01-m00001", "a01-m00012"], "said in one turn");
        assert!(named("You said: a01-m00099", &words)[0].starts_with("stray"));
    }
}
