//! The folders that `plugin new` makes for languages other than Rust: templates, and the glue of the SDK.
//!
//! Everything is part of the binary, so that an author never runs a generator of bindings. Invariant: this is the only
//! place of the host that knows these languages; building knows the manifest alone.

use super::new::File;

/// The contract, which the toolchains read.
const CONTRACT: File = ("sdk/wit/plugin.wit", include_str!("../../../wit/plugin.wit"));

/// A metric in JavaScript, on QuickJS.
pub(super) const JAVASCRIPT: [File; 8] = [
    ("metric.js", include_str!("templates/javascript/metric.js")),
    ("plugin.json", include_str!("templates/javascript/plugin.json")),
    ("package.json", include_str!("templates/javascript/package.json")),
    (".gitignore", include_str!("templates/javascript/gitignore.txt")),
    ("sdk/aggregator.js", include_str!("../../../guest-sdk/javascript/aggregator.js")),
    ("sdk/windows.js", include_str!("../../../guest-sdk/javascript/windows.js")),
    ("sdk/forms.js", include_str!("../../../guest-sdk/javascript/forms.js")),
    CONTRACT,
];

/// A metric in Python, on CPython.
pub(super) const PYTHON: [File; 8] = [
    ("metric.py", include_str!("templates/python/metric.py")),
    ("plugin.json", include_str!("templates/python/plugin.json")),
    ("requirements.txt", include_str!("templates/python/requirements.txt")),
    (".gitignore", include_str!("templates/python/gitignore.txt")),
    ("sdk/aggregator.py", include_str!("../../../guest-sdk/python/aggregator.py")),
    ("sdk/windows.py", include_str!("../../../guest-sdk/python/windows.py")),
    ("sdk/forms.py", include_str!("../../../guest-sdk/python/forms.py")),
    CONTRACT,
];

/// A metric in Go.
pub(super) const GO: [File; 11] = [
    ("metric.go", include_str!("templates/go/metric.go.txt")),
    ("plugin.json", include_str!("templates/go/plugin.json")),
    ("go.mod", include_str!("templates/go/go.mod.txt")),
    ("requirements.txt", include_str!("templates/go/requirements.txt")),
    (".gitignore", include_str!("templates/go/gitignore.txt")),
    ("sdk/aggregator.go", include_str!("../../../guest-sdk/go/aggregator.go")),
    ("sdk/abi.go", include_str!("../../../guest-sdk/go/abi.go")),
    ("sdk/windows.go", include_str!("../../../guest-sdk/go/windows.go")),
    ("sdk/forms.go", include_str!("../../../guest-sdk/go/forms.go")),
    ("sdk/null.wat", include_str!("../../../guest-sdk/go/null.wat")),
    CONTRACT,
];
