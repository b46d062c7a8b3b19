//! The audit of a log that no server has open: one that is broken keeps a server from starting, and that is
//! when people want to know what is wrong with it.

use std::path::Path;

use ward_types::view::AuditView;

use crate::actor::{Refusal, RefusalKind};

/// Recomputes the whole log of a state folder; `None` when there is no log. Changes nothing.
///
/// # Errors
/// When the database cannot be read at all.
pub fn verify(home: &Path) -> Result<Option<AuditView>, Refusal> {
    let database = home.join("ward.db");
    if !database.exists() {
        return Ok(None);
    }
    let view = ward_store::verify_file(&database, None);
    view.map(Some).map_err(|error| {
        let message = format!("the log cannot be read: {}", crate::actor::causes(&error));
        Refusal::new(RefusalKind::Failed, message)
    })
}
