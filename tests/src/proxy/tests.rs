//! What the proxy does to bytes and connections, each with a server that answers what it is sent.
//!
//! The invariant: a test ends with no thread of its own.

use super::*;

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(100);

/// A server that answers with what it is sent, and a proxy before it.
fn echo() -> (Proxy, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap().port()).unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 64];
            let Ok(count) = stream.read(&mut bytes) else { continue };
            if &bytes[..count] == b"end" {
                return;
            }
            stream.write_all(&bytes[..count]).ok();
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..count]).ok();
            }
        }
    });
    (proxy, server)
}

fn client(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
}

fn answers(mut client: &TcpStream, text: &[u8]) -> bool {
    let mut bytes = vec![0; text.len()];
    client.write_all(text).is_ok() && client.read_exact(&mut bytes).is_ok() && bytes == text
}

fn end(proxy: Proxy, server: JoinHandle<()>) {
    proxy.heal();
    client(&proxy).write_all(b"end").unwrap();
    server.join().unwrap();
    drop(proxy);
}

#[test]
fn a_reset_link_ends_connections_and_takes_new_ones() {
    let (proxy, server) = echo();
    let first = client(&proxy);
    assert!(answers(&first, b"one"));
    proxy.reset();
    let error = (&first).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(answers(&client(&proxy), b"two"));
    end(proxy, server);
}

#[test]
fn a_held_link_delivers_everything_when_it_is_opened() {
    let (proxy, server) = echo();
    let mut held = client(&proxy);
    assert!(answers(&held, b"one"));
    proxy.hold();
    held.write_all(b"two").unwrap();
    held.set_read_timeout(Some(SHORT)).unwrap();
    assert!(held.read(&mut [0; 3]).is_err());
    proxy.heal();
    held.set_read_timeout(Some(LIMIT)).unwrap();
    let mut bytes = [0; 3];
    held.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"two");
    drop(held);
    end(proxy, server);
}

#[test]
fn a_half_open_connection_never_answers_again_and_a_new_one_does() {
    let (proxy, server) = echo();
    let mut old = client(&proxy);
    assert!(answers(&old, b"one"));
    proxy.half_open();
    old.set_read_timeout(Some(SHORT)).unwrap();
    old.write_all(b"two").unwrap();
    let error = old.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert!(answers(&client(&proxy), b"three"));
    drop(old);
    end(proxy, server);
}

#[test]
fn a_cut_comes_exactly_so_many_bytes_behind_the_marker() {
    let (proxy, server) = echo();
    proxy.cut_behind(Direction::Answer, b"mark", 6);
    let mut cut = client(&proxy);
    cut.write_all(b"before, mark, behind").unwrap();
    let mut bytes = Vec::new();
    cut.read_to_end(&mut bytes).unwrap_err();
    // A reset may overtake the last bytes, but none behind the cut ever comes.
    assert!(b"before, mark, ".starts_with(&bytes[..]), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(proxy.cuts(), 1);
    assert!(answers(&client(&proxy), b"mark and more"));
    end(proxy, server);
}

#[test]
fn a_slow_link_takes_its_time() {
    let (proxy, server) = echo();
    let slow = client(&proxy);
    proxy.delay(SHORT, Duration::ZERO);
    let began = Instant::now();
    assert!(answers(&slow, b"there and back"));
    assert!(began.elapsed() >= 2 * SHORT);
    proxy.heal();
    proxy.limit(100);
    let began = Instant::now();
    assert!(answers(&slow, &[b'x'; 20]));
    assert!(began.elapsed() >= 2 * SHORT);
    drop(slow);
    end(proxy, server);
}
