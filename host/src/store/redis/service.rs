//! Records of the whole service in Redis.
//!
//! They travel over the connection for reads: a lease must not wait behind chunks.
//!
//! Invariant: the lease is changed only by scripts that compare it.

use std::sync::LazyLock;

use super::super::error::StoreError;
use super::super::keys;
use super::super::members::{KEPT, Member};
use super::super::service::{LayoutRecord, Lease};
use super::RedisStore;
use super::script::Script;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("take_lease.lua")));
static INTRODUCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("introduce.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("release_lease.lua")));

impl RedisStore {
    pub(in super::super) async fn layout(&self) -> Result<Option<LayoutRecord>, StoreError> {
        let found = self.get(keys::LAYOUT).await?;
        found.map(|bytes| LayoutRecord::decode(keys::LAYOUT, &bytes)).transpose()
    }

    pub(in super::super) async fn set_layout(&self, layout: &LayoutRecord) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(keys::LAYOUT).arg(layout.encode(keys::LAYOUT)?);
        self.reader.call(&command, "SET", keys::LAYOUT).await
    }

    pub(in super::super) async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        let found = self.get(keys::LEASE).await?;
        found.map(|bytes| Lease::decode(keys::LEASE, &String::from_utf8_lossy(&bytes))).transpose()
    }

    pub(in super::super) async fn take_lease(
        &self,
        seen: Option<&Lease>,
        new: &Lease,
    ) -> Result<bool, StoreError> {
        let mut command = TAKE.command(1, 2, 256);
        command.arg(keys::LEASE);
        command.arg(seen.map(Lease::to_string).unwrap_or_default()).arg(new.to_string());
        let taken: i64 = TAKE.call(&self.reader, &command, keys::LEASE).await?;
        Ok(taken == 1)
    }

    pub(in super::super) async fn introduce(&self, own: &Member) -> Result<Vec<Member>, StoreError> {
        let said = own.encode(keys::MEMBERS)?;
        let mut command = INTRODUCE.command(1, 3, said.len());
        command.arg(keys::MEMBERS).arg(&own.id).arg(said).arg(KEPT.as_millis() as u64);
        let members: Vec<Vec<u8>> = INTRODUCE.call(&self.reader, &command, keys::MEMBERS).await?;
        // A host of another version may say what this one cannot read; that hides no other.
        Ok(members.iter().filter_map(|said| Member::decode(keys::MEMBERS, said).ok()).collect())
    }

    pub(in super::super) async fn release_lease(&self, own: &Lease) -> Result<bool, StoreError> {
        let mut command = RELEASE.command(1, 2, 256);
        command.arg(keys::LEASE).arg(own.tenure()).arg(own.freed().to_string());
        let removed: i64 = RELEASE.call(&self.reader, &command, keys::LEASE).await?;
        Ok(removed == 1)
    }
}
