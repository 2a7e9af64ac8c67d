//! The command line: what each command does, and which exit code says how it went.
//!
//! Invariant: 0 drained or done, 1 a check of a plugin or of the health did not pass, 64 configuration, 69 port or address,
//! 70 internal, 75 ended by a second signal.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::allocator;
use crate::app::{App, AppError};
use crate::author::{self, Author, Failure, Tap};
use crate::config::{self, Config, Warning, reached_at};
use crate::kafka::mock::MockBroker;
use crate::plugin::catalog::{self, Lineup, Running};
use crate::plugin::{Loader, Refusal, compile};
use crate::probe::{self, Health};
use crate::store::Store;
use crate::threads::joined;
use crate::top::{self, Top};
use crate::{demo, kafka, log, signals};

/// Exact sliding windows over token trades, computed by WebAssembly plugins.
///
/// Without a command: runs the service as the environment (and .env) says; see .env.example.
#[derive(Debug, Parser)]
#[command(name = "aggregator", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs everything inside this process: a broker, generated trades, a store, and a live page.
    Demo,
    /// Checks the configuration and the plugins without starting.
    Check {
        /// Also tries Kafka and Redis.
        #[arg(long)]
        connect: bool,
    },
    /// Asks a running service how it is: 0 where it is well, 1 where it is not or does not answer.
    Health(Health),
    /// Compiles a component for the service, from standard input to standard output.
    #[command(name = compile::COMMAND, hide = true)]
    Compile,
    /// Shows a running host in this terminal: health, numbers, partitions, plugins, tokens.
    Top(Top),
    /// For authors of plugins: make, build, check, measure and deploy one.
    Plugin(Author),
    /// Shows or records live trades of a running host.
    Tap(Tap),
    /// Writes the completions of this command line for a shell.
    Completions {
        /// The shell, for example bash.
        shell: Shell,
    },
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    allocator::divide_less();
    let cli = Cli::parse();
    let result = match cli.command {
        None => run(),
        Some(Command::Demo) => run_demo(),
        Some(Command::Check { connect }) => check(connect),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Health(health)) => return ask_health(&health),
        Some(Command::Compile) => return compile_component(),
        Some(Command::Plugin(author)) => return reported(author::run(author, settings)),
        Some(Command::Top(top)) => return reported(top::run(top, || Ok(settings()?.http.address()))),
        Some(Command::Tap(tap)) => return reported(settings().and_then(|config| tap.run(&config))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::from(error.code())
        }
    }
}

/// Runs the service with plugins of the caller's choice; for hosts that link one natively.
pub fn run_with(load: impl FnOnce(&Config) -> Result<Vec<Running>, AppError>) -> Result<(), AppError> {
    let (config, _log) = configure(environment()?)?;
    logged(serve(config, |config| Ok(Lineup::fixed(load(config)?))))
}

fn serve(config: Config, load: impl FnOnce(&Config) -> Result<Lineup, AppError>) -> Result<(), AppError> {
    let plugins = load(&config)?;
    let store = open_store(&config)?;
    App::build(config, plugins, store)?.run()
}

fn run() -> Result<(), AppError> {
    let (config, _log) = configure(environment()?)?;
    logged(serve(config, load_plugins))
}

fn environment() -> Result<BTreeMap<String, String>, AppError> {
    config::read().map_err(|errors| AppError::Config(errors.to_string()))
}

/// Reads the configuration, starts the log, and says what draws a warning. The log's handle must
/// live until the end: dropping it writes what still waits.
fn configure(map: BTreeMap<String, String>) -> Result<(Config, log::Handle), AppError> {
    let (config, warnings) = parse(&map)?;
    signals::survive_long_files().map_err(|error| AppError::Internal(error.to_string()))?;
    let log = log::init(&config.log).map_err(|error| AppError::Internal(error.to_string()))?;
    for warning in warnings {
        tracing::warn!(variable = warning.variable, "{warning}");
    }
    Ok((config, log))
}

fn parse(map: &BTreeMap<String, String>) -> Result<(Config, Vec<Warning>), AppError> {
    Config::from_map(map).map_err(|errors| AppError::Config(errors.to_string()))
}

fn load_plugins(config: &Config) -> Result<Lineup, AppError> {
    load_with(loader(config)?, config)
}

fn loader(config: &Config) -> Result<Loader, AppError> {
    let loader = Loader::new(&config.plugins, None).map_err(|error| AppError::Internal(error.to_string()))?;
    Ok(loader.for_messages(config.kafka.output_topic.is_some()))
}

