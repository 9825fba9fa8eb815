//! A page of a list: one row more than is asked for tells whether there is another page.

/// How many rows to ask the store for.
pub(crate) fn and_one_more(limit: u32) -> u32 {
    limit.saturating_add(1)
}

/// The page, and where the next one begins; nothing when this is the last one.
pub(crate) fn cut<T, C>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> (Vec<T>, Option<C>) {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > wanted;
    items.truncate(wanted);
    let next = items.last().filter(|_| more).map(cursor);
    (items, next)
}
