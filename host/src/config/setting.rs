//! What a setting is, and the list of all of them.
//!
//! Invariant: a default stands here and nowhere else; it goes through the same parser as a value that
//! an operator sets.

/// One variable of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The variable's name.
    pub name: &'static str,
    /// The value that is used when the variable is not set; empty for none.
    pub default: &'static str,
    /// What it means, in one or two sentences.
    pub help: &'static str,
    /// Whether its value must not be shown.
    pub secret: bool,
}

impl Setting {
    /// A setting whose value may be shown.
    pub(super) const fn new(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, default, help, secret: false }
    }

    /// A setting without a default whose value must not be shown.
    pub(super) const fn secret(name: &'static str, help: &'static str) -> Self {
        Self { name, default: "", help, secret: true }
    }
}

/// Settings of one concern.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The heading in `.env.example`.
    pub title: &'static str,
    /// The settings in the order in which they are shown.
    pub settings: &'static [Setting],
}

/// All settings, grouped.
pub const SETTINGS: &[Group] = &[
    Group { title: "Kafka: where trades come from", settings: super::kafka::SETTINGS },
    Group { title: "Kafka: encryption and login", settings: super::security::SETTINGS },
    Group { title: "Redis: results and checkpoints", settings: super::redis::SETTINGS },
    Group { title: "Pipeline: clock, shards, limits", settings: super::pipeline::SETTINGS },
    Group { title: "Plugins and their windows", settings: super::plugins::SETTINGS },
    Group { title: "Output", settings: super::output::SETTINGS },
    Group { title: "HTTP: health, metrics, plugins", settings: super::http::SETTINGS },
    Group { title: "Log", settings: super::log::SETTINGS },
    Group { title: "Traces", settings: super::traces::SETTINGS },
    Group { title: "Maintenance", settings: super::maintenance::SETTINGS },
];

/// Gives every setting once, in order.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|group| group.settings)
}

/// Finds a setting by its name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}
