//! A real Apache Kafka of one node as a child process.
//!
//! Tests of one binary share one ([`shared`]), since it takes seconds to start; each test makes its own topics. The
//! invariant: nothing is left behind, neither process nor directory, however the tests end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::companion::Companion;
use crate::leash::Leash;
use crate::proxy::Proxy;
use crate::{paths, ports, wait};
use nix::sys::signal::Signal;

/// How long a start may take on a machine that has other work.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(90);
/// How long the broker may take to answer a question.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// What differs between brokers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A second listener behind a proxy, whose port is told to clients that come that way.
    pub proxied: bool,
    /// More heap and the full compiler, for measurements.
    pub measured: bool,
    /// How long a new group waits for further members before it shares the partitions out, in milliseconds.
    pub gather_ms: u32,
    /// Further listeners, each behind a proxy whose port is told to clients that come that way.
    pub listeners: Vec<Listener>,
    /// A user and a password for SCRAM-SHA-256.
    pub scram: Option<(String, String)>,
}

/// A listener besides the broker's own.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// What it speaks, such as `SASL_SSL`.
    pub protocol: String,
    /// Its properties, without the `listener.name.….` before each.
    pub properties: Vec<(String, String)>,
}

/// A running broker.
pub struct Broker {
    address: String,
    command: Vec<String>,
    directory: PathBuf,
    /// Another one after a restart.
    leash: Mutex<Leash>,
    proxy: Option<Proxy>,
    controller: u16,
    /// The links of the further listeners.
    links: BTreeMap<String, Proxy>,
    topics: AtomicU32,
}

/// The broker that all tests of this binary share, started by the first that asks.
///
/// # Panics
/// Panics where it cannot be started, saying why.
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(|| match Broker::start(&Options::default()) {
        Ok(broker) => broker,
        Err(error) => panic!("no broker for the tests: {error:?}"),
    })
}

impl Broker {
    /// Starts a broker and waits until it answers.
    ///
    /// # Errors
    /// Fails where Java or the jars are missing, naming the command, or the broker does not come up.
    pub fn start(options: &Options) -> Result<Self> {
        ensure!(
            Command::new("java").arg("-version").output().is_ok(),
            "java is missing; install it with: apt-get install default-jre-headless"
        );
        let classes = paths::broker_jars()?.join("*").display().to_string();
        let directory = tempfile::Builder::new().prefix("aggregator-broker-").tempdir()?.keep();
        let proxied_port = ports::free();
        let proxy = options.proxied.then(|| Proxy::start(proxied_port)).transpose()?;
        let mut links = BTreeMap::new();
        let mut listening = Vec::new();
        let proxied = proxy.as_ref().map(|proxy| (proxied_port, proxy.port()));
        listening.extend(proxied.map(|(port, told)| ("PROXIED".to_owned(), port, told)));
        for listener in &options.listeners {
            let port = ports::free();
            let link = Proxy::start(port)?;
            listening.push((listener.name.clone(), port, link.port()));
            links.insert(listener.name.clone(), link);
        }
        let ports = Ports { own: ports::free(), controller: ports::free(), listening };
        let properties = directory.join("server.properties");
        fs::write(&properties, server_properties(&directory, &ports, options))?;
        format_storage(&classes, &properties, options.scram.as_ref())?;
        let command = command(&classes, &properties, options);
        let leash = Mutex::new(Leash::start(&command, &log(&directory), Some(&directory))?);
        let address = format!("127.0.0.1:{}", ports.own);
        let (controller, topics) = (ports.controller, AtomicU32::new(0));
        let broker = Self { address, command, directory, leash, proxy, controller, links, topics };
        broker.wait_answer()?;
        Ok(broker)
    }

    /// Waits until the broker answers.
    ///
    /// # Errors
    /// Fails where it does not, with what it has written.
    pub fn wait_answer(&self) -> Result<()> {
        wait::until("the broker to answer", START_LIMIT, || self.ask().ok())
            .with_context(|| fs::read_to_string(log(&self.directory)).unwrap_or_default())
    }

    /// Starts a second broker beside this one, and waits until the cluster has taken it in.
    ///
    /// # Errors
    /// Fails where it does not come up, with what it has written.
    pub fn start_companion(&self) -> Result<Companion> {
        Companion::start(self, self.controller)
    }

