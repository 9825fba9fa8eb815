//! What is looked at while the suite itself is the program's host.

mod answers;
mod begin;
mod ends;
mod hostile;
mod incoming;
mod order;
mod settle;

use std::sync::PoisonError;

use super::{
    Extent,
    life::Garbage,
    subject::Subject,
    verdict::{Checked, Item, holds},
};

/// What the checks share.
pub(super) struct Bench<'a> {
    pub(super) subject: &'a Subject,
    pub(super) garbage: Garbage,
    extent: Extent,
    said: &'a dyn Fn(&Item),
    items: Vec<Item>,
}

impl Bench<'_> {
    fn is(&mut self, check: &str, ended: Checked) {
        let item = Item::of(check, ended);
        (self.said)(&item);
        self.items.push(item);
    }
}

pub(super) async fn all(subject: &Subject, extent: Extent, said: &dyn Fn(&Item)) -> Vec<Item> {
    let mut bench = Bench { subject, garbage: Garbage::default(), extent, said, items: Vec::new() };
    if begin::all(&mut bench).await {
        incoming::all(&mut bench).await;
        answers::all(&mut bench).await;
        settle::all(&mut bench).await;
        hostile::all(&mut bench).await;
        ends::all(&mut bench).await;
        let lines = bench.garbage.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let what = || format!("{} lines are none of the protocol's, the first of them {}", lines.len(), lines[0]);
        let advice = "write logs to standard error; standard output is the protocol's alone";
        let clean = holds(lines.is_empty(), what, advice);
        bench.is("its output holds nothing but the protocol", clean);
    }
    bench.items
}
