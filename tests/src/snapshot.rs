//! What commands print, held against what they printed before: ids, times, addresses and folders made alike.

use std::path::{Path, PathBuf};

/// One file of `tests/snapshots`, written when BROCA_TEST_WRITE is set.
///
/// # Panics
/// The text is another one than the file's.
pub fn holds(name: &str, text: &str) {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots").join(format!("{name}.txt"));
    if std::env::var_os("BROCA_TEST_WRITE").is_some() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder is made");
        std::fs::write(&file, text).expect("it is written");
    }
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        before == text,
        "{name} is told otherwise than in {}; if that is meant, run this test with BROCA_TEST_WRITE=1:\n{text}",
        file.display()
    );
}

/// The text with everything that another run has otherwise made alike. Columns keep their order and lose their widths.
pub fn alike(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "FOLDER");
    let lines = text.lines().map(|line| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(cell);
        cells.collect::<Vec<_>>().join("  ")
    });
    lines.map(|line| line + "\n").collect()
}

fn cell(text: &str) -> String {
    let words: Vec<String> = text.split(' ').map(word).collect();
    let mut told: Vec<String> = Vec::new();
    for word in words {
        let is_unit = ["s", "min", "h", "days", "ms"].contains(&word.trim_end_matches([',', ';', ':', ')']));
        match told.last_mut() {
            Some(number) if is_unit && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                *number = "AGE".to_owned();
            }
            _ => told.push(word),
        }
    }
    told.join(" ")
}

/// A word without what is its run's own.
fn word(text: &str) -> String {
    let (mut told, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let found = [(36, "ID", is_id as fn(&str) -> bool), (20, "TIME", is_time), (32, "TRACE", is_trace)]
            .into_iter()
            .find_map(|(len, name, is)| {
                let part = rest.get(..len).filter(|part| is(part))?;
                Some((part.len(), name))
            });
        match found {
            Some((len, name)) => {
                told.push_str(name);
                rest = &rest[len..];
            }
            None if rest.starts_with("127.0.0.1:") => {
                told.push_str("ADDRESS");
                rest = rest["127.0.0.1:".len()..].trim_start_matches(|c: char| c.is_ascii_digit());
            }
            None => {
                told.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    without_suffix(told)
}

fn is_id(text: &str) -> bool {
    text.char_indices().all(|(at, c)| if [8, 13, 18, 23].contains(&at) { c == '-' } else { c.is_ascii_hexdigit() })
}

fn is_trace(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == pattern.len()
        && text
            .chars()
            .zip(pattern.chars())
            .all(|(c, wanted)| if wanted == 'd' { c.is_ascii_digit() } else { c == wanted })
}

/// `worker-1.299de8c962c6` is `worker-1`.
fn without_suffix(word: String) -> String {
    match word.split_once('.') {
        Some((name, unique)) if unique.len() == 12 && unique.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_run_has_otherwise_is_made_alike() {
        let text = "id  01a20a75-2634-75f9-aaa5-72502bdb0e44    12 s ago\n\
                    at 2026-11-23T12:03:00Z by worker-1.299de8c962c6 on http://127.0.0.1:4222/x in /tmp/a: 7 messages, 3 min";
        let alike = alike(text, Path::new("/tmp/a"));
        assert_eq!(alike, "id  ID  AGE ago\nat TIME by worker-1 on http://ADDRESS/x in FOLDER: 7 messages, AGE\n");
    }
}
