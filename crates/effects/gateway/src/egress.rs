//! Connections of instances to the outside, which their stack declared. Each is recorded, whatever came
//! of it, as one JSON line in `gateway/egress.log`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use ward_types::id::{EnvId, InstanceId};

use crate::clock;
use crate::tunnel::Tunnel;
use crate::worker::Worker;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The record is renamed to `egress.log.1` beyond this, which is replaced.
const LONGEST_RECORD: u64 = 16 << 20;

/// Whose connection it is, and where it leads.
pub(crate) struct Errand {
    /// Whose.
    pub(crate) from: InstanceId,
    /// Its environment.
    pub(crate) env: EnvId,
    /// A host name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    env: &'a EnvId,
    from: &'a InstanceId,
    host: &'a str,
    port: u16,
    address: Option<String>,
    sent: u64,
    received: u64,
    millis: u64,
    outcome: String,
}

/// Connects, carries bytes both ways, and records it.
pub(crate) async fn carry(
    worker: Rc<Worker>,
    errand: Errand,
    near: TcpStream,
    _permit: OwnedSemaphorePermit,
) {
    let began = clock::millis();
    let mut line = Line {
        at: jiff::Timestamp::now().to_string(),
        env: &errand.env,
        from: &errand.from,
        host: &errand.host,
        port: errand.port,
        address: None,
        sent: 0,
        received: 0,
        millis: 0,
        outcome: String::new(),
    };
    match connect(&errand).await {
        Err(error) => line.outcome = format!("not connected: {error}"),
        Ok(far) => {
            line.address = far.peer_addr().ok().map(|address| address.to_string());
            let carried = Tunnel::new(near, far).carry().await;
            (line.sent, line.received) = (carried.sent, carried.received);
            line.outcome = match carried.error {
                None => "closed".to_owned(),
                Some(error) => format!("broken: {error}"),
            };
        }
    }
    line.millis = clock::millis().saturating_sub(began);
    worker.shared.egress.write(&line);
}

async fn connect(errand: &Errand) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((errand.host.as_str(), errand.port));
    let connected = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
    let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
    let far = connected.unwrap_or_else(late)?;
    far.set_nodelay(true)?;
    Ok(far)
}

/// The record of egress connections.
pub(crate) struct Record {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Record {
    /// The record in the gateway's folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("egress.log"),
            file: Mutex::new(None),
        }
    }

    fn write(&self, line: &Line<'_>) {
        if let Err(error) = self.append(line) {
            tracing::error!(%error, path = %self.path.display(), "an egress connection is not recorded");
        }
    }

    fn append(&self, line: &Line<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match slot.take() {
            Some(file) => file,
            None => self.open()?,
        };
        if file.metadata()?.len() > LONGEST_RECORD {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            file = self.open()?;
        }
        file.write_all(&text)?;
        *slot = Some(file);
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(&self.path)
    }
}
