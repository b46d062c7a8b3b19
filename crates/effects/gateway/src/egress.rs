//! Connections of instances to the outside, which their stack declared. Each is recorded, whatever came
//! of it, as one JSON line in `gateway/egress.log`: also one that was refused, and one that the gateway's
//! own end cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use ward_types::id::{EnvId, InstanceId};

use crate::admission::Seat;
use crate::clock;
use crate::tunnel::Tunnel;
use crate::worker::Shared;

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
    outcome: &'a str,
}

/// A connection on its way. It is recorded when this is dropped, however that comes about.
struct Way {
    shared: Arc<Shared>,
    errand: Errand,
    at: jiff::Timestamp,
    began: u64,
    address: Option<SocketAddr>,
    tunnel: Option<Tunnel<TcpStream, TcpStream>>,
    outcome: String,
}

impl Way {
    fn new(shared: Arc<Shared>, errand: Errand) -> Self {
        Self {
            shared,
            errand,
            at: jiff::Timestamp::now(),
            began: clock::millis(),
            address: None,
            tunnel: None,
            outcome: "cut: the gateway ended".to_owned(),
        }
    }

    async fn go(&mut self, near: TcpStream) {
        let far = match connect(&self.errand).await {
            Ok(far) => far,
            Err(error) => {
                self.outcome = format!("not connected: {error}");
                return;
            }
        };
        self.address = far.peer_addr().ok();
        let tunnel = self.tunnel.insert(Tunnel::new(near, far));
        self.outcome = match tunnel.carry().await {
            None => "closed".to_owned(),
            Some(error) => format!("broken: {error}"),
        };
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let carried = self.tunnel.as_ref().map(Tunnel::carried);
        let (sent, received) = carried.unwrap_or_default();
        let errand = &self.errand;
        self.shared.egress.write(&Line {
            at: self.at.to_string(),
            env: &errand.env,
            from: &errand.from,
            host: &errand.host,
            port: errand.port,
            address: self.address.map(|address| address.to_string()),
            sent,
            received,
            millis: clock::millis().saturating_sub(self.began),
            outcome: &self.outcome,
        });
    }
}

/// Connects, carries bytes both ways, and records it.
pub(crate) async fn carry(shared: Arc<Shared>, errand: Errand, near: TcpStream, _seat: Seat) {
    Way::new(shared, errand).go(near).await;
}

/// Records a connection that was not even tried.
pub(crate) fn refused(shared: &Arc<Shared>, errand: Errand, why: &str) {
    let mut way = Way::new(Arc::clone(shared), errand);
    way.outcome = format!("refused: {why}");
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
        let mut length = file.metadata()?.len();
        if length > LONGEST_RECORD {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            (file, length) = (self.open()?, 0);
        }
        if let Err(error) = file.write_all(&text) {
            // Half a line on a full disk would spoil the next one.
            let _ = file.set_len(length);
            return Err(error);
        }
        *slot = Some(file);
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<'a>(env: &'a EnvId, from: &'a InstanceId) -> Line<'a> {
        Line {
            at: "now".to_owned(),
            env,
            from,
            host: "api.example.com",
            port: 443,
            address: None,
            sent: 0,
            received: 0,
            millis: 0,
            outcome: "closed",
        }
    }

    #[test]
    fn a_record_that_is_long_enough_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(folder.path());
        let (env, from) = (
            EnvId::parse("shop/dev").unwrap(),
            InstanceId::parse("web-r1-1").unwrap(),
        );
        let line = line(&env, &from);
        let [now, before] = ["egress.log", "egress.log.1"].map(|name| folder.path().join(name));
        let lines = || std::fs::read_to_string(&now).unwrap().lines().count();
        for _ in 0..2 {
            record.append(&line).unwrap();
            record.append(&line).unwrap();
            assert_eq!(lines(), 2);
            let file = File::options().write(true).open(&now).unwrap();
            file.set_len(LONGEST_RECORD + 1).unwrap();
            record.append(&line).unwrap();
            assert_eq!(lines(), 1);
            assert_eq!(before.metadata().unwrap().len(), LONGEST_RECORD + 1);
            std::fs::write(&now, "").unwrap();
        }
    }
}
