//! What a plugin finds where it imports WASI: nothing, said in words.
//!
//! The standard library of `wasm32-wasip2` leaves unused imports in every component; they are linked
//! to functions that trap and say why. Three things are answered: the seed of std's HashMap (a
//! constant, so that a plugin stays a function of its input), and stdout and stderr (the log).
//! Invariant: no import gives time, randomness, files or network.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Result, StoreContextMut, bail};

use super::guest::Guest;

/// Every WASI resource; none has anything behind it.
struct Nothing;

/// The variant `wasi:io/streams/stream-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Nothing>),
    #[component(name = "closed")]
    Closed,
}

/// How many bytes a stream takes at once.
const STREAM_BYTES: u64 = 4_096;

/// Links all `wasi:*` imports of a component; any other unknown import is left to be refused.
pub(super) fn link(linker: &mut Linker<Guest>, component: &Component) -> Result<()> {
    let engine = component.engine().clone();
    for (name, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(instance) = item.ty else {
            continue;
        };
        if !name.starts_with("wasi:") {
            continue;
        }
        let interface = name.split('@').next().unwrap_or(name).to_owned();
        let mut target = linker.instance(name)?;
        for (function, export) in instance.exports(&engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => link_function(&mut target, &interface, function)?,
                ComponentItem::Resource(_) => {
                    target.resource(function, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn link_function(target: &mut LinkerInstance<'_, Guest>, interface: &str, function: &str) -> Result<()> {
    type Context<'a> = StoreContextMut<'a, Guest>;
    match (interface, function) {
        ("wasi:random/insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            target.func_wrap(function, |_: Context<'_>, (): ()| Ok(((0x9e37_79b9_7f4a_7c15_u64, 1_u64),)))
        }
        ("wasi:cli/stdout", "get-stdout") | ("wasi:cli/stderr", "get-stderr") => {
            target.func_wrap(function, |_: Context<'_>, (): ()| Ok((Resource::<Nothing>::new_own(1),)))
        }
        ("wasi:io/streams", "[method]output-stream.check-write") => target
            .func_wrap(function, |_: Context<'_>, (_,): (Resource<Nothing>,)| {
                Ok((Ok::<u64, StreamError>(STREAM_BYTES),))
            }),
        (
            "wasi:io/streams",
            "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush",
        ) => {
            target.func_wrap(function, |mut store: Context<'_>, (_, bytes): (Resource<Nothing>, Vec<u8>)| {
                store.data_mut().print(&bytes);
                Ok((Ok::<(), StreamError>(()),))
            })
        }
        ("wasi:io/streams", "[method]output-stream.flush" | "[method]output-stream.blocking-flush") => target
            .func_wrap(function, |_: Context<'_>, (_,): (Resource<Nothing>,)| {
                Ok((Ok::<(), StreamError>(()),))
            }),
        // Standard output waits after each write; it is always ready. Nothing else gives something to wait for.
        ("wasi:io/streams", "[method]output-stream.subscribe") => target
            .func_wrap(function, |_: Context<'_>, (_,): (Resource<Nothing>,)| {
                Ok((Resource::<Nothing>::new_own(2),))
            }),
        ("wasi:io/poll", "[method]pollable.block") => {
            target.func_wrap(function, |_: Context<'_>, (_,): (Resource<Nothing>,)| Ok(()))
        }
        _ => {
            let words = refusal(interface);
            let called = format!("{interface}#{function}");
            target.func_new(function, move |_, _, _, _| bail!("called {called}; {words}"))
        }
    }
}

/// Why an interface gives nothing.
fn refusal(interface: &str) -> &'static str {
    match interface.split('/').next().unwrap_or_default() {
        "wasi:clocks" => "a plugin is told the time",
        "wasi:random" => "a plugin has no randomness: the same input must give the same result",
        "wasi:filesystem" => "a plugin has no files",
        "wasi:sockets" | "wasi:http" => "a plugin has no network",
        _ => "a plugin has no surroundings: it is a function of its input",
    }
}
