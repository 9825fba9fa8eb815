//! Programs that behave and programs that do not, on a pipeline in memory.

mod folders;
mod hostile;
mod lives;
mod page;
mod python;
mod scene;
