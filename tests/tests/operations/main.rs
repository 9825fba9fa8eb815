//! The table of operations by all its ways: the command line, HTTP and MCP give the same answers to those who may ask.

mod access;
mod answers;
mod client;
mod doors;
mod fuzz;
mod prepared;
mod python;
mod rights;
mod steps;
