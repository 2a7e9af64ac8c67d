//! The parts that black-box tests and the benchmark are made of.
//!
//! Three groups: child processes ([`broker`], [`redis_server`], [`host`], a [`browser`], and a [`proxy`] before them),
//! trades ([`stream`] makes them, [`producer`] sends them) and judgement ([`oracle`] computes what must be, [`compare`] says
//! where Redis differs).
//! Not for tests of parts of the host; those live beside the parts. The invariant: nothing that judges uses the
//! host's or the plugins' code, so that a fault in them cannot hide itself; [`native`] does, for the benchmark only.

pub mod broker;
pub mod browser;
pub mod companion;
pub mod compare;
pub mod consume;
pub mod decimal;
pub mod host;
pub mod host_log;
pub mod http;
mod leash;
pub mod metrics;
pub mod native;
pub mod oracle;
pub mod paths;
pub mod plugins_dir;
pub mod ports;
pub mod process;
pub mod producer;
pub mod proxy;
pub mod random;
pub mod redis_server;
pub mod report;
pub mod results;
pub mod settings;
pub mod stream;
pub mod time;
pub mod trade;
pub mod wait;
pub mod watch;
