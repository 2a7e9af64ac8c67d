//! The hosts of the group, which plugins they run and which partitions they read, so that a version that is rolled out
//! host by host can be followed on each of them.
//!
//! Not for deciding anything. Invariant: what is shown of others is what they said within the last seconds.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::pipeline::Shared;
use crate::store::StoreError;
use crate::store::members::{Member, Version};

/// This host among others.
#[derive(Debug, Default)]
pub struct Members {
    /// The name of this host.
    host: String,
    /// The id of this process.
    id: String,
    heard: Mutex<Vec<Member>>,
}

impl Members {
    /// This host, called by its member's name where it has one, and by machine and process otherwise.
    #[must_use]
    pub fn new(instance: Option<&str>, id: u128) -> Self {
        let machine = || {
            let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}/{}", name.trim(), std::process::id())
        };
        let host = instance.map_or_else(machine, str::to_owned);
        Self { host, id: format!("{id:032x}"), heard: Mutex::default() }
    }

    /// Says what this host shows, and hears the others.
    ///
    /// # Errors
    /// When the store cannot be asked; what was heard before is then forgotten.
    pub async fn meet(&self, shared: &Shared) -> Result<(), StoreError> {
        let shown = shared.changes.shown();
        let plugins: BTreeMap<String, Version> = shown
            .iter()
            .map(|plugin| {
                let version = plugin.plugin.description().version.clone();
                (plugin.name().to_owned(), Version { version, digest: plugin.digest.to_string() })
            })
            .collect();
        let partitions = shared.board.partitions().into_keys().collect();
        let own = Member { id: self.id.clone(), host: self.host.clone(), plugins, partitions };
        let heard = shared.writing.store.introduce(&own).await;
        let (members, answer) = match heard {
            Ok(members) => (members, Ok(())),
            Err(error) => (vec![own], Err(error)),
        };
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = members;
        answer
    }

    /// All of them, by the names of the hosts.
    pub fn heard(&self) -> Vec<Member> {
        let mut members = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        members.sort_by(|a, b| (&a.host, &a.id).cmp(&(&b.host, &b.id)));
        members
    }

    /// Whether that is this host.
    pub fn is_self(&self, member: &Member) -> bool {
        member.id == self.id
    }

    /// The name of this host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The partitions that other hosts read, with the names of the hosts.
    pub fn elsewhere(&self) -> Vec<(i32, String)> {
        let mut read = Vec::new();
        for member in self.heard().into_iter().filter(|member| !self.is_self(member)) {
            read.extend(member.partitions.iter().map(|&partition| (partition, member.host.clone())));
        }
        read.sort_unstable();
        read
    }

    /// All of them as JSON.
    pub fn shown(&self) -> Value {
        let shown = |member: &Member| json!({ "host": member.host, "self": self.is_self(member), "plugins": member.plugins });
        self.heard().iter().map(shown).collect()
    }

    /// Those that a test says.
    #[cfg(test)]
    pub fn saying(id: &str, heard: Vec<Member>) -> Self {
        Self { host: String::new(), id: id.to_owned(), heard: Mutex::new(heard) }
    }
}
