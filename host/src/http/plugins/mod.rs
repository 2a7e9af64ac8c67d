//! The life of plugins over HTTP: how they are, and what may be done with them.
//!
//! [`shown`] tells, [`changing`] and [`shadow`] hand orders to the conductor by way of [`control`], and
//! [`answer`] says what came of them. Not for deciding whether a plugin may run. Invariant: a name from a
//! path is a plugin's name or refused before anything is done with it.

mod answer;
mod changing;
mod completing;
mod control;
mod shadow;
mod shown;

pub(super) use changing::{delete, put, put_config, rollback};
pub(super) use control::DIGEST_HEADER;
pub(super) use shadow::{drop_shadow, promote, put_shadow};
pub(super) use shown::{config, list, one};

use std::io;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;

use self::control::Control;
use super::problem::Problem;
use crate::pipeline::Shared;
use crate::pipeline::quarantine::Quarantined;
use crate::plugin::catalog::Running;
use crate::plugin::directory::Directory;
use crate::plugin::{canonical, is_name};
use crate::swap::{Orders, PluginStatus};

/// What handlers know of plugins.
pub(in crate::http) struct Plugins {
    /// Those that run.
    running: Box<dyn Fn() -> Vec<Running> + Send + Sync>,
    /// Trades that were left out for some plugin, latest first.
    quarantined: Box<dyn Fn() -> Vec<Quarantined> + Send + Sync>,
    /// None where plugins stay as they are.
    control: Option<Arc<Control>>,
}

impl Plugins {
    /// Those of a pipeline, and how they change, where they do.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(in crate::http) fn of(
        shared: &Arc<Shared>,
        changing: Option<(Orders, Directory)>,
    ) -> io::Result<Self> {
        let (running, quarantined) = (Arc::clone(shared), Arc::clone(shared));
        let control = match changing {
            Some((orders, directory)) => Some(Arc::new(Control::new(orders, directory)?)),
            None => None,
        };
        Ok(Self {
            running: Box::new(move || running.changes.running()),
            quarantined: Box::new(move || quarantined.quarantine.last()),
            control,
        })
    }

    /// Plugins that stay as they are.
    #[cfg(test)]
    pub(in crate::http) fn fixed(running: impl Fn() -> Vec<Running> + Send + Sync + 'static) -> Self {
        Self { running: Box::new(running), quarantined: Box::new(Vec::new), control: None }
    }

    /// How each is, by name.
    pub(in crate::http) fn statuses(&self) -> Vec<PluginStatus> {
        match &self.control {
            Some(control) => control.orders.plugins().into_values().collect(),
            None => (self.running)().iter().map(PluginStatus::of).collect(),
        }
    }

    /// How one is.
    fn status(&self, name: &str) -> Result<PluginStatus, Problem> {
        let name = canonical(name);
        self.statuses()
            .into_iter()
            .find(|status| status.name == name)
            .ok_or_else(|| Problem::missing("no such plugin", "GET /plugins lists those that are there"))
    }

    /// What changes plugins.
    fn control(&self) -> Result<Arc<Control>, Problem> {
        self.control.clone().ok_or_else(|| {
            let error = "plugins stay as they are in this process";
            Problem::new(StatusCode::CONFLICT, error, "ask a service that loads its plugins")
        })
    }
}

/// A plugin's name from a path.
fn named(name: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let hint = "a plugin is called by 1 to 64 of a-z, 0-9, _ and -";
    let Path(name) = name.map_err(|error| Problem::bad(error.body_text(), hint))?;
    match is_name(&name) {
        true => Ok(name),
        false => Err(Problem::bad("no plugin can have this name", hint)),
    }
}
