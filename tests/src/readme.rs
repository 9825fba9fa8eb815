//! What the README says that a command prints.

/// The output that stands in the README below `$ command …`, without the command.
pub fn documented(command: &str) -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(readme).expect("there is a README");
    let after = text.split_once(&format!("\n$ {command}")).unwrap_or_else(|| panic!("no `{command}` in the README")).1;
    let block = after.split_once("```").expect("a block ends").0;
    block.split_once('\n').expect("the command stands on a line of its own").1.to_owned()
}

/// The lines with every word that has a digit in it (times, ids, names of processes, counts) made alike, in an order that
/// does not depend on which of two processes was quicker.
pub fn shape(output: &str) -> Vec<String> {
    let word = |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
    // The first line of a timeline has no time since the one before.
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ").replace("# # ms ", "# ");
    let mut lines: Vec<String> = output.lines().map(line).collect();
    lines.sort();
    lines
}
