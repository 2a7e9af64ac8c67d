//! The pages for people: whole without a script, safe, bounded, and kept fresh.

use super::*;
use crate::pipeline::board::CellStatus;
use crate::pipeline::cost::Cost;

/// The elements that hold the parts of the operator's page.
const PARTS: [&str; 8] =
    ["status", "numbers", "charts", "partitions", "workers", "plugins", "tokens", "shards"];

/// What one event says: the parts that changed, as markup.
fn event(body: &str) -> Value {
    let data = body.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn the_page_is_one_document_that_a_browser_may_not_add_to() {
    let state = state();
    let store = Arc::clone(&state.store);
    let running = serve(state);
    let value = br#"{"5min":{"buy_count":12345,"end_price":0.0000012345}}"#;
    running.runtime.block_on(write(&store, "<i>Trades1", value));
    let page = running.get("/");
    assert_eq!(page.status, 200);
    for header in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'; script-src 'nonce-",
    ] {
        assert!(page.head.contains(header), "{header} is missing");
    }
    for part in PARTS {
        assert!(page.body.contains(&format!("<div id=\"{part}\"><")), "{part} is missing");
    }
    assert!(page.body.contains("&lt;i&gt;Trades1") && !page.body.contains("<i>"));
    assert!(page.body.contains("<td>0.0000012345</td>"));
    assert!(page.body.contains("12\u{202f}345"));
    for outside in ["https://", "//cdn", "src=", "style=", "url("] {
        assert!(!page.body.contains(outside), "{outside} is on the page");
    }
    assert_ne!(page.head, running.get("/").head, "the nonce must change");
}

#[test]
fn what_fails_is_said_first_and_as_text() {
    let state = state();
    state.health.fail(Part::Kafka, "", "no <broker>");
    state.board.partition(3, |status| status.problem = Some("<b>gone".to_owned()));
    let page = serve(state).get("/").body;
    assert!(page.contains("<span class=\"word\">Unhealthy</span>"));
    assert!(page.contains("<li>kafka: no &lt;broker&gt;</li>"));
    assert!(page.contains("&lt;b&gt;gone") && !page.contains("<b>gone"));
}

#[test]
fn the_page_stays_small_however_much_there_is_to_show() {
    let mut state = state();
    let hostile = "<&\"'>\u{202e}".repeat(60);
    for partition in 0..500 {
        state.board.assign(partition, 0, 0, 0..500);
        state.board.partition(partition, |status| status.problem = Some(hostile.clone()));
    }
    let cell = CellStatus {
        plugin: hostile.as_str().into(),
        digest: hostile.as_str().into(),
        state: "failed",
        memory_bytes: 1,
        cost: Cost::default(),
        fault: Some(hostile.clone()),
    };
    for shard in 0..500 {
        state.board.open_shard(shard);
        state.board.shard(shard, |status| status.cells = vec![cell.clone(); 4]);
    }
    for part in [Part::Kafka, Part::Redis, Part::Plugins] {
        state.health.fail(part, &hostile, &hostile);
    }
    let token = hostile.chars().take(80).collect::<String>();
    let listed = token.clone();
    state.live_listing = Arc::new(move |limit, _| {
        let token = |index: usize| TokenStatus {
            token: format!("{index}{listed}"),
            last_trade_ms: 0,
            trades: 9,
            shard: 0,
        };
        (0..limit).map(token).collect()
    });
    let windows: Vec<String> = (1..=60).map(|minutes| format!("{minutes}min")).collect();
    let groups = windows.clone();
    state.shapes = Arc::new(move || {
        vec![ResultShape {
            plugin: "sliding-window".to_owned(),
            key: "aggregates".into(),
            groups: groups.clone(),
            fields: Vec::new(),
        }]
    });
    state.layout.workers = 256;
    for second in 0..300 {
        state.metrics.trades.inc_by(1_234_567);
        state.metrics.batch(Duration::from_millis(second % 7));
        state.metrics.store_call(Duration::from_millis(second % 5), true);
        state.metrics.sample(second * 1_000_003);
    }
    let store = Arc::clone(&state.store);
    let running = serve(state);
    let values = windows.iter().map(|window| {
        format!("\"{window}\":{{\"buy_count\":123456789,\"end_price\":0.000000000012345,\"vwap\":1e-20}}")
    });
    let value = format!("{{{}}}", values.collect::<Vec<_>>().join(","));
    for index in 0..12 {
        running.runtime.block_on(write(&store, &format!("{index}{token}"), value.as_bytes()));
    }
    let page = running.get("/");
    assert_eq!(page.status, 200);
    assert!((50_000..=100_000).contains(&page.body.len()), "{} bytes", page.body.len());
    assert!(!page.body.contains("<&"));
}

