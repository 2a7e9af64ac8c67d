//! The server goes away, freezes, comes back; connections are encrypted or not.

use std::process::Command;
use std::time::{Duration, Instant};

use super::relay::Relay;
use super::server::Server;
use super::{checkpoint, chunk, commit, loaded, page, value};
use crate::config;
use crate::store::{Action, OpenError, Part, Store, StoreError};

/// Tries until trying again is not what the store asks for, as a writer does.
pub(super) async fn until_not_retry<T>(
    call: impl AsyncFn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        match call().await {
            Err(error) if error.action() == Action::Retry => {
                assert!(Instant::now() < give_up, "{error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
}

fn with_limit(server: &Server, limit: Duration) -> config::Redis {
    config::Redis { read_timeout: limit, write_timeout: limit, pool_size: 1, ..server.config() }
}

#[tokio::test]
async fn a_store_is_made_while_the_server_is_away() {
    let mut server = Server::start();
    server.kill();
    let store = Store::redis(&server.config()).unwrap();
    let error = store.ping().await.unwrap_err();
    assert_eq!(error.action(), Action::Retry);
    assert!(error.to_string().contains(&format!("127.0.0.1:{}", server.port)), "{error}");
    server.run();
    until_not_retry(|| store.ping()).await.unwrap();
}

#[tokio::test]
async fn a_killed_server_is_found_again_and_its_loss_is_noticed() {
    let mut server = Server::start();
    let store = server.store();
    let owner = store.claim(3, 7).await.unwrap();
    let rows = chunk(owner, &[("a", 5, r#"{"w":1}"#)]);
    store.write(&rows).await.unwrap();
    server.kill();
    let error = store.write(&rows).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    server.run();
    let lost = until_not_retry(|| store.write(&rows)).await;
    assert_eq!(lost.unwrap_err().action(), Action::Fenced(None));
    let owner = until_not_retry(|| store.claim(3, 7)).await.unwrap();
    assert_eq!(owner.epoch, 2);
    store.write(&chunk(owner, &[("a", 5, r#"{"w":2}"#)])).await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some(r#"{"w":2}"#));
}

#[tokio::test]
async fn a_frozen_server_costs_a_call_no_more_than_its_limit() {
    let server = Server::start();
    server.wait();
    let store = Store::redis(&with_limit(&server, Duration::from_millis(300))).unwrap();
    let owner = store.claim(3, 7).await.unwrap();
    server.signal("STOP");
    let began = Instant::now();
    let old = chunk(owner, &[("a", 5, r#"{"w":"old"}"#)]);
    let error = store.write(&old).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { command: "EVALSHA", .. }), "{error}");
    // The second call finds no connection and cannot make one.
    assert_eq!(store.write(&old).await.unwrap_err().action(), Action::Retry);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.signal("CONT");
    let new = chunk(owner, &[("a", 5, r#"{"w":"new"}"#)]);
    until_not_retry(|| store.write(&new)).await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some(r#"{"w":"new"}"#));
}

#[tokio::test]
async fn many_callers_do_not_queue_for_a_frozen_server() {
    let server = Server::start();
    server.wait();
    let limit = Duration::from_millis(300);
    let store = std::sync::Arc::new(Store::redis(&with_limit(&server, limit)).unwrap());
    server.signal("STOP");
    let began = Instant::now();
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move { store.ping().await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err().action(), Action::Retry);
    }
    assert!(began.elapsed() < 10 * limit, "{:?}", began.elapsed());
    server.signal("CONT");
}

#[tokio::test]
async fn a_connection_cut_within_a_commit_leaves_it_whole_or_absent() {
    let server = Server::start();
    server.wait();
    let relay = Relay::to(server.port);
    let mut config = with_limit(&server, Duration::from_secs(5));
    config.url = format!("redis://127.0.0.1:{}/0", relay.port);
    let (store, reader) = (Store::redis(&config).unwrap(), server.store());
    let owner = store.claim(3, 7).await.unwrap();
    let new = [vec![1; 3_000], vec![2; 3_000]];
    let mut absent = 0;
    // The first one also sends the script; it is not cut.
    for cut in [u64::MAX, 0, 1, 40, 300, 700, 2_000, 3_300, 3_600, u64::MAX] {
        checkpoint(&store, owner, 1, &[b"old"]).await.unwrap();
        store.stage(&page(owner, 2, 0, &new[0])).await.unwrap();
        let mut end = commit(owner, &[(2, 2)]);
        end.last_page = Some(page(owner, 2, 1, &new[1]));
        end.replaced = vec![Part { id: 1, pages: 1 }];
        relay.cut_after(cut);
        let first = store.commit(&end).await;
        let found = loaded(&reader).await.unwrap();
        assert!(found == new || found == [b"old"], "{cut}: {} pages", found.len());
        if let Err(error) = first {
            assert_eq!(error.action(), Action::Retry, "{cut}: {error}");
            absent += u32::from(found != new);
        } else {
            assert!(found == new);
        }
        relay.cut_after(u64::MAX);
        until_not_retry(|| store.commit(&end)).await.unwrap();
        assert!(loaded(&reader).await.unwrap() == new);
    }
    assert!(absent >= 5, "{absent}");
}

#[tokio::test]
async fn a_commit_that_a_frozen_server_takes_late_is_no_older_than_what_came_after() {
    let server = Server::start();
    server.wait();
    let store = Store::redis(&with_limit(&server, Duration::from_millis(300))).unwrap();
    let owner = store.claim(3, 7).await.unwrap();
    checkpoint(&store, owner, 1, &[b"a"]).await.unwrap();
    server.signal("STOP");
    let error = checkpoint(&store, owner, 1, &[b"late"]).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. }), "{error}");
    server.signal("CONT");
    until_not_retry(|| checkpoint(&store, owner, 1, &[b"b"])).await.unwrap();
    assert_eq!(loaded(&store).await.unwrap(), [b"b"]);
    assert_eq!(store.forgotten(&[3]).await.unwrap(), [0_u32; 0]);
}

/// Makes a certificate for 127.0.0.1 in the server's directory, signed by itself.
fn certificate(server: &Server) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(server.path("key.pem"))
        .arg("-out")
        .arg(server.path("cert.pem"))
        .output();
    match made {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("openssl: {error}; install it: apt-get install openssl"),
    }
}

#[tokio::test]
async fn an_encrypted_connection_is_checked_against_the_given_certificates() {
    let plain = Server::start();
    certificate(&plain);
    let (cert, key) = (plain.path("cert.pem"), plain.path("key.pem"));
    let tls_port = (plain.port ^ 1).to_string();
    let (cert_text, key_text) = (cert.display().to_string(), key.display().to_string());
    let server = Server::with(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &cert_text,
        "--tls-key-file",
        &key_text,
        "--tls-ca-cert-file",
        &cert_text,
        "--tls-auth-clients",
        "no",
    ]);
    server.wait();
    let mut config = server.config();
    config.url = format!("rediss://127.0.0.1:{tls_port}/0");
    config.tls_ca = Some(cert);
    let store = Store::redis(&config).unwrap();
    store.claim(3, 7).await.unwrap();
    // The system's certificates know nothing of this one.
    config.tls_ca = None;
    let strict = Store::redis(&config).unwrap();
    assert_eq!(strict.ping().await.unwrap_err().action(), Action::Retry);
}

#[tokio::test]
async fn settings_that_cannot_work_stop_the_start() {
    let server = Server::start();
    let mut config = server.config();
    config.url = "http://127.0.0.1".to_owned();
    assert!(matches!(Store::redis(&config), Err(OpenError::Address { .. })));
    config.url = "rediss://127.0.0.1".to_owned();
    config.tls_ca = Some(server.path("none.pem"));
    assert!(matches!(Store::redis(&config), Err(OpenError::Certificates { .. })));
}
