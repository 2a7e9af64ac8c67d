//! The service with its default plugin linked natively instead of as a component: the price of pluggability is the
//! difference.
//!
//! Takes the service's environment variables. The invariant: everything but the plugin is the service itself.

use std::process::ExitCode;
use std::sync::Arc;

use aggregator::app::AppError;
use aggregator::cli;
use aggregator::plugin::catalog::{self, Running};
use aggregator_tests::native::NativePlugin;

fn main() -> ExitCode {
    let run = cli::run_with(|config| {
        let configuration = catalog::default_configuration(&config.plugins);
        let running = Running::new(Arc::new(NativePlugin::new()), &configuration, "native");
        running.map(|plugin| vec![plugin]).map_err(|error| AppError::Config(error.to_string()))
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(error.code()),
    }
}
