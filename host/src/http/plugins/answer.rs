//! What came of a change, as an answer: the new state with its figures, or who has to do what.
//!
//! Invariant: a refusal says stage, cause, reason and remedy, whatever refused.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::problem::Problem;
use crate::plugin::{Cause, Refusal};
use crate::swap::{OrderError, PluginStatus, Told};

/// What came of an order.
pub(super) struct Outcome {
    pub(super) plugin: String,
    pub(super) told: Told,
    /// How the plugin is after it; none where it is gone.
    pub(super) status: Option<PluginStatus>,
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self.told {
            Told::Unchanged => "unchanged",
            Told::Swapped => "swapped",
            Told::Shadowing => "shadowing",
            Told::RolledBack => "rolled_back",
            Told::Unloading => "unloading",
        }
    }

    /// The figures of the change: of the one under way, or of the last one.
    fn figures(&self) -> Value {
        let status = self.status.as_ref();
        if self.told == Told::Unchanged {
            return Value::Null;
        }
        if let Some(trial) = status.and_then(|status| status.trial.as_ref()) {
            return json!(trial);
        }
        status.and_then(|status| status.history.front()).map_or(Value::Null, |swap| json!(swap))
    }
}

/// The answer to whoever asked for a change.
pub(super) fn respond(plugin: &str, outcome: Option<Outcome>) -> Response {
    match outcome {
        Some(outcome) => {
            let status = outcome.status.as_ref();
            let body = json!({
                "plugin": outcome.plugin,
                "result": outcome.word(),
                "digest": status.and_then(|status| status.digest.clone()),
                "version": status.and_then(|status| status.version.clone()),
                "change": outcome.figures(),
            });
            (StatusCode::OK, Json(body)).into_response()
        }
        None => {
            let hint = format!("it goes on; GET /plugins/{plugin} shows how far it is");
            let body = json!({ "plugin": plugin, "result": "under_way", "hint": hint });
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
    }
}

/// What a refused order means for the caller.
pub(super) fn of_order(error: OrderError) -> Problem {
    match error {
        OrderError::Refused(refusal) => of_refusal(&refusal),
        OrderError::Failed(words) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            words,
            "the version before runs on; GET /plugins shows where this one failed",
        ),
        OrderError::Missing(words) => Problem::missing(words, "GET /plugins shows what is there"),
        OrderError::Conflict(words) => {
            Problem::new(StatusCode::CONFLICT, words, "GET /plugins shows what is under way")
        }
        OrderError::Busy => Problem::unavailable(error.to_string(), "try again in a moment"),
    }
}

/// What a refusal means for the caller.
pub(super) fn of_refusal(refusal: &Refusal) -> Problem {
    let problem = Problem::new(status(refusal.cause), refusal.reason.clone(), refusal.remedy())
        .with("plugin", refusal.plugin.clone())
        .with("stage", refusal.stage.to_string())
        .with("cause", refusal.cause.as_str());
    match refusal.digest.is_empty() {
        true => problem,
        false => problem.with("digest", refusal.digest.clone()),
    }
}

fn status(cause: Cause) -> StatusCode {
    match cause {
        Cause::DigestMismatch => StatusCode::BAD_REQUEST,
        Cause::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Cause::ReadOnly | Cause::ResultKeyTaken => StatusCode::CONFLICT,
        Cause::Unreadable | Cause::Unwritable => StatusCode::INTERNAL_SERVER_ERROR,
        Cause::CompilerFailed | Cause::Ending => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
