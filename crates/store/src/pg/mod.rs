//! The writes on PostgreSQL: one statement, one round trip for a batch, wherever that is possible.
//!
//! Four habits keep them right under `read committed`, where a statement's snapshot can be older than its locks, and fast:
//!
//! - The rows that decide are locked first, in id order, and every decision uses what the lock returned (`locked`),
//!   which is the newest version. A condition on the row of an `UPDATE` itself would be tried on the
//!   snapshot's version, and a row that fails it there is skipped without waiting.
//! - A fence compares the epoch (or host and attempt) that an earlier, committed statement of the caller wrote: every
//!   later snapshot has it, unless somebody took over, and then the fence must fail anyway.
//! - A row that is named by its id is looked up by its id: `IS NOT DISTINCT FROM` keeps the planner from a partial or
//!   wider index that its other conditions would fit, and that looked small when the plan was made.
//! - What others may have added meanwhile (pending messages, the next answer of a lane) is read by a second statement.

pub(crate) mod claim;
pub(crate) mod delivery;
pub(crate) mod finish;
pub(crate) mod ingest;
pub(crate) mod lease;
pub(crate) mod outbox;
pub(crate) mod turn;
