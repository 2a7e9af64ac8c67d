//! Which plugins run: those in the plugins directory, and the embedded default where it has no
//! `sliding-window` of its own.
//!
//! Not for watching the directory. Invariant: no two plugins share a name or a result key, and one
//! of them is called `sliding-window`.

use std::sync::Arc;

use super::candidate::identity;
use super::contract::Settings;
use super::directory::Directory;
use super::{Candidate, Loader, Plugin, PluginError, Refusal, ResultKeys, Stage};
use crate::config;
use crate::results::{Ancestor, Schema};

/// The default plugin's component, built from `plugins/sliding-window` with this binary.
pub const DEFAULT_COMPONENT: &[u8] = include_bytes!(env!("DEFAULT_PLUGIN"));
/// The longest horizon: what lies further back is nowhere to be read again in most topics.
const MAX_HORIZON_MS: u64 = 31 * 86_400_000;
/// The default plugin's name.
pub const DEFAULT_NAME: &str = "sliding-window";

/// A plugin with its configuration, as the pipeline runs it.
#[derive(Clone)]
pub struct Running {
    /// The loaded plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its configuration, a JSON object.
    pub configuration: Arc<str>,
    /// What that configuration means.
    pub settings: Settings,
    /// How its tables are written.
    pub schema: Arc<Schema>,
    /// Writes its rows as messages of the Kafka output; none where its fields are not those of the default plugin.
    pub ancestor: Option<Arc<Ancestor>>,
    /// SHA-256 of its component, in hexadecimal; the name of a plugin that is linked natively.
    pub digest: Arc<str>,
}

impl Running {
    /// Configures a plugin once, to learn its settings and to see that they can be written.
    pub fn new(plugin: Arc<dyn Plugin>, configuration: &str, digest: &str) -> Result<Self, PluginError> {
        let (_, settings) = plugin.instantiate(configuration)?;
        let description = plugin.description();
        let steps = 1..=settings.horizon_ms;
        if !steps.contains(&settings.step_ms) || settings.horizon_ms > MAX_HORIZON_MS {
            let words = format!(
                "a horizon of {} ms in steps of {} ms; wanted is at most {MAX_HORIZON_MS} ms, and at least a step of 1 ms",
                settings.horizon_ms, settings.step_ms
            );
            return Err(PluginError::new(&description.name, Stage::Configure, words));
        }
        let schema = Schema::new(description, &settings)
            .map_err(|error| PluginError::new(&description.name, Stage::Describe, error))?;
        Ok(Self {
            ancestor: Ancestor::new(&schema).ok().map(Arc::new),
            schema: Arc::new(schema),
            configuration: configuration.into(),
            settings,
            plugin,
            digest: digest.into(),
        })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.plugin.description().name
    }

    /// What tells it from every other plugin of its name: component and configuration.
    pub fn identity(&self) -> String {
        identity(&self.digest, &self.configuration)
    }

    /// The last part of its Redis keys.
    pub fn result_key(&self) -> &str {
        &self.plugin.description().result_key
    }
}

/// The plugins that a service begins with.
pub struct Lineup {
    /// They run.
    pub running: Vec<Running>,
    /// What loads further ones, and what those that run were made of, in their order; none where plugins
    /// do not change.
    pub loading: Option<(Loader, Vec<Candidate>)>,
}

impl Lineup {
    /// Plugins that stay as they are.
    #[must_use]
    pub fn fixed(running: Vec<Running>) -> Self {
        Self { running, loading: None }
    }
}

/// Loads every plugin, or says what is wrong with each that cannot be used.
///
/// # Errors
/// All refusals; nothing runs then.
pub fn load(loader: Loader, config: &config::Plugins) -> Result<Lineup, Vec<Refusal>> {
    let mut running: Vec<Running> = Vec::new();
    let mut candidates = Vec::new();
    let mut refusals = Vec::new();
    let found = Directory::new(config).read_all().map_err(|refusal| vec![refusal])?;
    for candidate in found {
        let load = |candidate: Candidate| {
            let loaded = loader.load(&candidate, &result_keys(&running))?;
            Ok((candidate, loaded.running))
        };
        match candidate.and_then(load) {
            Ok((candidate, loaded)) => {
                running.push(loaded);
                candidates.push(candidate);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    if refusals.is_empty() {
        Ok(Lineup { running, loading: Some((loader, candidates)) })
    } else {
        Err(refusals)
    }
}

/// The result keys of these plugins.
#[must_use]
pub fn result_keys(running: &[Running]) -> ResultKeys {
    running.iter().map(|plugin| (plugin.result_key().to_owned(), plugin.name().to_owned())).collect()
}

/// What the default plugin is told where no file beside it says otherwise.
#[must_use]
pub fn default_configuration(config: &config::Plugins) -> String {
    serde_json::json!({ "windows": config.time_windows, "resolution": config.resolution }).to_string()
}