    /// Kills the broker without warning; what it has acknowledged stays on the disk.
    pub fn kill(&self) {
        self.leash().kill();
    }

    /// Starts a killed broker again, on its old ports and directory. Does not wait for it.
    ///
    /// # Errors
    /// Fails where the program cannot be started.
    pub fn restart(&self) -> Result<()> {
        let mut leash = self.leash();
        leash.let_go();
        *leash = Leash::start(&self.command, &log(&self.directory), Some(&self.directory))?;
        Ok(())
    }

    /// The link that clients of [`Broker::host_address`] come over.
    ///
    /// # Panics
    /// Panics where the broker was started without one.
    pub fn link(&self) -> &Proxy {
        self.proxy.as_ref().expect("a broker that was started behind a proxy")
    }

    /// The link that clients of a further listener come over.
    ///
    /// # Panics
    /// Panics where there is no such listener.
    pub fn link_of(&self, listener: &str) -> &Proxy {
        self.links.get(listener).unwrap_or_else(|| panic!("a broker with a listener {listener}"))
    }

    fn leash(&self) -> MutexGuard<'_, Leash> {
        self.leash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker's own address, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address for a host: the proxy's where there is one.
    pub fn host_address(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.address.clone(), Proxy::address)
    }

    /// Client settings that lead to this broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// Makes a topic and returns its name, which begins with `prefix` and is new.
    ///
    /// # Errors
    /// Fails where the broker refuses.
    pub fn topic(&self, prefix: &str, partitions: i32) -> Result<String> {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        self.create_topic(&name, partitions)?;
        Ok(name)
    }

    /// Makes a topic of this name.
    ///
    /// # Errors
    /// Fails where the broker refuses.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topics = [topic];
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let results = runtime.block_on(admin.create_topics(&topics, &options))?;
        for result in results {
            if let Err((name, code)) = result {
                bail!("making the topic {name}: {code}");
            }
        }
        // A partition without a leader yet would refuse the first record.
        let client: BaseConsumer = self.client().create()?;
        wait::until_true("leaders of the new topic", ANSWER_LIMIT, || {
            let metadata = client.fetch_metadata(Some(name), ANSWER_LIMIT);
            metadata.is_ok_and(|metadata| {
                metadata.topics().iter().any(|topic| {
                    topic.partitions().len() == partitions as usize
                        && topic.partitions().iter().all(|partition| partition.leader() >= 0)
                })
            })
        })
    }

    /// Deletes a topic and returns when it is gone.
    ///
    /// # Errors
    /// Fails where the broker refuses.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for result in runtime.block_on(admin.delete_topics(&[name], &options))? {
            if let Err((name, code)) = result {
                bail!("deleting the topic {name}: {code}");
            }
        }
        let client: BaseConsumer = self.client().create()?;
        wait::until_true("the topic to be gone", ANSWER_LIMIT, || {
            let metadata = client.fetch_metadata(None, ANSWER_LIMIT);
            metadata.is_ok_and(|metadata| metadata.topics().iter().all(|topic| topic.name() != name))
        })
    }

    /// Deletes a topic and makes another one of the same name.
    ///
    /// # Errors
    /// Fails where the broker refuses.
    pub fn make_topic_anew(&self, name: &str, partitions: i32) -> Result<()> {
        self.delete_topic(name)?;
        self.create_topic(name, partitions)
    }

    /// Deletes all records before these offsets, as retention does, and returns when they are gone.
    ///
    /// # Errors
    /// Fails where the broker refuses.
    pub fn delete_before(&self, topic: &str, offsets: &[i64]) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let mut list = TopicPartitionList::new();
        for (partition, &offset) in offsets.iter().enumerate() {
            list.add_partition_offset(topic, partition as i32, Offset::Offset(offset))?;
        }
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let deleted = runtime.block_on(admin.delete_records(&list, &options))?;
        for element in deleted.elements() {
            element.error().with_context(|| format!("deleting records of {topic}"))?;
        }
        Ok(())
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// Fails where the broker refuses.
    pub fn grow(&self, name: &str, partitions: usize) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let wanted = [NewPartitions::new(name, partitions)];
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for result in runtime.block_on(admin.create_partitions(&wanted, &options))? {
            if let Err((name, code)) = result {
                bail!("growing the topic {name}: {code}");
            }
        }
        Ok(())
    }

    /// The offsets that a group has committed, by partition; none where it has not.
    ///
    /// # Errors
    /// Fails where the broker does not answer.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Result<Vec<Option<i64>>> {
        let client: BaseConsumer = self.client().set("group.id", group).create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, partitions - 1);
        let committed = client.committed_offsets(list, ANSWER_LIMIT)?;
        let raw =
            |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| element.offset().to_raw();
        Ok(committed.elements().iter().map(|element| raw(element).filter(|&offset| offset >= 0)).collect())
    }

    /// The end of each partition.
    ///
    /// # Errors
    /// Fails where the broker does not answer.
    pub fn ends(&self, topic: &str, partitions: i32) -> Result<Vec<i64>> {
        let client: BaseConsumer = self.client().create()?;
        let end = |partition| Ok(client.fetch_watermarks(topic, partition, ANSWER_LIMIT)?.1);
        (0..partitions).map(end).collect()
    }

    /// Sends the broker's process a signal, such as a stop and a continue.
    pub fn signal(&self, signal: Signal) {
        self.leash().signal(signal);
    }

    fn ask(&self) -> Result<()> {
        let client: BaseConsumer = self.client().set("log_level", "0").create()?;
        let metadata = client.fetch_metadata(None, Duration::from_secs(2))?;
        ensure!(!metadata.brokers().is_empty(), "the broker is not registered yet");
        Ok(())
    }
}

