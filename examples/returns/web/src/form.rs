//! What comes in: ids in addresses, form bodies, JSON bodies; each refusal in the house's own words.

use axum::Form;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use crate::failure::{ApiFailure, Failure};
use crate::pages::PageFailure;

/// The first id in an address. An id that is no number leads nowhere, like one that does not exist.
pub(crate) struct ReturnId(pub(crate) i64);

/// A return's id and the id of something in it.
pub(crate) struct Within(pub(crate) i64, pub(crate) i64);

/// The word at the end of an address, after the return's id.
pub(crate) struct Named(pub(crate) i64, pub(crate) String);

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<T, Failure> {
    Path::<T>::from_request_parts(parts, state)
        .await
        .map(|Path(value)| value)
        .map_err(|_| Failure::Missing("return"))
}

macro_rules! from_path {
    ($type:ty, $pattern:pat => $value:expr) => {
        impl<S: Send + Sync> FromRequestParts<S> for $type {
            type Rejection = Missing;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Missing> {
                let api = is_api(parts);
                let $pattern = path(parts, state)
                    .await
                    .map_err(|failure| Missing { api, failure })?;
                Ok($value)
            }
        }
    };
}

from_path!(ReturnId, id => Self(id));
from_path!(Within, (id, inner) => Self(id, inner));
from_path!(Named, (id, name) => Self(id, name));

/// An address that leads nowhere, told in the way that fits the caller.
pub(crate) struct Missing {
    api: bool,
    failure: Failure,
}

impl axum::response::IntoResponse for Missing {
    fn into_response(self) -> axum::response::Response {
        if self.api {
            ApiFailure(self.failure).into_response()
        } else {
            PageFailure(self.failure).into_response()
        }
    }
}

pub(crate) fn is_api(parts: &Parts) -> bool {
    parts.uri.path().starts_with("/api/")
}

/// A form's fields.
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = PageFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageFailure> {
        match Form::<T>::from_request(request, state).await {
            Ok(Form(value)) => Ok(Self(value)),
            Err(refused) => Err(PageFailure(body_refused(
                refused.status(),
                &refused.body_text(),
            ))),
        }
    }
}

/// A JSON body. An empty body counts as `{}`, so that a step without a note needs none.
pub(crate) struct Document<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Document<T> {
    type Rejection = ApiFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiFailure> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
            .to_owned();
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|refused| ApiFailure(body_refused(refused.status(), &refused.body_text())))?;
        if !body.is_empty() && !kind.starts_with("application/json") {
            return Err(Failure::Unreadable(
                "Send JSON, with the header content-type: application/json.".into(),
            )
            .into());
        }
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Failure::Unreadable(format!("The body is not the JSON expected here: {error}.")).into()
        })
    }
}

fn body_refused(status: StatusCode, text: &str) -> Failure {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::TooLarge("The body is larger than 64 KiB.".into())
        }
        _ => Failure::Unreadable(format!("The form could not be read: {text}.")),
    }
}
