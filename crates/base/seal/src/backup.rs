//! Sealed backups: `STACK/ENV/database.NAME/NUMBER.backup` in the folder of backups, and beside each its data key,
//! wrapped by the master key like that of a secret (`NUMBER.json`), so that another master key is a few bytes.
//!
//! Decision: what is sealed is longer than memory, and goes through in chunks (AES-256-GCM), each with its number and
//! whether it is the last one as its nonce: chunks cannot be exchanged, left out or cut off. A key seals one file, so
//! that no nonce comes twice. A file has its name when it is whole and on the disk; what was not finished has another
//! one, and is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ward_types::backup::BackupFile;
use ward_types::id::{BackupId, Digest, EnvId, Name};
use ward_types::secret::Secret;
use ward_types::secrets::{SecretLabel, SecretName};
use zeroize::Zeroizing;

use crate::error::{Error, file};
use crate::file as files;
use crate::vault::{Kind, Vault, purpose};

/// The first line of each file.
const HEAD: &[u8] = b"ward backup 1\n";
/// How much is sealed at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// What sealing adds to a chunk.
const TAG: usize = 16;
/// After so many bytes it is looked whether the disk has room.
const LOOK_EVERY: u64 = 8 << 20;
/// The end of a file's name that is not finished.
const UNFINISHED: &str = ".new";
/// The end of a file's name that is.
const FINISHED: &str = ".backup";

/// Which backup.
#[must_use]
pub fn backup_label(env: &EnvId, database: &Name, backup: BackupId) -> SecretLabel {
    SecretLabel {
        env: env.clone(),
        name: SecretName::of_database(database),
        version: backup.0,
    }
}

