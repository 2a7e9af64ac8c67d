//! A loader, the hostile component in its variants, and an instance that has taken some trades.
//!
//! The invariant: tests share nothing but the cache of compiled components.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aggregator::config;
use aggregator::plugin::catalog::Running;
use aggregator::plugin::contract::{Batch, EntriesParam, NewToken, RemovalsParam, TextColumnParam};
use aggregator::plugin::{Candidate, Instance, Loader, PluginError, Refusal, ResultKeys};
use aggregator_tests::paths;
use hostile::manifest::Manifest;

/// How long a call of a guest may take here.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);
/// How much memory an instance may take here.
pub(crate) const MEMORY_BYTES: usize = 64 << 20;
/// A time at which the trades of [`process`] count.
pub(crate) const CLOCK_MS: i64 = 1_772_366_400_000;

/// The settings of plugins that tests begin with.
pub(crate) fn config() -> config::Plugins {
    config::Plugins {
        dir: PathBuf::from("/nowhere"),
        cache_dir: Some(paths::kept("plugin-cache").unwrap()),
        deadline: DEADLINE,
        memory_bytes: MEMORY_BYTES,
        probation: Duration::ZERO,
        compile_timeout: Duration::from_secs(60),
        upload_max: 32 << 20,
        time_windows: "1min".to_owned(),
        resolution: "1s".to_owned(),
    }
}

/// A loader with these settings, which compiles with the built service.
pub(crate) fn loader(config: &config::Plugins) -> Loader {
    Loader::new(config, Some(paths::aggregator().unwrap())).unwrap()
}

/// The hostile component as this manifest says.
pub(crate) fn component(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = std::fs::read(paths::component("hostile").unwrap()).unwrap();
    manifest.write(&mut bytes).unwrap();
    bytes
}

/// A configuration with deeds.
pub(crate) fn deeds(deeds: &str) -> String {
    format!(r#"{{"windows":["1min"],"does":[{deeds}]}}"#)
}

/// Loads the hostile component.
pub(crate) fn load(manifest: &Manifest, configuration: &str) -> Result<Running, Refusal> {
    load_with(&config(), manifest, configuration)
}

/// Loads the hostile component with other settings.
pub(crate) fn load_with(
    config: &config::Plugins,
    manifest: &Manifest,
    configuration: &str,
) -> Result<Running, Refusal> {
    let candidate = Candidate::new(&manifest.name, component(manifest), configuration);
    loader(config).load(&candidate, &ResultKeys::new()).map(|loaded| loaded.running)
}

/// An instance of the hostile component with these deeds.
pub(crate) fn instance(deeds_text: &str) -> Box<dyn Instance> {
    instance_of(&load(&Manifest::default(), "{}").unwrap(), deeds_text)
}

/// An instance of a loaded plugin with these deeds.
pub(crate) fn instance_of(running: &Running, deeds_text: &str) -> Box<dyn Instance> {
    running.plugin.instantiate(&deeds(deeds_text)).unwrap().0
}

/// Lets an instance take a trade of each of these tokens, numbered from 0; they are new to it.
pub(crate) fn process(instance: &mut dyn Instance, tokens: &[&str]) -> Result<(), PluginError> {
    let new_tokens: Vec<NewToken<'_>> =
        tokens.iter().enumerate().map(|(id, text)| NewToken { id: id as u32, text }).collect();
    let rows = tokens.len();
    let none = || TextColumnParam { bytes: &[], ends: &[] };
    instance.process(Batch {
        new_tokens: &new_tokens,
        tokens: &(0..rows as u32).collect::<Vec<_>>(),
        times_ms: &vec![CLOCK_MS - 1_000; rows],
        sides: &vec![1; rows],
        natives: &vec![1_000_000_000; rows],
        amounts: &vec![2.0; rows],
        prices: &vec![3.0; rows],
        wallets: none(),
        wallet_hashes: &[],
        tx_hashes: none(),
    })
}

/// A call by the contract's word, on an instance that has taken two trades.
pub(crate) fn call(instance: &mut dyn Instance, name: &str) -> Result<(), PluginError> {
    if name == "process" {
        return process(instance, &["a", "b"]);
    }
    process(instance, &["a", "b"]).unwrap();
    match name {
        "flush" => instance.flush(CLOCK_MS, 256).map(drop),
        "touch" => instance.touch(None),
        "export-state" => instance.export_state(0, 0, 1 << 20).map(drop),
        "trim" => instance.trim(1),
        "import-state" => instance.import_state(
            1,
            &[],
            EntriesParam { tokens: &[], slots: &[], ends: &[], bytes: &[] },
            RemovalsParam { tokens: &[], slots: &[] },
        ),
        "forget" => instance.forget(&[0]),
        other => panic!("no call {other}"),
    }
}

/// All calls of an instance that is configured.
pub(crate) const CALLS: [&str; 7] =
    ["process", "flush", "touch", "export-state", "trim", "import-state", "forget"];

/// The plugin itself.
pub(crate) fn plugin(running: &Running) -> Arc<dyn aggregator::plugin::Plugin> {
    Arc::clone(&running.plugin)
}

/// A component whose code takes long to compile: one function of many additions, many times.
pub(crate) fn slow_component() -> Vec<u8> {
    fn leb(mut value: usize, out: &mut Vec<u8>) {
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            out.push(if value == 0 { byte } else { byte | 0x80 });
            if value == 0 {
                return;
            }
        }
    }
    fn section(id: u8, content: &[u8], out: &mut Vec<u8>) {
        out.push(id);
        leb(content.len(), out);
        out.extend_from_slice(content);
    }
    const FUNCTIONS: usize = 60;
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // One type: from an i64 to an i64.
    section(1, &[1, 0x60, 1, 0x7e, 1, 0x7e], &mut module);
    let mut declared = Vec::new();
    leb(FUNCTIONS, &mut declared);
    declared.extend([0; FUNCTIONS]);
    section(3, &declared, &mut module);
    // local.get 0, then: local.get 0, i64.mul, local.get 0, i64.rotl, local.tee 0.
    let mut body = vec![0, 0x20, 0];
    body.extend([0x20, 0, 0x7e, 0x20, 0, 0x89, 0x22, 0].repeat(50_000));
    body.push(0x0b);
    let mut code = Vec::new();
    leb(FUNCTIONS, &mut code);
    for _ in 0..FUNCTIONS {
        leb(body.len(), &mut code);
        code.extend_from_slice(&body);
    }
    section(10, &code, &mut module);
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(0, b"\x13aggregator-contract0.1.0", &mut component);
    section(1, &module, &mut component);
    component
}