#[test]
fn a_stream_brings_all_parts_and_then_those_that_change() {
    let state = state();
    let health = Arc::clone(&state.health);
    let running = serve(state);
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET /events HTTP/1.0\r\n\r\n").unwrap();
    let first = read(&mut stream);
    assert!(first.contains("content-type: text/event-stream"), "{first}");
    let (_, body) = first.split_once("\r\n\r\n").unwrap();
    let parts = event(body);
    for part in PARTS {
        assert!(parts[part].is_string(), "{part} is missing");
    }
    let page = running.get("/").body;
    let program = parts["program"].as_str().unwrap();
    assert!(page.contains(&format!("data-program=\"{program}\"")));
    health.fail(Part::Redis, "", "no route");
    let mut later = String::new();
    while !later.contains("no route") {
        let mut more = [0; 4_096];
        let read = stream.read(&mut more).unwrap();
        assert!(read > 0, "the stream ended");
        later.push_str(&String::from_utf8_lossy(&more[..read]));
    }
    assert!(!later.contains("\"workers\""), "workers have not changed");
}

#[test]
fn streams_are_bounded_and_end_with_the_service() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::bind(&http(0, true), state())).unwrap();
    let address = server.address();
    let (end, ended) = oneshot::channel::<()>();
    let serving = runtime.spawn(server.serve(async move { drop(ended.await) }));
    let open = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /token/any/events HTTP/1.0\r\n\r\n").unwrap();
        let begin = read(&mut stream);
        (begin.starts_with("HTTP/1.0 200"), stream)
    };
    let mut streams: Vec<TcpStream> = Vec::new();
    let refused = loop {
        match open() {
            (true, stream) => streams.push(stream),
            (false, _) => break streams.len(),
        }
    };
    assert_eq!(refused, 32);
    // A place is free again when a client goes.
    streams.pop();
    let began = Instant::now();
    while !open().0 {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    drop(end);
    let began = Instant::now();
    for stream in &mut streams {
        std::io::copy(stream, &mut std::io::sink()).unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(900), "they ended, and were not cut off");
    runtime.block_on(serving).unwrap();
}

#[test]
fn a_token_has_a_page_of_its_own() {
    let state = state();
    let store = Arc::clone(&state.store);
    let running = serve(state);
    let value = br#"{"5min":{"buy_count":12345,"sell_count":"<i>"}}"#;
    running.runtime.block_on(write(&store, "<b>/?", value));
    let page = running.get("/token/%3Cb%3E%2F%3F");
    assert_eq!(page.status, 200);
    for part in
        ["&lt;b&gt;/?</h1>", "12\u{202f}345", "&lt;i&gt;", "data-events=\"/token/%3Cb%3E%2F%3F/events\""]
    {
        assert!(page.body.contains(part), "{part} is missing");
    }
    assert!(!page.body.contains("<i>") && !page.body.contains("<b>"));
    assert!(event(&running.get("/token/%3Cb%3E%2F%3F/events").body)["token"].is_string());

    let unknown = running.get("/token/%3Cu%3E");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("&lt;u&gt;") && unknown.body.contains("No results"));
    running.get(&format!("/token/{}", "x".repeat(129))).refuses(404);
    running.get("/token/%ff").refuses(400);
}