fn load_with(loader: Loader, config: &Config) -> Result<Lineup, AppError> {
    let listed = |refusals: Vec<Refusal>| {
        AppError::Config(refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    catalog::load(loader, &config.plugins).map_err(listed)
}

/// Prepares the store's connections; makes none.
fn open_store(config: &Config) -> Result<Store, AppError> {
    Store::redis(&config.redis).map_err(|error| AppError::Config(error.to_string()))
}

/// What tells how to come in at a broker: names of settings, or what they begin with.
const DOORS: [&str; 3] = ["KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_", "KAFKA_SSL_"];

fn run_demo() -> Result<(), AppError> {
    let broker = MockBroker::start(demo::TOPIC, demo::PARTITIONS).map_err(demo_failed)?;
    let mut map = environment()?;
    for (name, value) in [("KAFKA_BROKERS", broker.brokers()), ("KAFKA_TOPIC", demo::TOPIC.to_owned())] {
        map.insert(name.to_owned(), value);
    }
    // This environment may be that of a broker with a guarded door; the demo's has none.
    map.retain(|name, _| !DOORS.iter().any(|door| name.starts_with(door)));
    map.insert("START_FROM".to_owned(), "earliest".to_owned());
    map.entry("LOG_FORMAT".to_owned()).or_insert_with(|| "text".to_owned());
    let (config, _log) = configure(map)?;
    logged(serve_demo(config, &broker))
}

fn serve_demo(config: Config, broker: &MockBroker) -> Result<(), AppError> {
    let plugins = load_plugins(&config)?;
    let app = App::build(config, plugins, Store::memory())?;
    let address = reached_at(app.address());
    say(&format!("Open http://{address}/ and watch the windows move; Ctrl-C ends the demo."))?;

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let feed = broker.feed().map_err(demo_failed)?;
    let generator = thread::Builder::new()
        .name("demo-trades".to_owned())
        .spawn(move || demo::run(|payload| feed.send(payload), crate::clock::system_ms, &stopped))
        .map_err(demo_failed)?;
    let result = app.run();
    stop.store(true, Ordering::Relaxed);
    joined(generator);
    result
}

fn demo_failed(error: impl Display) -> AppError {
    AppError::Internal(format!("demo broker: {error}"))
}

/// Checks everything and reports all that is wrong.
fn check(connect: bool) -> Result<(), AppError> {
    let (config, warnings) = parse(&environment()?)?;
    for warning in warnings {
        say(&format!("warning: {warning}"))?;
    }
    say("configuration: ok")?;
    let loader = loader(&config)?;
    if let Some(trouble) = loader.cache_trouble() {
        say(&format!("warning: {trouble}"))?;
    }
    let plugins = check_plugins(loader, &config);
    // Certificates that cannot be read stop a start, too.
    let store = open_store(&config);
    let mut connections = Vec::new();
    if connect {
        connections.push(check_kafka(&config));
        connections.extend(store.as_ref().ok().map(|store| check_redis(store, &config)));
    }
    let mut wrong = [plugins, store.map(drop)].into_iter().chain(connections).filter_map(Result::err);
    let Some(first) = wrong.next() else { return Ok(()) };
    wrong.for_each(|error| say_error(&error));
    Err(first)
}

fn check_plugins(loader: Loader, config: &Config) -> Result<(), AppError> {
    for plugin in load_with(loader, config)?.running {
        let description = plugin.plugin.description();
        say(&format!(
            "plugin {} {}: ok, writes token:{{address}}:{}, groups {}",
            plugin.name(),
            description.version,
            plugin.result_key(),
            plugin.settings.groups.join(" ")
        ))?;
    }
    Ok(())
}

fn check_kafka(config: &Config) -> Result<(), AppError> {
    let partitions =
        kafka::connect(&config.kafka).map_err(|error| AppError::Unavailable(error.to_string()))?;
    say(&format!("kafka: ok, topic {} has {partitions} partitions", config.kafka.topic))
}

fn check_redis(store: &Store, config: &Config) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Internal(error.to_string()))?;
    runtime.block_on(store.ping()).map_err(|error| AppError::Unavailable(error.to_string()))?;
    say(&format!("redis: ok at {}", config.redis.display))
}

/// What the child process does that the service compiles in.
fn compile_component() -> ExitCode {
    match compile::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::from(error.code())
        }
    }
}

fn completions(shell: Shell) -> Result<(), AppError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "aggregator", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())
}

/// The settings that a service here would have.
fn settings() -> Result<Config, Failure> {
    let map = environment().map_err(|error| Failure::Unusable(error.to_string()))?;
    let (config, _) = parse(&map).map_err(|error| Failure::Unusable(error.to_string()))?;
    Ok(config)
}

/// How a command ended that is not the service.
fn reported(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_error(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// Asks the service that these settings describe, or another one.
fn ask_health(health: &Health) -> ExitCode {
    let settings = || {
        let (config, _) = parse(&environment()?)?;
        Ok::<_, AppError>(config.http)
    };
    match probe::ask(health, settings) {
        Ok(words) => {
            // A probe is told by the exit code; nobody may read the words.
            say(&words).ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            say_error(&error);
            ExitCode::from(error.code())
        }
    }
}

/// Writes a line for the person who ran the command.
fn say(line: &str) -> Result<(), AppError> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| AppError::Internal(format!("standard output: {error}")))
}

/// Says in the log why the service ended; called while the log's handle lives.
fn logged(result: Result<(), AppError>) -> Result<(), AppError> {
    result.inspect_err(|error| tracing::error!(fatal = true, code = error.code(), "{error}"))
}

/// Says why the command failed to the person who ran it.
fn say_error(error: &dyn Display) {
    // Nobody is left to tell if this fails.
    drop(writeln!(std::io::stderr(), "aggregator: {error}"));
}
