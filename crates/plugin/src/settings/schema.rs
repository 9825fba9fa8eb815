//! The JSON schema of a plugin's settings, and the one place where settings are checked by it.

use std::sync::Arc;

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use schemars::JsonSchema;
use serde_json::Value;

use super::{Problem, SettingKey, SettingsError, keys, shape::Shape};

/// A checked JSON schema.
#[derive(Clone, Debug)]
pub struct SettingsSchema {
    json: Arc<Value>,
    whole: Arc<Validator>,
    /// The same without the list of keys that must be there.
    part: Arc<Validator>,
}

impl SettingsSchema {
    /// The schema of a settings struct. Give the struct `#[serde(deny_unknown_fields)]`: a key that is misspelt is
    /// then an error instead of nothing.
    ///
    /// # Panics
    /// Never for a type whose `JsonSchema` is derived; a test of the plugin that calls this finds one that is not.
    pub fn of<S: JsonSchema>() -> Self {
        let json = schemars::schema_for!(S).to_value();
        // Unwrap safety: schemars writes JSON Schema; a type that writes something else fails at its first use.
        Self::from_json(json).expect("the schema of a settings struct is a JSON schema")
    }

    /// A schema that somebody wrote, e.g. the file beside a `plugin.toml`.
    ///
    /// # Errors
    /// It is no JSON schema, or refers to another document, which is never fetched.
    pub fn from_json(json: Value) -> Result<Self, SettingsError> {
        let no_schema =
            |error: ValidationError<'_>| SettingsError::one("", format!("not a usable JSON schema: {error}"));
        let mut part = json.clone();
        if let Some(table) = part.as_object_mut() {
            table.remove("required");
        }
        let whole = Arc::new(jsonschema::validator_for(&json).map_err(no_schema)?);
        let part = Arc::new(jsonschema::validator_for(&part).map_err(no_schema)?);
        Ok(Self { json: Arc::new(json), whole, part })
    }

    /// A plugin that takes no settings.
    pub fn none() -> Self {
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        struct NoSettings {}
        Self::of::<NoSettings>()
    }

    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Texts, as the environment and a command line have them, as the kinds of values that their places want.
    pub fn fit(&self, settings: Value) -> Value {
        Shape::root(&self.json).fit(settings)
    }

    /// Checks all settings of an instance.
    ///
    /// # Errors
    /// Every key that does not fit, with what would.
    pub fn check(&self, settings: &Value) -> Result<(), SettingsError> {
        self.run(&self.whole, settings)
    }

    /// Checks settings that are laid over others, which may hold what is missing here.
    ///
    /// # Errors
    /// Every key that does not fit, with what would.
    pub fn check_part(&self, settings: &Value) -> Result<(), SettingsError> {
        self.run(&self.part, settings)
    }

    /// Checks that secrets are references: what is kept where others may read it must not hold one.
    ///
    /// # Errors
    /// The keys that hold a secret itself.
    pub fn check_references(&self, settings: &Value) -> Result<(), SettingsError> {
        let mut found = Vec::new();
        Shape::root(&self.json).bare_secrets(settings, "", &mut found);
        let what = "is a secret: give env:NAME or file:/path, as the plugin's process finds it";
        let problems: Vec<Problem> = found.into_iter().map(|key| Problem { key, what: what.into() }).collect();
        if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
    }

    /// The settings as they may be shown.
    pub fn masked(&self, settings: &Value) -> Value {
        Shape::root(&self.json).masked(settings)
    }

    /// Every key that settings may have, tables by their keys.
    pub fn keys(&self) -> Vec<SettingKey> {
        keys::of(Shape::root(&self.json))
    }

    /// Whether a dotted key is a secret's.
    pub fn is_secret(&self, key: &str) -> bool {
        Shape::root(&self.json).key(key).is_some_and(Shape::is_secret)
    }

