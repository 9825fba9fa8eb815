//! Rules of this repository that no compiler knows. Each is a function from files to complaints, and each has a test
//! that shows it a bad example: a rule that cannot fail is none.

mod layout;
mod manifests;
mod source;
mod tree;

use tree::Tree;

fn holds(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn files_are_short() {
    holds(source::files_are_short(&Tree::of_repository()));
}

#[test]
fn production_code_explains_its_unwraps() {
    holds(source::unwraps_are_explained(&Tree::of_repository()));
}

#[test]
fn no_state_change_is_thrown_away() {
    holds(source::nothing_is_thrown_away(&Tree::of_repository()));
}

#[test]
fn nothing_is_left_unfinished() {
    holds(source::nothing_is_unfinished(&Tree::of_repository()));
}

#[test]
fn crates_depend_on_what_they_may() {
    holds(manifests::edges_are_allowed(&Tree::of_repository()));
}

#[test]
fn crates_share_the_workspaces_rules() {
    holds(manifests::members_inherit(&Tree::of_repository()));
}

#[test]
fn both_databases_have_the_same_migrations() {
    holds(layout::migrations_match(&Tree::of_repository()));
}

#[test]
fn the_top_level_is_small() {
    holds(layout::top_level_is_small(&Tree::of_repository()));
}

#[test]
fn no_file_knows_a_machine() {
    holds(layout::no_machine_paths(&Tree::of_repository()));
}

#[test]
fn the_readme_names_the_two_commands() {
    holds(layout::readme_names_commands(&Tree::of_repository()));
}
