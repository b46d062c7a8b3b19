//! Photos and papers that came with a return.
//!
//! Kept for each: size, SHA-256, content type and file name, which prove later what was sent. The bytes
//! themselves are kept only up to [`MOST_KEPT`]; larger files belong into object storage.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::ToSql;

use crate::pool::{DbError, Lease, Session, Statement};
use crate::returns::{self, ChangeError};

/// Bytes are kept of files up to this size, in bytes.
pub const MOST_KEPT: usize = 32 * 1024;

/// An attachment's description.
#[derive(Clone, Debug, Serialize)]
pub struct Attachment {
    /// Its id in addresses.
    pub id: i64,
    /// As the sender called it.
    pub file_name: String,
    /// As the sender declared it.
    pub content_type: String,
    /// In bytes.
    pub size: i64,
    /// Of all bytes, lower-case hexadecimal.
    pub sha256: String,
    /// Whether the bytes can be fetched.
    pub kept: bool,
    /// When it arrived.
    pub created_at: Timestamp,
}

/// What was received, to be stored.
pub struct Received {
    /// 1 to 200 characters.
    pub file_name: String,
    /// 1 to 100 characters.
    pub content_type: String,
    /// In bytes.
    pub size: i64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// All bytes of a small file.
    pub bytes: Option<Vec<u8>>,
}

const LIST: Statement = Statement {
    purpose: "list attachments",
    sql: "select id, file_name, content_type, size, sha256, bytes is not null, created_at
          from attachment where return_id = $1 order by id",
};
const EXISTS: Statement = Statement {
    purpose: "find a return",
    sql: "select 1 from product_return where id = $1",
};
const STORE: Statement = Statement {
    purpose: "store an attachment",
    sql: "insert into attachment (return_id, file_name, content_type, size, sha256, bytes)
          values ($1, $2, $3, $4, $5, $6)
          returning id, file_name, content_type, size, sha256, bytes is not null, created_at",
};
const BYTES: Statement = Statement {
    purpose: "read an attachment",
    sql: "select file_name, content_type, bytes from attachment where return_id = $1 and id = $2 and bytes is not null",
};

/// All of a return, oldest first.
pub async fn list(session: &Session, return_id: i64) -> Result<Vec<Attachment>, DbError> {
    Ok(session
        .all(LIST, &[&return_id])
        .await?
        .iter()
        .map(read)
        .collect())
}

/// Whether there is such a return, asked before a long upload is read.
pub async fn return_exists(session: &Session, return_id: i64) -> Result<bool, DbError> {
    Ok(session.first(EXISTS, &[&return_id]).await?.is_some())
}

/// Stores what was received; allowed in every state.
pub async fn store(
    lease: &mut Lease,
    return_id: i64,
    received: &Received,
) -> Result<Attachment, ChangeError> {
    let work = lease.begin().await?;
    returns::hold(&work, return_id).await?;
    let Received {
        file_name,
        content_type,
        size,
        sha256,
        bytes,
    } = received;
    let params: [&(dyn ToSql + Sync); 6] =
        [&return_id, file_name, content_type, size, sha256, bytes];
    let row = work
        .first(STORE, &params)
        .await?
        .ok_or(ChangeError::Missing("return"))?;
    let attachment = read(&row);
    returns::touch(&work, return_id).await?;
    work.commit().await?;
    Ok(attachment)
}

/// File name, content type and bytes of a small file.
pub async fn bytes(
    session: &Session,
    return_id: i64,
    id: i64,
) -> Result<Option<(String, String, Vec<u8>)>, DbError> {
    let row = session.first(BYTES, &[&return_id, &id]).await?;
    Ok(row.map(|row| (row.get(0), row.get(1), row.get(2))))
}

fn read(row: &tokio_postgres::Row) -> Attachment {
    Attachment {
        id: row.get(0),
        file_name: row.get(1),
        content_type: row.get(2),
        size: row.get(3),
        sha256: row.get(4),
        kept: row.get(5),
        created_at: row.get(6),
    }
}