    fn run(&self, validator: &Validator, settings: &Value) -> Result<(), SettingsError> {
        let mut problems: Vec<Problem> =
            validator.iter_errors(settings).flat_map(|error| self.problems(&error)).collect();
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(SettingsError { problems }) }
    }

    fn problems(&self, error: &ValidationError<'_>) -> Vec<Problem> {
        let key = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
        let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let place =
                    if key.is_empty() { Some(Shape::root(&self.json)) } else { Shape::root(&self.json).key(&key) };
                let known = place.map(Shape::keys).unwrap_or_default();
                let known =
                    if known.is_empty() { "there are none".into() } else { format!("there are {}", known.join(", ")) };
                let what = format!("there is no such key; {known}");
                unexpected.iter().map(|name| Problem { key: below(name), what: what.clone() }).collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![Problem { key: below(name), what: "is missing".into() }]
            }
            // The schema `false` fits nothing: it stands at every key of a table that has none.
            ValidationErrorKind::FalseSchema => {
                vec![Problem { key, what: "there is no such key; there are none".into() }]
            }
            // The value itself is left out: it may be a secret.
            _ => vec![Problem { key, what: error.masked().to_string() }],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::{super::Secret, super::typed, *};

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Bot {
        token: Secret,
        #[serde(default)]
        #[schemars(range(min = 1, max = 300))]
        poll_s: Option<u32>,
        #[serde(default)]
        chats: Vec<String>,
        #[serde(default)]
        ignored: Vec<i64>,
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        nested: Nested,
        #[serde(default)]
        labels: BTreeMap<String, bool>,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Bot,
        /// With words of its own, which makes schemars write it as an alternative.
        User,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Nested {
        api_key: Option<Secret>,
        on: bool,
    }

    fn said(result: Result<(), SettingsError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn everything_that_does_not_fit_is_said_at_once_and_without_the_value() {
        let schema = SettingsSchema::of::<Bot>();
        schema.check(&json!({"token": "env:T", "poll_s": 5})).unwrap();
        let wrong = said(schema.check(&json!({"poll_s": 301, "chats": 7, "pol": 1, "nested": {"of": true}})));
        for part in [
            "token: is missing",
            "poll_s: value is greater than the maximum of 300",
            "chats: value is not of type \"array\"",
            "pol: there is no such key; there are chats, ignored, kind, labels, nested, poll_s, token",
            "nested.of: there is no such key; there are api_key, on",
        ] {
            assert!(wrong.contains(part), "{part} is not in {wrong}");
        }
        let secret = said(schema.check(&json!({"token": ["hunter2"], "kind": "hunter2"})));
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn a_part_need_not_be_whole_but_must_fit() {
        let schema = SettingsSchema::of::<Bot>();
        schema.check_part(&json!({"poll_s": 5})).unwrap();
        assert!(said(schema.check_part(&json!({"poll_s": 0}))).contains("less than the minimum of 1"));
    }

    #[test]
    fn texts_become_what_their_place_wants() {
        let schema = SettingsSchema::of::<Bot>();
        let texts = json!({
            "token": 12345, "poll_s": "5", "chats": "12, alice", "ignored": "[1,-100123]", "kind": "user",
            "nested": {"on": "true", "api_key": "env:K"}, "labels": {"a": "false"},
        });
        let fitted = schema.fit(texts);
        schema.check(&fitted).unwrap();
        let bot: Bot = typed(fitted).unwrap();
        assert_eq!(
            (bot.poll_s, bot.chats, bot.ignored),
            (Some(5), vec!["12".into(), "alice".into()], vec![1, -100_123])
        );
        assert_eq!((bot.kind, bot.nested.on, bot.labels["a"]), (Kind::User, true, false));
        assert_eq!(bot.token, Secret::new("12345"), "a token of digits is a token");
        assert_eq!(schema.fit(json!({"poll_s": "soon"})), json!({"poll_s": "soon"}), "left for the check to name");
    }

    #[test]
    fn secrets_are_masked_and_kept_by_reference_alone() {
        let schema = SettingsSchema::of::<Bot>();
        let settings = json!({"token": "hunter2", "nested": {"api_key": "hunter3"}, "chats": ["c"]});
        let shown = schema.masked(&settings);
        assert_eq!(shown, json!({"token": "***", "nested": {"api_key": "***"}, "chats": ["c"]}));
        let bare = said(schema.check_references(&settings));
        assert!(bare.contains("token: is a secret") && bare.contains("nested.api_key: is a secret"), "{bare}");
        schema.check_references(&json!({"token": "env:T", "nested": {"api_key": "file:/k"}})).unwrap();
        assert!(schema.is_secret("token") && schema.is_secret("nested.api_key") && !schema.is_secret("chats"));
    }

    #[test]
    fn a_type_that_does_not_fit_names_its_key() {
        let error = typed::<Bot>(json!({"token": "t", "nested": {"on": 7}})).unwrap_err();
        assert_eq!(error.problems[0].key, "nested.on");
    }

    #[test]
    fn keys_are_listed_with_what_they_mean() {
        let keys = SettingsSchema::of::<Bot>().keys();
        let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
        assert_eq!(names, ["chats", "ignored", "kind", "labels", "nested.api_key", "nested.on", "poll_s", "token"]);
        let of = |name: &str| keys.iter().find(|key| key.key == name).unwrap();
        assert!(of("token").is_secret && of("token").is_required && !of("chats").is_required);
        assert_eq!(of("chats").default, Some(json!([])));
    }

    #[test]
    fn what_is_no_schema_is_refused_and_nothing_is_fetched() {
        assert!(SettingsSchema::from_json(json!({"type": "sock"})).is_err());
        assert!(SettingsSchema::from_json(json!({"$ref": "http://127.0.0.1:1/schema.json"})).is_err());
        assert!(said(SettingsSchema::none().check(&json!({"a": 1}))).contains("there is no such key; there are none"));
    }
}
