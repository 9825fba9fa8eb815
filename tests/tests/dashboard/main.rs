//! The dashboard, as whoever opens it meets it: by plain HTTP, and in a real Chromium against a real deployment. With
//! `BROCA_SCREENSHOTS=folder`, what is seen on the way is kept there.

mod doors;
mod looks;
mod operator;
mod reader;
mod scene;
