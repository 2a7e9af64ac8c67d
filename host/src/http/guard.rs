//! Who may change something: whoever shows `ADMIN_TOKEN` or, where none is set, this machine alone.
//!
//! A browser that looks at somebody else's page is on this machine too, so a request that a page of
//! another origin makes is refused whatever it shows, and without a token so is a name for this machine
//! that is not its own, and everything that came through a proxy. Nothing here gives another origin the
//! right to read. Invariant: every request to change something leaves one line of the audit log with its
//! route, its peer and how it ended; refused ones are counted, and told at most once a second.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::IntCounter;

use super::connection::Peer;
use super::problem::Problem;
use crate::config::Secret;

/// How much longer than others a request may keep its connection once it is let in, until it is answered.
const LONGER: Duration = Duration::from_secs(110);
/// How often refused requests are told at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How much of a path the log shows.
const PATH_BYTES: usize = 200;
/// What a browser says of a request that its own page makes, or that a person typed.
const OWN_SITE: [&str; 2] = ["same-origin", "none"];
/// Who sends one of these is not the peer.
const PROXIED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// What stands before every route that changes something.
pub(super) struct Guard {
    token: Option<Secret>,
    refused: IntCounter,
    /// When refused requests were told last, and how many there were since.
    told: Mutex<(Option<Instant>, u64)>,
}

impl Guard {
    pub(super) fn new(token: Option<Secret>, refused: IntCounter) -> Arc<Self> {
        Arc::new(Self { token, refused, told: Mutex::default() })
    }

    /// Whether a request may go on.
    fn admit(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Problem> {
        own_origin(headers)?;
        match &self.token {
            Some(token) => match bearer(headers).is_some_and(|shown| token.matches(shown)) {
                true => Ok(()),
                false => Err(Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "this needs the admin token",
                    "send Authorization: Bearer with the value of ADMIN_TOKEN",
                )),
            },
            None => this_machine(peer.ip(), headers),
        }
    }

    /// Counts a refused request; the log has one line a second however many there are.
    fn refuse(&self, peer: SocketAddr, method: &Method, path: &str, status: StatusCode) {
        self.refused.inc();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.1 += 1;
        if told.0.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            let requests = std::mem::take(&mut told.1);
            told.0 = Some(Instant::now());
            tracing::warn!(
                target: "audit", %method, path = shown(path), %peer, status = status.as_u16(), requests,
                outcome = "refused", "Change refused"
            );
        }
    }
}

/// The layer: lets a request in or answers it, and writes the audit log.
pub(super) async fn guard(Extract(guard): Extract<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>().cloned() else {
        return Problem::new(StatusCode::FORBIDDEN, "the peer is not known", "connect over TCP")
            .into_response();
    };
    if let Err(problem) = guard.admit(peer.address, request.headers()) {
        let mut response = problem.into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        guard.refuse(peer.address, &method, &path, response.status());
        return response;
    }
    let granted = peer.grant(LONGER);
    let mut audit = Audit { method, path, peer: peer.address, status: None };
    let response = next.run(request).await;
    audit.status = Some(response.status());
    drop(granted);
    response
}

/// The line of one change; written when it is dropped, also where the client has gone.
struct Audit {
    method: Method,
    path: String,
    peer: SocketAddr,
    status: Option<StatusCode>,
}

impl Drop for Audit {
    fn drop(&mut self) {
        let outcome = match self.status {
            Some(StatusCode::ACCEPTED) => "under way",
            Some(status) if status.is_success() => "done",
            Some(_) => "not done",
            None => "client gone",
        };
        tracing::info!(
            target: "audit", method = %self.method, path = shown(&self.path), peer = %self.peer,
            status = self.status.map(|status| status.as_u16()), outcome, "Change asked for"
        );
    }
}

fn shown(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES)]
}

/// Refuses what a page of another origin has a browser send.
fn own_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site_is_own = text("sec-fetch-site").is_none_or(|site| OWN_SITE.contains(&site));
    let origin_is_own = text(ORIGIN.as_str()).is_none_or(|origin| {
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        text(HOST.as_str()).is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority))
    });
    match site_is_own && origin_is_own {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a page of another origin asked for this",
            "only the service's own page and programs that are no browser may change something",
        )),
    }
}

