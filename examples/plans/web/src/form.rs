//! What comes in: ids in addresses, forms, files; each refusal in the house's own words.

use axum::Form;
use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use plans_model::compare::Goal;
use plans_model::cost::Assumptions;
use plans_model::money::Cents;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

const TOO_LARGE: Failure =
    Failure::TooLarge("The file is larger than 1 MiB. Nothing was imported.");

/// The id in an address. One that is no number leads nowhere, like one that does not exist.
pub(crate) struct Id(pub(crate) i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let id = Path::<i64>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id))
            .map_err(|_| Failure::Missing("page").told(parts.uri.path()))
    }
}

/// A form's fields.
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let path = request.uri().path().to_owned();
        let form = Form::<T>::from_request(request, state).await;
        form.map(|Form(fields)| Self(fields)).map_err(|refused| {
            let failure = match refused.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Failure::TooLarge("The form is too large."),
                _ => Failure::Unreadable(format!(
                    "The form could not be read: {}.",
                    refused.body_text()
                )),
            };
            failure.told(&path)
        })
    }
}

/// A whole body, as text or bytes of any kind.
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let path = request.uri().path().to_owned();
        let body = Bytes::from_request(request, state).await;
        body.map(Self).map_err(|refused| match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE.told(&path),
            _ => Failure::Unreadable("The body broke off.".to_owned()).told(&path),
        })
    }
}

/// The one file of a form.
pub(crate) async fn file(mut form: Multipart) -> Result<Bytes, Failure> {
    let refused = |error: MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        _ => Failure::Unreadable("The upload broke off. Nothing was imported.".to_owned()),
    };
    while let Some(field) = form.next_field().await.map_err(refused)? {
        if field.name() == Some("file") {
            let bytes = field.bytes().await.map_err(refused)?;
            // A browser sends an empty part when no file was chosen.
            if !bytes.is_empty() {
                return Ok(bytes);
            }
        }
    }
    Err(Failure::Invalid("Choose a CSV file first.".to_owned()))
}

/// What a comparison is asked with; everything is text, as it was typed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) goal: String,
    pub(crate) low: String,
    pub(crate) medium: String,
    pub(crate) high: String,
}

impl Asked {
    /// What is meant; what was left empty has its default.
    pub(crate) fn read(&self) -> Result<(Goal, Assumptions), Failure> {
        let goal = match self.goal.trim() {
            "" => Some(Goal::default()),
            named => Goal::ALL.into_iter().find(|goal| goal.name() == named),
        };
        let goal = goal.ok_or_else(|| {
            Failure::Invalid("The goal is together, employees or employer.".to_owned())
        })?;
        let default = Assumptions::default();
        let assumptions = Assumptions {
            low: charges("light", &self.low, default.low)?,
            medium: charges("medium", &self.medium, default.medium)?,
            high: charges("heavy", &self.high, default.high)?,
        };
        match assumptions.are_in_order() {
            true => Ok((goal, assumptions)),
            false => Err(Failure::Invalid(
                "A heavier year cannot be charged at less than a lighter one.".to_owned(),
            )),
        }
    }
}

fn charges(year: &str, typed: &str, default: Cents) -> Result<Cents, Failure> {
    if typed.trim().is_empty() {
        return Ok(default);
    }
    Cents::parse(typed)
        .map_err(|reason| Failure::Invalid(format!("What a {year} year is charged at {reason}.")))
}
