//! Keys, compared by their hashes and in constant time.

use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::book::NewKey;

/// The key of the settings, and what an admin put in its place.
#[derive(Debug)]
pub(super) struct Key {
    /// `None`: what it opens is closed.
    configured: Option<String>,
}

pub(super) fn hash(key: &str) -> String {
    digest::digest(&digest::SHA256, key.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Key {
    pub(super) fn new(configured: Option<&SecretString>) -> Self {
        Self { configured: configured.map(|key| hash(key.expose_secret())) }
    }

    pub(super) fn is_set(&self) -> bool {
        self.configured.is_some()
    }

    /// A key that an admin set counts until the settings have another one.
    pub(super) fn admits(&self, given: &str, set: Option<&NewKey>) -> bool {
        let Some(configured) = &self.configured else { return false };
        let expected = set.filter(|set| set.instead_of == *configured).map_or(configured, |set| &set.hash);
        hash(given).as_bytes().ct_eq(expected.as_bytes()).into()
    }

    pub(super) fn replaced_by(&self, key: &str) -> Option<NewKey> {
        let instead_of = self.configured.clone()?;
        Some(NewKey { hash: hash(key), instead_of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admins_key_counts_until_the_settings_change() {
        let key = Key::new(Some(&SecretString::from("the first key of all")));
        assert!(key.admits("the first key of all", None) && !key.admits("the first key of al", None));
        let set = key.replaced_by("another key").unwrap();
        assert!(key.admits("another key", Some(&set)) && !key.admits("the first key of all", Some(&set)));
        let changed = Key::new(Some(&SecretString::from("a key of the new settings")));
        assert!(changed.admits("a key of the new settings", Some(&set)) && !changed.admits("another key", Some(&set)));
        assert!(!Key::new(None).admits("", None), "no key opens nothing");
    }
}
