//! The binary from outside: exit codes, what stands where, and what `broca up` does when its parts or it are killed.

mod cli;
mod describe;
mod run;
mod up;
