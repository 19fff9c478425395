//! Settling a conflict from the page: a new frame with the value chosen and without the conflict, which everybody who
//! syncs receives as they receive any other.

use crate::Shared;
use crate::answer::{ToolError, address, answer, parse};
use crate::views::{Answer, named};
use axum::body::Bytes;
use axum::extract::{Path, State};
use ibgib::conflict::{Conflict, Resolution};
use ibgib::{Value, object};
use ibgib_peer::saga::Code;
use ibgib_peer::{Document, DocumentError};
use std::sync::Arc;

/// `POST spaces/{space}/conflicts` with `{"tjp", "stone", "choose"}`.
pub(crate) async fn settle(State(shared): State<Arc<Shared>>, Path(space): Path<String>, body: Bytes) -> Answer {
    let (space, body) = (named(&shared, &space)?, parse(&body)?);
    let text = |name: &str| {
        let text = body.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| ToolError::new(Code::BadBody, format!("{name} is missing, or no text")))
    };
    let (tjp, stone) = (address(Some(&text("tjp")?))?, address(Some(&text("stone")?))?);
    let choose = text("choose")?;
    let resolution = match choose.as_str() {
        "keep" => Resolution::Keep,
        "base" => Resolution::Base,
        "orphan" => Resolution::Orphan,
        "ancestor" => Resolution::Ancestor,
        other => {
            let message = format!("choose is {other:?}: it must be keep, base, orphan or ancestor");
            return Err(ToolError::new(Code::BadBody, message));
        }
    };
    let told = space.node(&stone).await?.ok_or_else(|| ToolError::not_found(stone.as_str()))?;
    let conflict = Conflict::of(&told);
    let document = Document::open(&space, &tjp).await?;
    if conflict.path == "/data/blob" && resolution != Resolution::Keep {
        // The chunks of a content hang on a relation of the frame, which a merge need not have kept.
        let message = "the contents of a file are chosen in its folder: 'ibgib resolve'";
        return Err(ToolError::new(Code::ConflictMoved, message));
    }
    let frame = document.resolve(&conflict, resolution).await?;
    let detail = object([("tjp", (&tjp).into()), ("frame", (&frame).into()), ("choose", choose.as_str().into())]);
    shared.feed.tell(None, "settled", &format!("conflict settled: {choose}"), detail);
    Ok(answer(&object([("tjp", (&tjp).into()), ("stone", (&stone).into()), ("frame", (&frame).into())])))
}

impl From<DocumentError> for ToolError {
    fn from(error: DocumentError) -> Self {
        let code = match &error {
            DocumentError::Settled(_) => Code::ConflictSettled,
            DocumentError::PlaceChanged(_) => Code::ConflictMoved,
            DocumentError::NotFound(_) | DocumentError::NotAFrame(_) => Code::NotFound,
            DocumentError::NotADocument(_) => Code::BadBody,
            DocumentError::Busy => Code::Busy,
            _ => Code::Commit,
        };
        Self::new(code, error.to_string())
    }
}
