//! One backup, from the database to its file.

use std::io::{PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use ward_engine::client::KeeperClient;
use ward_seal::BackupWriter;
use ward_types::backup::{Backup, BackupFile};
use ward_types::id::{BackupId, EnvId, InstanceId};
use ward_types::keeper::Exit;
use ward_types::view::ExecCommand;

use super::owning::is_there;
use crate::actor::{Actor, causes};
use crate::control::Control;

/// How long one may take.
const TAKES_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// How much is read at once.
const AT_ONCE: usize = 256 * 1024;
/// The most that is kept of what a program says, in bytes.
const SAID: u64 = 4 * 1024;

/// A program beside an instance, with what it says.
pub(super) struct Ran {
    pub(super) exit: Exit,
    pub(super) said: String,
}

impl Ran {
    /// Why it did not end well, if it did not.
    pub(super) fn trouble(&self, program: &str) -> Result<(), String> {
        let how = match self.exit {
            Exit::Code(0) => return Ok(()),
            Exit::Code(code) => format!("{program} ended with status {code}"),
            Exit::Signal(signal) => format!("{program} was ended by signal {signal}"),
        };
        let said = self.said.lines().find(|line| !line.trim().is_empty());
        Err(said.map_or(how.clone(), |said| format!("{how}: {said}")))
    }
}

impl Control {
    /// Takes a backup: streamed from the database through the seal to the disk.
    ///
    /// # Errors
    /// Why it could not be, in a clause. Nothing is left of it then.
    pub(super) async fn taken(
        &self,
        env: &EnvId,
        id: BackupId,
        backup: &Backup,
    ) -> Result<BackupFile, String> {
        let why = format!("{id} is to be taken");
        let need = self.awake(&Actor::ward(), env, &why).await;
        let _need = need.map_err(|refusal| refusal.message)?;
        let running = self.running_database(env, &backup.database);
        let instance = running.ok_or("the database does not run")?;
        self.backup_folder_is_there()?;
        let prepared = self.composer().opener.prepared(env, &backup.database).await;
        let database = prepared.map_err(|error| causes(&error))?.database;
        let label = ward_seal::backup_label(env, &backup.database, id);
        let vault = self.vault().clone();
        let beginning =
            tokio::task::spawn_blocking(move || vault.begin_backup(&label, ward_postgres::RESERVE));
        let writer = beginning.await.map_err(|error| error.to_string())?;
        let writer = writer.map_err(|error| causes(&error))?;
        let taking = self.dumped(env, &instance, database.dump(), writer);
        let taken = tokio::time::timeout(TAKES_WITHIN, taking).await;
        taken.map_err(|_| "it took longer than 6 hours".to_owned())?
    }

    /// The folder that somebody named for backups is another disk's, and nothing is written where that is away.
    fn backup_folder_is_there(&self) -> Result<(), String> {
        match &self.0.backup_dir {
            Some(dir) if !is_there(dir) => Err(format!(
                "the folder {}, which WARD_BACKUP_DIR names, is not there",
                dir.display()
            )),
            _ => Ok(()),
        }
    }

    async fn dumped(
        &self,
        env: &EnvId,
        instance: &InstanceId,
        dump: ExecCommand,
        writer: BackupWriter,
    ) -> Result<BackupFile, String> {
        let broken = |error: std::io::Error| error.to_string();
        let (output, stdout) = std::io::pipe().map_err(broken)?;
        let (stdin, input) = std::io::pipe().map_err(broken)?;
        drop(input); // It reads nothing.
        let given_up = GivenUp::default();
        let writing = written(output, writer, given_up.0.clone());
        let ran = self.beside(env, instance, dump, [stdin.as_fd(), stdout.as_fd()]);
        let ran = ran.await;
        drop(stdout);
        let written = writing.await.map_err(|error| error.to_string())?;
        // A disk that is full is why pg_dump ended, and not the other way round.
        let writer = written.map_err(|error| format!("it cannot be written: {error}"))?;
        ran?.trouble("pg_dump")?;
        let finishing = tokio::task::spawn_blocking(move || writer.finish());
        let finished = finishing.await.map_err(|error| error.to_string())?;
        finished.map_err(|error| causes(&error))
    }

    /// Runs a program beside an instance to its end, with descriptors for its input and output.
    pub(super) async fn beside(
        &self,
        env: &EnvId,
        instance: &InstanceId,
        command: ExecCommand,
        [stdin, stdout]: [std::os::fd::BorrowedFd<'_>; 2],
    ) -> Result<Ran, String> {
        let client = KeeperClient::connect(&self.engine().instance_dir(env, instance));
        let client = client.map_err(|error| causes(&error))?;
        let (errors, stderr) = std::io::pipe().map_err(|error| error.to_string())?;
        let saying = said(errors);
        let env = command.env.into_iter();
        let env = env.map(|(name, value)| (name, value.expose().to_owned()));
        let stdio = [stdin, stdout, stderr.as_fd()];
        let exit = client.exec(command.argv, env.collect(), stdio).await;
        drop(stderr);
        let exit = exit.map_err(|error| causes(&error))?;
        let said = saying.await.map_err(|error| error.to_string())?;
        Ok(Ran { exit, said })
    }
}

/// Tells the thread that reads a dump that nobody wants it any more.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes all that comes. Where that fails the pipe is closed, and its writer ends.
fn written(
    mut output: PipeReader,
    mut writer: BackupWriter,
    given_up: Arc<AtomicBool>,
) -> JoinHandle<std::io::Result<BackupWriter>> {
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; AT_ONCE];
        while !given_up.load(Ordering::Relaxed) {
            match output.read(&mut buffer)? {
                0 => return Ok(writer),
                read => writer.write_all(buffer.get(..read).unwrap_or_default())?,
            }
        }
        Err(std::io::Error::other("nobody waits for it any more"))
    })
}

/// What a program says, as far as it is kept.
pub(super) fn said(mut output: PipeReader) -> JoinHandle<String> {
    tokio::task::spawn_blocking(move || {
        let mut kept = Vec::new();
        let _ = output.by_ref().take(SAID).read_to_end(&mut kept);
        // The rest, so that it does not wait for somebody to read it.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
        String::from_utf8_lossy(&kept).into_owned()
    })
}