impl Vault {
    /// Begins a backup's file: its key is on the disk when this returns. What was begun under the same number and never
    /// finished is replaced. Writing ends where the disk has less than `reserve` bytes left.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub fn begin_backup(&self, label: &SecretLabel, reserve: u64) -> Result<BackupWriter, Error> {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *key).map_err(|_| Error::Random)?;
        let text = Secret::new(STANDARD.encode(*key));
        self.seal_as(Kind::Backup, label, &text)?;
        let path = self.backup_path(label);
        let aside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let opened = options.open(&aside).map_err(file("write", &aside))?;
        let mut writer = BackupWriter {
            file: opened,
            path,
            aside,
            cipher: Cipher::new(&*key, label).ok_or(Error::Random)?,
            chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)),
            digest: digest::Context::new(&SHA256),
            bytes: 0,
            looked: 0,
            reserve,
        };
        writer.has_room().map_err(file("write", &writer.aside))?;
        writer.put(HEAD).map_err(file("write", &writer.aside))?;
        Ok(writer)
    }

    /// Opens a backup that is what was written, which is found out first.
    ///
    /// # Errors
    /// [`Error`], as it says: when its key is not to be had, or it is not there, or was altered.
    pub fn open_backup(
        &self,
        label: &SecretLabel,
        known: &BackupFile,
    ) -> Result<BackupReader, Error> {
        let text = self.open_as(Kind::Backup, label)?;
        let damaged = || self.damaged_as(Kind::Backup, label);
        let key = STANDARD.decode(text.expose()).map_err(|_| damaged())?;
        let cipher = Cipher::new(&Zeroizing::new(key), label).ok_or_else(damaged)?;
        let path = self.backup_path(label);
        let mut opened = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoBackup { path });
            }
            other => other.map_err(file("read", &path))?,
        };
        let found = digest_of(&mut opened).map_err(file("read", &path))?;
        if found != known.digest.as_str() {
            return Err(Error::AlteredBackup { path });
        }
        let mut head = [0; HEAD.len()];
        opened.rewind().map_err(file("read", &path))?;
        opened.read_exact(&mut head).map_err(file("read", &path))?;
        if head != *HEAD {
            return Err(Error::AlteredBackup { path });
        }
        Ok(BackupReader {
            file: io::BufReader::with_capacity(CHUNK, opened),
            cipher,
            chunk: Zeroizing::new(Vec::new()),
            read: 0,
            ended: false,
        })
    }

    /// Whether the key of a backup is there, in whatever form.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn holds_backup(&self, label: &SecretLabel) -> Result<(), Error> {
        self.holds_as(Kind::Backup, label)
    }

    /// Removes the backups of an environment that are not to be kept, and what was never finished.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sweep_backups(
        &self,
        env: &EnvId,
        keep: impl Fn(&Name, BackupId) -> bool,
    ) -> Result<(), Error> {
        // A key that is just being written has another name for a moment.
        let _alone = self.alone();
        for (database, folder) in self.backup_folders(env)? {
            for name in files::list(&folder)? {
                let number = name.split('.').next().and_then(|n| n.parse().ok());
                let whole = !name.starts_with('.') && !name.ends_with(UNFINISHED);
                let kept = number.is_some_and(|number| keep(&database, BackupId(number)));
                if !(kept && whole) {
                    files::remove(&folder.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Removes all backups of an environment, for ever, and the folders above that nothing else is in.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn purge_backups(&self, env: &EnvId) -> Result<(), Error> {
        self.purge_as(Kind::Backup, env)
    }

    fn backup_folders(&self, env: &EnvId) -> Result<Vec<(Name, PathBuf)>, Error> {
        let folder = self.env_folder(Kind::Backup, env);
        let names = files::list(&folder)?.into_iter();
        let databases = names.filter_map(|name| {
            let path = folder.join(&name);
            let secret = SecretName::parse(&name.replace('.', "/")).ok()?;
            Some((secret.database()?, path))
        });
        Ok(databases.collect())
    }

    fn backup_path(&self, label: &SecretLabel) -> PathBuf {
        let key = self.path_as(Kind::Backup, label);
        let name = format!("{}{FINISHED}", label.version);
        key.with_file_name(name)
    }
}

/// The digest of all that a file holds, as text.
fn digest_of(file: &mut File) -> io::Result<String> {
    let mut context = digest::Context::new(&SHA256);
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => context.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(text(context))
}

fn text(context: digest::Context) -> String {
    format!("sha256:{}", hex::encode(context.finish()))
}

/// Whether a chunk is the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Within = 0,
    Last = 1,
}

/// Seals and opens the chunks of one file, in their order.
struct Cipher {
    key: LessSafeKey,
    purpose: String,
    number: u64,
}

impl Cipher {
    fn new(key: &[u8], label: &SecretLabel) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some(Self {
            key: LessSafeKey::new(key),
            purpose: purpose(Kind::Backup, label),
            number: 0,
        })
    }

    /// Each number comes once, as it is, and never both as the last one and not.
    fn nonce(&mut self, place: Place) -> Nonce {
        let mut nonce = [0; 12];
        nonce[0] = place as u8;
        nonce[4..].copy_from_slice(&self.number.to_be_bytes());
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&mut self, chunk: &mut Vec<u8>, place: Place) -> io::Result<()> {
        let nonce = self.nonce(place);
        let aad = Aad::from(self.purpose.as_bytes());
        let sealed = self.key.seal_in_place_append_tag(nonce, aad, chunk);
        sealed.map_err(|_| io::Error::other("a chunk cannot be sealed"))
    }

    fn open(&mut self, chunk: &mut Vec<u8>, place: Place) -> io::Result<()> {
        let nonce = self.nonce(place);
        let aad = Aad::from(self.purpose.as_bytes());
        let opened = self.key.open_in_place(nonce, aad, chunk);
        let length = opened.map_err(|_| altered())?.len();
        chunk.truncate(length);
        Ok(())
    }
}

fn altered() -> io::Error {
    let what = "it is not what was written";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes a backup, sealed. What is not finished is removed when this is dropped.
pub struct BackupWriter {
    file: File,
    path: PathBuf,
    aside: PathBuf,
    cipher: Cipher,
    chunk: Zeroizing<Vec<u8>>,
    digest: digest::Context,
    bytes: u64,
    looked: u64,
    reserve: u64,
}

impl BackupWriter {
    /// Writes the last chunk, and gives the file its name when all of it is on the disk.
    ///
    /// # Errors
    /// [`Error::File`]; nothing is left then.
    pub fn finish(mut self) -> Result<BackupFile, Error> {
        let wrong = file("write", &self.aside);
        self.finished().map_err(wrong)?;
        let digest = text(self.digest.clone());
        let unreadable = || file("write", &self.path)(altered());
        Ok(BackupFile {
            bytes: self.bytes,
            digest: Digest::parse(&digest).map_err(|_| unreadable())?,
        })
    }

    fn finished(&mut self) -> io::Result<()> {
        self.flush_chunk(Place::Last)?;
        self.file.sync_all()?;
        fs::rename(&self.aside, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }

    /// A chunk is its length, with the highest bit where it is the last one, and what is sealed.
    fn flush_chunk(&mut self, place: Place) -> io::Result<()> {
        let mut chunk = std::mem::take(&mut *self.chunk);
        self.cipher.seal(&mut chunk, place)?;
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        self.put(&(length | (place as u32) << 31).to_be_bytes())?;
        self.put(&chunk)?;
        chunk.clear();
        self.chunk = Zeroizing::new(chunk);
        if self.bytes - self.looked >= LOOK_EVERY {
            self.looked = self.bytes;
            self.has_room()?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// A disk that is full takes down every database that is on it.
    fn has_room(&self) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(&self.file)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= self.reserve {
            return Ok(());
        }
        let (free, reserve) = (free >> 20, self.reserve >> 20);
        let what = format!("the disk has {free} MiB left, of which {reserve} stay free");
        Err(io::Error::new(io::ErrorKind::StorageFull, what))
    }
}

impl Write for BackupWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK.saturating_sub(self.chunk.len());
        let taken = bytes.len().min(room);
        self.chunk
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.chunk.len() >= CHUNK {
            self.flush_chunk(Place::Within)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        // It is not there any more when it was finished; what stays is swept away.
        let _ = fs::remove_file(&self.aside);
    }
}

/// Reads what a backup holds. A file that ends early, or is not what was written, is an error.
pub struct BackupReader {
    file: io::BufReader<File>,
    cipher: Cipher,
    chunk: Zeroizing<Vec<u8>>,
    read: usize,
    ended: bool,
}

impl BackupReader {
    fn next_chunk(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let place = match length >> 31 {
            0 => Place::Within,
            _ => Place::Last,
        };
        let length = (length & !(1 << 31)) as usize;
        if !(TAG..=CHUNK + TAG).contains(&length) {
            return Err(altered());
        }
        let mut chunk = std::mem::take(&mut *self.chunk);
        chunk.resize(length, 0);
        self.file.read_exact(&mut chunk)?;
        self.cipher.open(&mut chunk, place)?;
        self.chunk = Zeroizing::new(chunk);
        self.read = 0;
        if place == Place::Last {
            self.ended = true;
            if self.file.read(&mut [0])? != 0 {
                return Err(altered());
            }
        }
        Ok(())
    }
}

impl Read for BackupReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read >= self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let rest = self.chunk.get(self.read..).unwrap_or_default();
        let taken = rest.len().min(into.len());
        if let (Some(into), Some(from)) = (into.get_mut(..taken), rest.get(..taken)) {
            into.copy_from_slice(from);
        }
        self.read += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
