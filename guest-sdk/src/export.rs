//! Turning a plugin's type into a component's exports.
//!
//! Not needed natively, where a plugin is a plain type. The invariant: everything that a component
//! needs is emitted for wasm32 only, so that the same crate is also a library for tests and hosts.

/// Exports a [`Plugin`](crate::Plugin) as a component.
///
/// Natively it expands to a check that the type is a plugin.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        const _: () = {
            const fn is_a_plugin<P: $crate::Plugin>() {}
            is_a_plugin::<$plugin>();
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::Plugin as _;
            use $crate::bindings::exports::aggregator::plugin::aggregator::Guest;
            use $crate::component::Instance;
            use $crate::contract as c;

            std::thread_local! {
                static INSTANCE: Instance<$plugin> = const { Instance::new() };
            }

            struct Component;

            impl Guest for Component {
                fn describe() -> c::Description {
                    $crate::component::report_panics();
                    <$plugin as $crate::Plugin>::describe()
                }
                fn configure(json: String) -> Result<c::Settings, String> {
                    $crate::component::report_panics();
                    INSTANCE.with(|instance| instance.configure(&json))
                }
                fn process(batch: c::Batch) {
                    INSTANCE.with(|instance| instance.call(|plugin| plugin.process(&batch)));
                }
                fn flush(clock_ms: i64, max_rows: u32) -> c::Table {
                    INSTANCE.with(|instance| instance.call(|plugin| plugin.flush(clock_ms, max_rows)))
                }
                fn touch(tokens: Option<Vec<u32>>) {
                    INSTANCE.with(|instance| instance.call(|plugin| plugin.touch(tokens.as_deref())));
                }
                fn export_state(since: u64, cursor: u64, max_bytes: u32) -> c::Page {
                    INSTANCE.with(|instance| {
                        instance.call(|plugin| plugin.export_state(since, cursor, max_bytes))
                    })
                }
                fn trim(generation: u64) {
                    INSTANCE.with(|instance| instance.call(|plugin| plugin.trim(generation)));
                }
                fn import_state(
                    state_version: u32,
                    new_tokens: Vec<c::NewToken>,
                    entries: c::Entries,
                    removed: c::Removals,
                ) -> Result<(), String> {
                    INSTANCE.with(|instance| {
                        instance.call(|plugin| {
                            plugin.import_state(state_version, &new_tokens, &entries, &removed)
                        })
                    })
                }
                fn forget(tokens: Vec<u32>) {
                    INSTANCE.with(|instance| instance.call(|plugin| plugin.forget(&tokens)));
                }
            }

            // The host reads it before it compiles anything.
            #[allow(unsafe_code, reason = "a custom section is named by an attribute")]
            #[unsafe(link_section = "aggregator-contract")]
            #[used]
            static CONTRACT: [u8; $crate::contract::VERSION.len()] =
                *$crate::contract::VERSION.as_bytes().first_chunk().unwrap();

    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}

/// Exports a [`Pane`](crate::Pane) as a component: a metric over sliding windows.
#[macro_export]
macro_rules! export_pane {
    ($pane:ty) => {
        $crate::export_plugin!($crate::PanePlugin<$pane>);
    };
}
