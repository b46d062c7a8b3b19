//! What can go wrong in a request, and how it is told: as JSON to programs, as a page to people.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use returns_domain::entry::FieldErrors;
use returns_domain::log;
use returns_domain::pool::DbError;
use returns_domain::returns::ChangeError;
use serde_json::json;

/// A request that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No such page, return or item.
    Missing(&'static str),
    /// The state of the return does not allow it.
    Conflict(String),
    /// Input to mend, by field.
    Invalid(FieldErrors),
    /// A request that cannot be read at all.
    Unreadable(String),
    /// A body beyond the limit.
    TooLarge(String),
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

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Db(error) => Self::Database(error),
            ChangeError::Missing(what) => Self::Missing(what),
            refused => Self::Conflict(refused.to_string()),
        }
    }
}

impl From<FieldErrors> for Failure {
    fn from(errors: FieldErrors) -> Self {
        Self::Invalid(errors)
    }
}

impl Failure {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Foreign => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Database(error) if is_passing(error) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable word for programs.
    fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Invalid(_) => "invalid",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge(_) => "too_large",
            Self::Foreign => "foreign_origin",
            Self::Method => "method_not_allowed",
            Self::Database(_) => "unavailable",
        }
    }

    /// What the client may know; causes inside the database go to the log alone.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Missing(what) => format!("There is no such {what}."),
            Self::Conflict(why) => format!("{why}."),
            Self::Invalid(errors) => match errors.len() {
                1 => "One field needs your attention.".into(),
                n => format!("{n} fields need your attention."),
            },
            Self::Unreadable(why) | Self::TooLarge(why) => why.clone(),
            Self::Foreign => "This form was sent from another site, and was refused.".into(),
            Self::Method => "This address does not take that method.".into(),
            Self::Database(error) if is_passing(error) => {
                "The database is not reachable at this moment. Nothing was changed; try again shortly.".into()
            }
            Self::Database(_) => "Something went wrong on our side. It was logged; nothing was changed.".into(),
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
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

/// Whether the database may be back at the next attempt: connection lost, shutting down, starting up.
fn is_passing(error: &DbError) -> bool {
    match error {
        DbError::Unreachable { .. } => true,
        DbError::Statement { source, .. } => {
            source.is_closed()
                || source
                    .code()
                    .is_none_or(|c| c.code().starts_with("57P") || c.code().starts_with("08"))
        }
        DbError::Address(_) | DbError::Foreign { .. } => false,
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
        if let Failure::Invalid(fields) = &self.0 {
            error["fields"] = json!(fields);
        }
        self.0
            .dress(Json(json!({ "error": error })).into_response())
    }
}
