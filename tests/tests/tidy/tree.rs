//! The files of the repository.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Text files by their path from the root, with `/` between.
pub(crate) struct Tree(BTreeMap<String, String>);

/// What builds and runs leave behind; the same names are in `.gitignore`.
const NOT_OURS: &[&str] = &[".git", "target", "broca-data"];

impl Tree {
    pub(crate) fn of_repository() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        assert!(files.contains_key("Cargo.toml"), "{} is not the repository", root.display());
        Self(files)
    }

    /// A made-up repository.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if NOT_OURS.contains(&&*name) || name.ends_with(".log") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.insert(path.strip_prefix(root).unwrap().display().to_string(), text);
        }
    }
}
