//! A connection to a server that is cut after some bytes.
//!
//! Invariant: its threads end with the connections of the store that uses it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Passes bytes to a server, and its answers back.
pub(super) struct Relay {
    pub(super) port: u16,
    /// How many more bytes go to the server before the connection is cut, once.
    left: Arc<AtomicU64>,
}

impl Relay {
    pub(super) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let budget = Arc::clone(&left);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, budget) = (client.unwrap(), Arc::clone(&budget));
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let (answers, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(answers, back, &AtomicU64::new(u64::MAX)));
                std::thread::spawn(move || pass(client, server, &budget));
            }
        });
        Self { port, left }
    }

    /// Cuts the connection after so many further bytes; the one after it is whole.
    pub(super) fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }
}

/// Passes bytes on until either side ends or the budget is used up.
fn pass(mut from: TcpStream, mut to: TcpStream, budget: &AtomicU64) {
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let left = budget.load(Ordering::SeqCst);
        let passed = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if to.write_all(&bytes[..passed]).is_err() {
            break;
        }
        if passed < read || left == 0 {
            budget.store(u64::MAX, Ordering::SeqCst);
            break;
        }
        if left != u64::MAX {
            budget.store(left - passed as u64, Ordering::SeqCst);
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
