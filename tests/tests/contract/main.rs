//! The contract of the service, tested from outside: a real Kafka before it, a real Redis behind it.
//!
//! One binary, so that all tests share one broker; each has its own Redis, topic and host. Needs the service and the
//! example plugin built, and the broker's jars: `tests/run` does all of that. The invariant: a test waits for what it
//! can see, never for time to pass.
#![allow(clippy::unwrap_used, reason = "a test's own functions fail the test, too")]

mod cases;
mod compose;
mod demo;
mod deploy;
mod harness;
mod health_command;
mod http;
mod kafka_output;
mod live;
mod logs;
mod monitoring;
mod page;
mod plugins;
mod plugins_http;
mod probation;
mod rebalance;
mod redis_outage;
mod rejections;
mod repartition;
mod rig;
mod shutdown;
mod start;
mod structure;
mod traces;
mod uploads;
mod windows;
mod yaml;
