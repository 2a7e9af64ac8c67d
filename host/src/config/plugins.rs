//! Plugins: what is loaded, what it may use, and the windows of the default one.

use std::path::PathBuf;
use std::time::Duration;

use aggregator_sdk::duration;
use aggregator_sdk::windows::Windows;

use super::parse::{self, Parsed};
use super::reader::Reader;
use super::setting::Setting;

/// The settings of this concern.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "PLUGINS_DIR",
        "./plugins.d",
        "The directory whose .wasm files are the plugins; what changes in it is swapped in flight.",
    ),
    Setting::new(
        "PLUGIN_CACHE_DIR",
        "",
        "The directory for compiled plugins, private to this service. Empty: aggregator under \
         $XDG_CACHE_HOME or ~/.cache; without a home there is no cache.",
    ),
    Setting::new("PLUGIN_DEADLINE", "1s", "How long one call of a plugin may take: 1ms to 5m."),
    Setting::new("PLUGIN_MEMORY_MB", "256", "The most memory of one plugin instance, in MiB: 1 to 4096."),
    Setting::new(
        "PLUGIN_PROBATION",
        "60s",
        "How long the old version of a plugin stays ready after a swap: 0s to 24h.",
    ),
    Setting::new("PLUGIN_COMPILE_TIMEOUT", "180s", "How long compiling a plugin may take: 1s to 1h."),
    Setting::new(
        "PLUGIN_UPLOAD_MAX",
        "32MiB",
        "The largest component that is taken as a plugin: 1KiB to 1GiB.",
    ),
    Setting::new(
        "TIME_WINDOWS",
        "1min,5min,15min,30min,1hour",
        "The windows of the default plugin, separated by commas: whole numbers with s, m, min, h or \
         hour, or durations like 1m30s, up to 24h. The text is the window's name.",
    ),
    Setting::new(
        "RESOLUTION",
        "1s",
        "The steps in which those windows slide, in whole milliseconds up to 1h; each window is a \
         multiple of it.",
    ),
];

/// What plugins are loaded and what they may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    /// The directory whose `.wasm` files are the plugins.
    pub dir: PathBuf,
    /// The private directory for compiled plugins; none for no cache.
    pub cache_dir: Option<PathBuf>,
    /// How long one call may take.
    pub deadline: Duration,
    /// The most linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// How long the old version stays ready after a swap; zero for not at all.
    pub probation: Duration,
    /// How long compiling may take.
    pub compile_timeout: Duration,
    /// The largest component that is taken, in bytes.
    pub upload_max: usize,
    /// The windows of the default plugin as they were set; valid with `resolution`.
    pub time_windows: String,
    /// The steps in which those windows slide, as they were set; a whole number of milliseconds.
    pub resolution: String,
}

impl Plugins {
    /// Reads this part.
    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let dir = from.value("PLUGINS_DIR", parse::path);
        let cache_dir = from.optional("PLUGIN_CACHE_DIR", parse::path);
        let deadline = from.value("PLUGIN_DEADLINE", parse::time("1ms", "5m"));
        let memory_mib = from.value("PLUGIN_MEMORY_MB", parse::number(1..=4096_usize));
        let probation = from.value("PLUGIN_PROBATION", parse::time("0s", "24h"));
        let compile_timeout = from.value("PLUGIN_COMPILE_TIMEOUT", parse::time("1s", "1h"));
        let upload_max = from.value("PLUGIN_UPLOAD_MAX", parse::size(1 << 10..=1 << 30));
        let resolution = from.value("RESOLUTION", resolution);
        // With an unreadable resolution the windows are still checked as far as they can be.
        let resolution_ms = resolution.as_ref().map_or(1, |(_, ms)| *ms);
        let time_windows = from.value("TIME_WINDOWS", |text| {
            Windows::parse(text, resolution_ms).map(|_| text.to_owned()).map_err(|error| error.to_string())
        });
        Some(Self {
            dir: dir?,
            cache_dir: cache_dir.or_else(|| default_cache_dir(from)),
            deadline: deadline?,
            memory_bytes: memory_mib? << 20,
            probation: probation?,
            compile_timeout: compile_timeout?,
            upload_max: upload_max?,
            time_windows: time_windows?,
            resolution: resolution?.0,
        })
    }
}

/// Follows the XDG base directories, by which a relative path counts as not set.
fn default_cache_dir(from: &Reader<'_>) -> Option<PathBuf> {
    let absolute = |name| from.given(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("aggregator"))
}

/// Gives the text and what it means in milliseconds.
fn resolution(text: &str) -> Parsed<(String, u64)> {
    parse::time("1ms", "1h")(text)?;
    let resolution_ms = duration::parse_ms(text).map_err(|error| error.to_string())?;
    Ok((text.to_owned(), resolution_ms))
}
