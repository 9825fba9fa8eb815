//! `sqlx::migrate!` reads the migrations while this crate compiles; cargo has to be told of new files.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
