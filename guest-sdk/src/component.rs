//! What runs around a plugin inside a component: its one instance, and the report of its death.
//!
//! Not for authors; [`export_plugin!`](crate::export_plugin) uses it. The invariant: a panic reaches
//! the host as words and a row before it becomes a trap.

use std::cell::RefCell;

use crate::contract::{Level, Settings};
use crate::{Plugin, bindings::aggregator::plugin::host, fault};

/// The one instance of a component.
pub struct Instance<P>(RefCell<Option<P>>);

impl<P: Plugin> Instance<P> {
    /// Makes a place for an instance.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Makes the instance.
    ///
    /// # Errors
    /// Says in words what is wrong with the configuration.
    pub fn configure(&self, json: &str) -> Result<Settings, String> {
        let (plugin, settings) = P::configure(json)?;
        *self.0.borrow_mut() = Some(plugin);
        Ok(settings)
    }

    /// Calls the instance.
    ///
    /// # Panics
    /// Where the host calls before it configures.
    pub fn call<R>(&self, call: impl FnOnce(&mut P) -> R) -> R {
        match self.0.borrow_mut().as_mut() {
            Some(plugin) => call(plugin),
            None => panic!("called before it was configured"),
        }
    }
}

impl<P: Plugin> Default for Instance<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// Reports panics to the host: message and place to its log, and the row that kills.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        host::log(Level::Error, &panic.to_string());
        if let Some(row) = fault::row() {
            host::fault_at(row);
        }
    }));
}
