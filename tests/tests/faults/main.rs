//! The fault suite: what the service must survive, on a real Kafka and a real Redis.
//!
//! Each test is a row of the table of faults in its quick form; `FAULT_FULL=1` asks for the whole one, which
//! `tests/faults` runs, and `FAULT_RUNS` for another number of runs of each. The load is a seeded stream that flows while
//! the fault happens; afterwards every token and window is compared with the oracle. The invariant: a run prints its
//! seed, and repeats with it (`FAULT_SEED`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod broker_away;
mod certificates;
mod clock;
mod encryption;
mod kill;
mod layout;
mod leaderless;
mod link;
mod load;
mod maintenance;
mod mutations;
mod outage;
mod overload;
mod redis_refuses;
mod redis_slow;
mod repartition;
mod resources;
mod retention;
mod run;
mod secrets;
mod secured;
mod slow;
mod soak;
mod start;
mod storm;
mod swaps;
mod takeover;
mod topic;
mod torn;
