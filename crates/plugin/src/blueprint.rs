//! A kind of plugin, before there is an instance of it.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Manifest, Plugin, PluginError, SettingsError, SettingsSchema, settings::typed};

type Build = dyn Fn(Value) -> Result<Arc<dyn Plugin>, SettingsError> + Send + Sync;

/// Who the plugin is, what its settings look like, and how one is made. Everything that must be known of a plugin that
/// does not run, or cannot because its settings are wrong.
///
/// ```
/// # use broca_plugin::{Blueprint, Context, Manifest, Parts, Plugin, PluginError};
/// # use broca_core::{DeliveryError, MessageId, Profile, Receipt, Response};
/// #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct PigeonSettings {
///     /// Where the loft is.
///     loft: String,
///     #[schemars(range(min = 1, max = 40))]
///     pigeons: u32,
/// }
/// # #[derive(Debug)]
/// # struct Pigeons;
/// # impl Pigeons { fn new(_: PigeonSettings) -> Result<Self, broca_plugin::PluginError> { Ok(Self) } }
/// # #[async_trait::async_trait]
/// # impl Plugin for Pigeons {
/// #     fn manifest(&self) -> Manifest { Manifest::new("pigeon", "1.0.0") }
/// #     async fn run(&self, _: Context) -> Result<(), PluginError> { Ok(()) }
/// #     async fn deliver(&self, _: &Response, _: &Profile, _: MessageId, _: &Parts) -> Result<Receipt, DeliveryError> { Ok(Receipt::default()) }
/// # }
///
/// let blueprint = Blueprint::new(Manifest::new("pigeon", "1.0.0"), Pigeons::new);
/// let error = blueprint.build(serde_json::json!({"loft": "roof", "pigeons": 41})).unwrap_err();
/// assert_eq!(error.to_string(), "pigeons: value is greater than the maximum of 40");
/// assert!(blueprint.build(serde_json::json!({"loft": "roof", "pigeons": 4})).is_ok());
/// ```
#[derive(Clone)]
pub struct Blueprint {
    manifest: Manifest,
    schema: SettingsSchema,
    build: Arc<Build>,
}

impl Blueprint {
    /// A plugin whose settings are an `S`. `build` checks what types and schema cannot, and touches nothing outside:
    /// it is also called to find out whether settings would do.
    pub fn new<S, P>(manifest: Manifest, build: fn(S) -> Result<P, PluginError>) -> Self
    where
        S: DeserializeOwned + JsonSchema + 'static,
        P: Plugin + 'static,
    {
        let built = move |settings: Value| match build(typed(settings)?) {
            Ok(plugin) => Ok(Arc::new(plugin) as Arc<dyn Plugin>),
            Err(PluginError::Settings(what)) => Err(SettingsError::one("", what)),
            Err(other) => Err(SettingsError::one("", other.to_string())),
        };
        Self::with_schema(manifest, SettingsSchema::of::<S>(), built)
    }

    /// A plugin whose settings have a schema and no Rust type of their own. What is checked by the schema already,
    /// `build` need not check again; like that of [`Self::new`] it touches nothing outside.
    pub fn with_schema(
        manifest: Manifest,
        schema: SettingsSchema,
        build: impl Fn(Value) -> Result<Arc<dyn Plugin>, SettingsError> + Send + Sync + 'static,
    ) -> Self {
        Self { manifest, schema, build: Arc::new(build) }
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn settings_schema(&self) -> &SettingsSchema {
        &self.schema
    }

    /// Checks the settings and makes a plugin with them, which does nothing before [`Plugin::run`].
    ///
    /// # Errors
    /// What does not fit, all of it.
    pub fn build(&self, settings: Value) -> Result<Arc<dyn Plugin>, SettingsError> {
        let settings = self.schema.fit(settings);
        self.schema.check(&settings)?;
        (self.build)(settings)
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blueprint").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}
