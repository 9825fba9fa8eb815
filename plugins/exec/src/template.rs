//! A new plugin's folder: the examples, under its name.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::settings::is_name;

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    Typescript,
    Rust,
}

impl Language {
    pub const ALL: [Self; 3] = [Self::Python, Self::Typescript, Self::Rust];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Typescript => "typescript",
            Self::Rust => "rust",
        }
    }

    /// The commands that make a folder's program, if it is to be made, and that run its own tests.
    pub fn first_steps(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["python3 -m unittest"],
            Self::Typescript => &["npm ci", "npm test"],
            Self::Rust => &["cargo build --release", "cargo test"],
        }
    }

    /// Paths and texts of the example.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        macro_rules! files {
            ($folder:literal: $($name:literal),+ $(,)?) => {
                &[$(($name, include_str!(concat!("../examples/", $folder, "/", $name)))),+]
            };
        }
        match self {
            Self::Python => {
                files!("python": "plugin.py", "test_plugin.py", "plugin.toml", "settings.schema.json", "README.md")
            }
            Self::Typescript => {
                files!("typescript": "plugin.ts", "plugin.test.ts", "plugin.toml", "settings.schema.json",
                "README.md", "package.json", "package-lock.json", "tsconfig.json", ".gitignore")
            }
            Self::Rust => {
                files!("rust": "src/main.rs", "src/host.rs", "src/platform.rs", "tests/plugin.rs", "plugin.toml",
                "settings.schema.json", "README.md", "Cargo.toml", ".gitignore")
            }
        }
    }

    /// What stands for the name in the example's files.
    fn placeholder(self) -> String {
        format!("{}-example", self.as_str())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why there is no new plugin.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    #[error("'{0}' is no name for a plugin: use 1 to 32 lower-case letters, digits or '-', a letter first")]
    Name(String),
    #[error("{} is there already: choose another name, or another --dir", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

/// Writes a plugin's folder.
///
/// # Errors
/// The name is none, the folder is there already, or cannot be written.
pub fn write(language: Language, name: &str, folder: &Path) -> Result<Vec<PathBuf>, NotMade> {
    if !is_name(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) || name.ends_with('-') {
        return Err(NotMade::Name(name.to_owned()));
    }
    if folder.symlink_metadata().is_ok() {
        return Err(NotMade::Exists(folder.to_owned()));
    }
    let mut written = Vec::new();
    for (path, text) in language.files() {
        let file = folder.join(path);
        let text = text.replace(&language.placeholder(), name);
        write_file(&file, &text).map_err(|error| NotMade::Io(file.clone(), error))?;
        written.push(file);
    }
    Ok(written)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text)?;
    if text.starts_with("#!") {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_plugin_has_its_name_everywhere_and_is_never_written_over_anything() {
        let folder = tempfile::tempdir().unwrap();
        for language in Language::ALL {
            let place = folder.path().join(language.as_str());
            for file in write(language, "line-chat", &place).unwrap() {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(!text.contains(&language.placeholder()), "{}", file.display());
            }
            assert!(matches!(write(language, "line-chat", &place), Err(NotMade::Exists(_))));
        }
        for bad in ["", "Line", "line chat", "7up", "-x", "x-", "a/b", "..", &"x".repeat(33)] {
            let place = folder.path().join("bad");
            assert!(matches!(write(Language::Python, bad, &place), Err(NotMade::Name(_))), "{bad}");
            assert!(!place.exists());
        }
    }
}
