//! A second broker beside one of the tests, for partitions that can be without a leader.
//!
//! It holds no part of the cluster's own records, so that the first one goes on without it. The invariant: as for
//! every server of the tests, nothing of it is left behind.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::{self, ANSWER_LIMIT, Broker, Ports, START_LIMIT};
use crate::leash::Leash;
use crate::{paths, ports, wait};

/// Its number; the first broker's is 1.
const NODE: i32 = 2;

/// A running second broker.
pub struct Companion {
    command: Vec<String>,
    directory: PathBuf,
    leash: Leash,
}

impl Companion {
    /// Starts one beside a broker, and waits until the cluster has taken it in.
    pub(crate) fn start(beside: &Broker, controller: u16) -> Result<Self> {
        let classes = paths::broker_jars()?.join("*").display().to_string();
        let directory = tempfile::Builder::new().prefix("aggregator-companion-").tempdir()?.keep();
        let properties = directory.join("server.properties");
        let ports = Ports { own: ports::free(), controller, listening: Vec::new() };
        let alone = broker::server_properties(&directory, &ports, &broker::Options::default());
        let without = |line: &&str| !line.starts_with("advertised.listeners");
        let mut text: String = alone.lines().filter(without).map(|line| format!("{line}\n")).collect();
        text = text
            .replace("process.roles=broker,controller", "process.roles=broker")
            .replace("node.id=1", &format!("node.id={NODE}"))
            .replace(&format!(",CONTROLLER://127.0.0.1:{controller}"), "");
        fs::write(&properties, text)?;
        broker::format_storage(&classes, &properties, None)?;
        let command = broker::command(&classes, &properties, &broker::Options::default());
        let leash = Leash::start(&command, &broker::log(&directory), Some(&directory))?;
        let companion = Self { command, directory, leash };
        let client: BaseConsumer = beside.client().create()?;
        wait::until_true("the second broker", START_LIMIT, || {
            let metadata = client.fetch_metadata(None, ANSWER_LIMIT);
            metadata.is_ok_and(|metadata| metadata.brokers().iter().any(|one| one.id() == NODE))
        })
        .with_context(|| fs::read_to_string(broker::log(&companion.directory)).unwrap_or_default())?;
        Ok(companion)
    }

    /// Kills it without warning; what it has acknowledged stays on the disk.
    pub fn kill(&self) {
        self.leash.kill();
    }

    /// Starts it again after it was killed. Does not wait for it.
    ///
    /// # Errors
    /// Fails where the program cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.leash.let_go();
        self.leash = Leash::start(&self.command, &broker::log(&self.directory), Some(&self.directory))?;
        Ok(())
    }
}

/// Makes a topic of two partitions: the first is on the first broker, the second on its companion.
///
/// # Errors
/// Fails where the broker refuses.
pub fn spread_topic(broker: &Broker, name: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = broker.client().create()?;
    let topic = NewTopic::new(name, 2, TopicReplication::Variable(&[&[1], &[NODE]]));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for result in runtime.block_on(admin.create_topics([&topic], &options))? {
        result.map_err(|(name, code)| anyhow::anyhow!("making the topic {name}: {code}"))?;
    }
    wait_leader(broker, name, 1, |leader| leader == NODE)
}

/// Waits until a partition's leader is as wanted; -1 stands for none.
///
/// # Errors
/// Fails where it does not become so.
pub fn wait_leader(broker: &Broker, topic: &str, partition: i32, wanted: impl Fn(i32) -> bool) -> Result<()> {
    let client: BaseConsumer = broker.client().create()?;
    wait::until_true("the leader of the partition", START_LIMIT, || {
        let metadata = client.fetch_metadata(Some(topic), ANSWER_LIMIT);
        metadata.is_ok_and(|metadata| {
            let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            partitions.filter(|one| one.id() == partition).any(|one| wanted(one.leader()))
        })
    })
}
