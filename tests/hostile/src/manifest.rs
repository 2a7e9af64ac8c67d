//! What the plugin says of itself, in bytes that a test finds and writes over in the component.
//!
//! `describe` knows no configuration, and a build for each variant would take minutes. The invariant: the
//! text begins with [`MARK`] and has the same length whatever it says.

use serde::{Deserialize, Serialize};

use crate::deed::Does;

/// What the text begins with.
pub const MARK: &str = "hostile-manifest:";
/// How long it is.
pub const BYTES: usize = 256;

const WRITTEN: &str =
    r#"hostile-manifest:{"name":"hostile","result_key":"hostile","state_version":1,"describe":null}"#;

/// The text as it is built.
static TEXT: [u8; BYTES] = {
    let mut text = [b' '; BYTES];
    let mut at = 0;
    while at < WRITTEN.len() {
        text[at] = WRITTEN.as_bytes()[at];
        at += 1;
    }
    text
};

/// What the plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its result key.
    pub result_key: String,
    /// The version of its state: 1, or 2 which reads both.
    pub state_version: u32,
    /// What it does when it is asked.
    pub describe: Option<Does>,
}

impl Manifest {
    /// Reads the text as it is in this component.
    pub(crate) fn read() -> Self {
        // Hidden from the compiler, which would take the text for what it was when it was built.
        let text = std::hint::black_box(&TEXT);
        let json = &text[MARK.len()..];
        match serde_json::from_slice(json) {
            Ok(manifest) => manifest,
            Err(error) => panic!("the manifest is {:?}: {error}", String::from_utf8_lossy(json)),
        }
    }

    /// Writes it into a finished component, in the place of the one that is there.
    ///
    /// # Errors
    /// When there is none, or this one is too long.
    pub fn write(&self, component: &mut [u8]) -> Result<(), String> {
        let json = serde_json::to_string(self).map_err(|error| error.to_string())?;
        let room = BYTES - MARK.len();
        if json.len() > room {
            return Err(format!("{} bytes, there is room for {room}", json.len()));
        }
        let beginning = format!("{MARK}{{");
        let found = component.windows(beginning.len()).position(|window| window == beginning.as_bytes());
        let at = found.ok_or("no manifest in it")? + MARK.len();
        let place = component.get_mut(at..at + room).ok_or("the manifest is cut")?;
        place.fill(b' ');
        place[..json.len()].copy_from_slice(json.as_bytes());
        Ok(())
    }
}

impl Default for Manifest {
    fn default() -> Self {
        let name = "hostile".to_owned();
        Self { result_key: name.clone(), name, state_version: 1, describe: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_written_over_in_place() {
        assert_eq!(Manifest::read(), Manifest::default());
        let mut component = [b"before".as_slice(), &TEXT, b"after"].concat();
        let other = Manifest { state_version: 2, describe: Some(Does::Loop), ..Manifest::default() };
        other.write(&mut component).unwrap();
        assert!(component.starts_with(b"before") && component.ends_with(b"after"));
        let text = &component[6 + MARK.len()..6 + BYTES];
        assert_eq!(serde_json::from_slice::<Manifest>(text).unwrap(), other);
        assert!(other.write(&mut component[10..]).is_err());
    }
}