pub(crate) fn command(classes: &str, properties: &Path, options: &Options) -> Vec<String> {
    let machine: &[&str] = if options.measured {
        &["-Xms1g", "-Xmx1g", "-XX:+UseG1GC"]
    } else {
        &["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    };
    let mut command = vec!["java".to_owned()];
    command.extend(machine.iter().map(|&option| option.to_owned()));
    command.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned());
    command.extend(["-cp", classes, "kafka.Kafka"].map(str::to_owned));
    command.push(properties.display().to_string());
    command
}

/// Writes the cluster's id into the log directory, without which KRaft does not start.
pub(crate) fn format_storage(
    classes: &str,
    properties: &Path,
    scram: Option<&(String, String)>,
) -> Result<()> {
    let user = |(name, password): &(String, String)| {
        ["--add-scram".to_owned(), format!("SCRAM-SHA-256=[name={name},password={password}]")]
    };
    let output = Command::new("java")
        .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes])
        .args(["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
        .arg(properties)
        .args(scram.map(user).into_iter().flatten())
        .output()
        .context("formatting the broker's storage")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "formatting the broker's storage: {told}");
    Ok(())
}

/// The ports of one broker.
pub(crate) struct Ports {
    pub(crate) own: u16,
    pub(crate) controller: u16,
    /// The further listeners: name, port, and the port of the proxy before it.
    pub(crate) listening: Vec<(String, u16, u16)>,
}

pub(crate) fn log(directory: &Path) -> PathBuf {
    directory.join("broker.log")
}

pub(crate) fn server_properties(directory: &Path, ports: &Ports, options: &Options) -> String {
    let Ports { own, controller, listening } = ports;
    let [mut listener, mut advertised, mut protocols, mut own_properties] = [const { String::new() }; 4];
    for (name, port, told) in listening {
        listener += &format!(",{name}://127.0.0.1:{port}");
        advertised += &format!(",{name}://127.0.0.1:{told}");
    }
    for Listener { name, protocol, properties } in &options.listeners {
        protocols += &format!(",{name}:{protocol}");
        for (property, value) in properties {
            own_properties += &format!("listener.name.{}.{property}={value}\n", name.to_lowercase());
        }
    }
    let gather_ms = options.gather_ms;
    let logs = directory.join("logs");
    // Internal topics of one partition and one replica; old timestamps are kept and taken, since tests replay
    // times of their own. A short session, so that a broker that was killed is let in again soon.
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller}{listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{own}{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT{protocols}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.dirs={}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms={gather_ms}
log.retention.ms=-1
log.message.timestamp.after.max.ms=9223372036854775807
message.max.bytes=33554432
log.cleaner.enable=false
{own_properties}",
        logs.display()
    )
}