/// What stands behind `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Refuses everything that does not certainly come from this machine.
fn this_machine(peer: IpAddr, headers: &HeaderMap) -> Result<(), Problem> {
    let hint = "set ADMIN_TOKEN and send it, or ask from the machine itself";
    if !peer.to_canonical().is_loopback() {
        let error = format!("{} may not change anything: no ADMIN_TOKEN is set", peer.to_canonical());
        return Err(Problem::new(StatusCode::FORBIDDEN, error, hint));
    }
    if PROXIED.iter().any(|name| headers.contains_key(*name)) {
        let error = "this came through a proxy, and no ADMIN_TOKEN is set";
        return Err(Problem::new(StatusCode::FORBIDDEN, error, hint));
    }
    // A name of somebody else's that leads to this machine is how a page gets here as its own origin.
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    if host.is_some_and(|host| !is_this_machine(host)) {
        let error =
            "the request was sent to a name that is not this machine's own, and no ADMIN_TOKEN is set";
        return Err(Problem::new(StatusCode::FORBIDDEN, error, hint));
    }
    Ok(())
}

/// Whether a `Host` is `localhost` or an address, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: Option<&str>) -> Arc<Guard> {
        Guard::new(token.map(Secret::new), IntCounter::new("refused_total", "help").unwrap())
    }

    fn asked(guard: &Guard, peer: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match guard.admit(SocketAddr::new(peer.parse().unwrap(), 1), &map) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn with_a_token_only_the_token_counts_and_not_where_one_is() {
        let guard = guard(Some("0123456789abcdef"));
        for (authorization, status) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer 0123456789abcdef", 200),
            ("Bearer 0123456789abcdeF", 401),
            ("Bearer 0123456789abcde", 401),
            ("Bearer ", 401),
            ("Basic 0123456789abcdef", 401),
            ("0123456789abcdef", 401),
        ] {
            for peer in ["127.0.0.1", "192.0.2.1"] {
                assert_eq!(
                    asked(&guard, peer, &[("authorization", authorization)]),
                    status,
                    "{authorization}"
                );
            }
        }
        assert_eq!(asked(&guard, "127.0.0.1", &[]), 401);
    }

    #[test]
    fn without_a_token_only_this_machine_may_and_not_through_a_proxy() {
        let guard = guard(None);
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(asked(&guard, peer, &[]), 200, "{peer}");
        }
        for peer in ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert_eq!(asked(&guard, peer, &[]), 403, "{peer}");
        }
        for (host, status) in [
            ("localhost:8081", 200),
            ("127.0.0.1:8081", 200),
            ("[::1]:8081", 200),
            ("rebound.example:8081", 403),
            ("localhost.rebound.example", 403),
        ] {
            assert_eq!(asked(&guard, "::1", &[("host", host)]), status, "{host}");
        }
        assert_eq!(asked(&guard, "::1", &[("x-forwarded-for", "192.0.2.1")]), 403);
    }

    #[test]
    fn a_page_of_another_origin_is_refused_whatever_it_shows() {
        for (guard, right) in
            [(guard(None), "-"), (guard(Some("0123456789abcdef")), "Bearer 0123456789abcdef")]
        {
            let ask = |more: &[(&'static str, &str)]| {
                let mut headers = vec![("authorization", right), ("host", "localhost:8081")];
                headers.extend(more);
                asked(&guard, "127.0.0.1", &headers)
            };
            assert_eq!(ask(&[("origin", "http://localhost:8081")]), 200);
            assert_eq!(ask(&[("origin", "http://localhost:8081"), ("sec-fetch-site", "same-origin")]), 200);
            for foreign in ["http://rebound.example", "http://localhost", "null", "http://", ""] {
                assert_eq!(ask(&[("origin", foreign)]), 403, "{foreign:?}");
            }
            for site in ["cross-site", "same-site"] {
                assert_eq!(ask(&[("sec-fetch-site", site)]), 403, "{site}");
            }
        }
    }

    #[test]
    fn refused_requests_are_all_counted() {
        let guard = guard(None);
        for _ in 0..3 {
            guard.refuse(
                SocketAddr::from(([192, 0, 2, 1], 1)),
                &Method::PUT,
                "/plugins/a",
                StatusCode::FORBIDDEN,
            );
        }
        assert_eq!(guard.refused.get(), 3);
    }
}
