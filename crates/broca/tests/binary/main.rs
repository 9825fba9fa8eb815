//! The binary from outside: exit codes, what stands where, and what `broca up` does when its parts or it are killed.

mod cli;
mod contexts;
mod describe;
mod json;
mod run;
mod up;
