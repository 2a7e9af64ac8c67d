//! Which plugins run: those in the plugins directory, and the embedded default where it has no
//! `sliding-window` of its own.
//!
//! Not for watching the directory. Invariant: no two plugins share a name or a result key, and one
//! of them is called `sliding-window`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::contract::Settings;
use super::{Engine, Plugin, PluginError, Stage};
use crate::config;
use crate::results::Schema;

/// The default plugin's component, built from `plugins/sliding-window` with this binary.
pub const DEFAULT_COMPONENT: &[u8] = include_bytes!(env!("DEFAULT_PLUGIN"));
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
    /// SHA-256 of its component, in hexadecimal; the name of a plugin that is linked natively.
    pub digest: Arc<str>,
}

impl Running {
    /// Configures a plugin once, to learn its settings and to see that they can be written.
    pub fn new(plugin: Arc<dyn Plugin>, configuration: &str, digest: &str) -> Result<Self, PluginError> {
        let (_, settings) = plugin.instantiate(configuration)?;
        let description = plugin.description();
        let schema = Schema::new(description, &settings)
            .map_err(|error| PluginError::new(&description.name, Stage::Describe, error))?;
        Ok(Self {
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

    /// The last part of its Redis keys.
    pub fn result_key(&self) -> &str {
        &self.plugin.description().result_key
    }
}

/// Loads every plugin, or says what is wrong with each that cannot be used.
pub fn load(engine: &Engine, config: &config::Plugins) -> Result<Vec<Running>, Vec<PluginError>> {
    let mut running = Vec::new();
    let mut problems = Vec::new();
    match files(&config.dir) {
        Ok(files) => {
            for (name, wasm) in files {
                match load_file(engine, config, &name, &wasm) {
                    Ok(plugin) => running.push(plugin),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Err(problem) => problems.push(problem),
    }
    if problems.is_empty() && !running.iter().any(|plugin| plugin.name() == DEFAULT_NAME) {
        match load_default(engine, config) {
            Ok(plugin) => running.insert(0, plugin),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(clashes(&running));
    if problems.is_empty() { Ok(running) } else { Err(problems) }
}

/// Loads the embedded default plugin.
pub fn load_default(engine: &Engine, config: &config::Plugins) -> Result<Running, PluginError> {
    let plugin = engine.load(DEFAULT_NAME, DEFAULT_COMPONENT)?;
    Running::new(plugin, &default_configuration(config), &digest(DEFAULT_COMPONENT))
}

/// What the default plugin is told where no file beside it says otherwise.
pub fn default_configuration(config: &config::Plugins) -> String {
    serde_json::json!({ "windows": config.time_windows, "resolution": config.resolution }).to_string()
}

fn load_file(
    engine: &Engine,
    config: &config::Plugins,
    name: &str,
    wasm: &[u8],
) -> Result<Running, PluginError> {
    let plugin = engine.load(name, wasm)?;
    let said = &plugin.description().name;
    // Cargo names the file with underscores where the crate has hyphens.
    if said.replace('_', "-") != name.replace('_', "-") {
        let words =
            format!("the file is called {name}.wasm but the plugin calls itself {said}: rename one of them");
        return Err(PluginError::new(name, Stage::Describe, words));
    }
    let beside = config.dir.join(format!("{name}.json"));
    let configuration = match fs::read_to_string(&beside) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && said == DEFAULT_NAME => {
            default_configuration(config)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
        Err(error) => {
            return Err(PluginError::new(name, Stage::Read, format!("{}: {error}", beside.display())));
        }
    };
    Running::new(plugin, &configuration, &digest(wasm))
}

fn digest(wasm: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(wasm).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The components in the directory by name; none where there is no directory.
fn files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, PluginError> {
    let unreadable = |error: std::io::Error| PluginError::new(&dir.display().to_string(), Stage::Read, error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            files.insert(
                name.to_owned(),
                fs::read(&path).map_err(|error| PluginError::new(name, Stage::Read, error))?,
            );
        }
    }
    Ok(files)
}

fn clashes(running: &[Running]) -> Vec<PluginError> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for plugin in running {
        if let Some(owner) = owners.insert(plugin.result_key(), plugin.name()) {
            let words = format!("its result key {:?} is taken by {owner}", plugin.result_key());
            problems.push(PluginError::new(plugin.name(), Stage::Describe, words));
        }
    }
    problems
}
