//! `GET /logs`: the lines of the log that are about plugins, a JSON object a line.
//!
//! Not the whole log: that is on standard output. Invariant: one who follows the log takes a place of those who
//! look at pages, and hears how many lines were too many for him.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::problem::Problem;
use super::{State, lines};
use crate::log::PluginLine;

/// How many lines are told where no number is asked for.
const USUAL: usize = 100;
/// The most lines that may be asked for; fewer are kept where they are long.
const MOST: usize = 10_000;
/// What may be asked for, in words.
const ALLOWED: &str = "use plugin=NAME, lines=0 to 10000, and follow=true or false";

/// What the caller asks for, as text, so that faults can be told in words.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    plugin: Option<String>,
    lines: Option<String>,
    follow: Option<String>,
}

/// `GET /logs`
pub(super) async fn logs(
    Extract(state): Extract<Arc<State>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad(error.body_text(), ALLOWED))?;
    let most = match asked.lines.as_deref() {
        None => USUAL,
        Some(text) => match text.parse() {
            Ok(lines @ 0..=MOST) => lines,
            _ => return Err(Problem::bad(format!("bad number of lines {text:?}"), ALLOWED)),
        },
    };
    let follows = match asked.follow.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(text) => return Err(Problem::bad(format!("bad follow {text:?}"), ALLOWED)),
    };
    let plugin = asked.plugin;
    let wanted = move |line: &PluginLine| plugin.as_deref().is_none_or(|plugin| plugin == line.plugin);
    let (kept, coming) = state.plugin_lines.listen();
    let mut last: Vec<&str> =
        kept.iter().rev().filter(|line| wanted(line)).take(most).map(|line| line.json.as_str()).collect();
    last.reverse();
    let text: String = last.iter().flat_map(|line| [line, "\n"]).collect();
    let body = if follows {
        let (place, ended) = state.streams.place()?;
        let told = stream::once(async { Ok::<_, Infallible>(Bytes::from(text)) });
        let next = stream::unfold((coming, wanted, place), |(mut coming, wanted, place)| async {
            let line = lines::next_or_pulse(next(&mut coming, &wanted)).await?;
            Some((Ok(line), (coming, wanted, place)))
        });
        Body::from_stream(told.chain(next).take_until(Box::pin(ended)))
    } else {
        Body::from(text)
    };
    Ok(lines::answer(body))
}

/// The next line that is wanted; none at the end of the service.
async fn next(
    coming: &mut Receiver<Arc<PluginLine>>,
    wanted: impl Fn(&PluginLine) -> bool,
) -> Option<String> {
    loop {
        match coming.recv().await {
            Ok(line) if wanted(&line) => return Some(format!("{}\n", line.json)),
            Ok(_) => {}
            Err(RecvError::Lagged(lines)) => return Some(format!("{{\"left_out\":{lines}}}\n")),
            Err(RecvError::Closed) => return None,
        }
    }
}
