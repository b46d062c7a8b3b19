//! What can go wrong in a request, and how it is told: as JSON to programs, as a page to people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plans_model::import::Refused;
use plans_service::log;
use plans_store::DbError;
use plans_store::employers::AddError;
use serde_json::json;

use crate::pages::PageFailure;

/// A request that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No such page, employer or comparison.
    Missing(&'static str),
    /// Not now.
    Conflict(String),
    /// Input to mend.
    Invalid(String),
    /// Rows of a file to mend.
    Rows(Vec<Refused>),
    /// A request that cannot be read at all.
    Unreadable(String),
    /// A body beyond the limit.
    TooLarge(&'static str),
    /// A form sent from another site.
    Foreign,
    /// The method does not fit the address.
    Method,
    /// The database failed.
    Database(DbError),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

impl From<AddError> for Failure {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Db(error) => Self::Database(error),
            AddError::Refused(why) => Self::Invalid(why),
        }
    }
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) | Self::Rows(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Database(error) if error.is_passing() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Rows(_) => "rows",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge(_) => "too_large",
            Self::Foreign => "foreign",
            Self::Method => "method",
            Self::Database(error) if error.is_passing() => "unavailable",
            Self::Database(_) => "internal",
        }
    }

    /// What a person is told. Nothing of the inside of the service is in it.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Missing(what) => format!("There is no such {what}."),
            Self::Conflict(why) | Self::Invalid(why) | Self::Unreadable(why) => why.clone(),
            Self::Rows(rows) => format!(
                "Nothing was imported: the file has {} {} to mend.",
                rows.len(),
                if rows.len() == 1 { "place" } else { "places" }
            ),
            Self::TooLarge(why) => (*why).to_owned(),
            Self::Foreign => "This form was sent from another site, and was refused.".to_owned(),
            Self::Method => "This address does not take that method.".to_owned(),
            Self::Database(error) if error.is_passing() => {
                "The database is not reachable at this moment. Nothing was changed; try again shortly.".to_owned()
            }
            Self::Database(_) => "Something went wrong on our side. It was logged; nothing was changed.".to_owned(),
        }
    }

    pub(crate) fn note(&self) {
        if let Self::Database(error) = self {
            log::error("request failed", &[("error", &log::chain(error))]);
        }
    }

    /// Adds what the status asks for.
    pub(crate) fn dress(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status();
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// In the way that fits whoever asked for that path.
    pub(crate) fn told(self, path: &str) -> Response {
        match path.starts_with("/api/") {
            true => ApiFailure(self).into_response(),
            false => PageFailure(self).into_response(),
        }
    }
}

/// A failure that a program hears of.
pub(crate) struct ApiFailure(pub(crate) Failure);

impl<F: Into<Failure>> From<F> for ApiFailure {
    fn from(failure: F) -> Self {
        Self(failure.into())
    }
}

impl IntoResponse for ApiFailure {
    fn into_response(self) -> Response {
        self.0.note();
        let mut error = json!({ "code": self.0.code(), "message": self.0.message() });
        if let Failure::Rows(rows) = &self.0 {
            error["rows"] = json!(&rows[..rows.len().min(MOST_ROWS)]);
        }
        self.0
            .dress(Json(json!({ "error": error })).into_response())
    }
}

/// How many refused rows are told; one mistake in a column is often one in all of its rows.
pub(crate) const MOST_ROWS: usize = 100;
