//! Master keys: where they come from, and which is which.
//!
//! A key's id is made from the key (HMAC-SHA-256 under it, of a fixed text), so that a wrong one is told from the
//! right one before anything is opened with it, and the id tells nobody what the key is.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use ward_types::secret::Secret;
use zeroize::{Zeroize as _, Zeroizing};

use crate::command::Given;
use crate::error::Error;
use crate::file;

/// The variable that holds the command which gives the master key.
pub const COMMAND: &str = "WARD_MASTER_KEY_COMMAND";

/// The folder of master keys in the state folder.
const FOLDER: &str = "master-keys";
/// The file in it that names the key that new values are sealed under.
const CURRENT: &str = "current";

/// Which master key: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is one, as [`MasterKey::id`] makes them.
    fn is_one(text: &str) -> bool {
        text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// Where master keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Files in the state folder, the first of them made when something is sealed for the first time.
    Files,
    /// What this shell command writes to standard output: the key in the first line, those before it in the others,
    /// for as long as something is sealed under them.
    Command(String),
}

impl KeySource {
    /// What the variable [`COMMAND`] says.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var(COMMAND) {
            Ok(command) if !command.trim().is_empty() => Self::Command(command),
            _ => Self::Files,
        }
    }

    /// What a server is to be told by variables, so that its master keys come from here.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, Secret)> {
        match self {
            Self::Command(command) => vec![(COMMAND.to_owned(), Secret::new(command.clone()))],
            Self::Files => Vec::new(),
        }
    }
}

/// A master key.
#[derive(Clone)]
pub(crate) struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    pub(crate) fn draw() -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *key).map_err(|_| Error::Random)?;
        Ok(Self(key))
    }

    /// Reads base64 or hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = match text.len() {
            64 => hex::decode(text).ok(),
            _ => STANDARD.decode(text).ok(),
        };
        let bytes = Zeroizing::new(bytes?);
        let mut key = Zeroizing::new([0; 32]);
        (bytes.len() == 32).then(|| key.copy_from_slice(&bytes))?;
        Some(Self(key))
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }

    pub(crate) fn id(&self) -> KeyId {
        KeyId(hex::encode(&self.derive("ward master key id")[..8]))
    }

    /// A key for one purpose (HMAC-SHA-256 as a pseudo-random function, as in HKDF's expand, RFC 5869).
    pub(crate) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let tag = hmac::sign(&key, purpose.as_bytes());
        let mut derived = Zeroizing::new([0; 32]);
        derived.copy_from_slice(tag.as_ref());
        derived
    }
}

/// The master keys of a state folder.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    folder: PathBuf,
    source: KeySource,
    given: Given,
}

impl Keys {
    pub(crate) fn new(home: &Path, source: KeySource) -> Self {
        Self {
            folder: home.join(FOLDER),
            source,
            given: Given::default(),
        }
    }

    /// The key that new values are sealed under; `None` where there never was one.
    pub(crate) fn current(&self) -> Result<Option<MasterKey>, Error> {
        match &self.source {
            KeySource::Files => match self.named()? {
                Some(id) => self.in_file(&id),
                None => Ok(None),
            },
            KeySource::Command(command) => Ok(self.given.by(command)?.into_iter().next()),
        }
    }

    /// The key of this id, if it is to be had.
    pub(crate) fn find(&self, id: &KeyId) -> Result<Option<MasterKey>, Error> {
        match &self.source {
            KeySource::Files => self.in_file(id),
            KeySource::Command(command) => {
                let among = |keys: Vec<MasterKey>| keys.into_iter().find(|key| key.id() == *id);
                match among(self.given.by(command)?) {
                    Some(key) => Ok(Some(key)),
                    // It may give others by now.
                    None => Ok(among(self.given.anew(command)?)),
                }
            }
        }
    }

    /// The key of this id, if it is there and only the file is missing that names it: that is written anew.
    pub(crate) fn unnamed(&self, id: &KeyId) -> Result<Option<MasterKey>, Error> {
        if self.source != KeySource::Files || self.named()?.is_some() {
            return Ok(None);
        }
        let found = self.in_file(id)?;
        if found.is_some() {
            self.name(id)?;
        }
        Ok(found)
    }

    /// What a command gives is asked of it again, whenever that was last. It takes its time: nobody holds anything
    /// meanwhile that others need.
    pub(crate) fn ask_again(&self) -> Result<(), Error> {
        self.forget_given();
        match &self.source {
            KeySource::Files => Ok(()),
            KeySource::Command(command) => self.given.by(command).map(drop),
        }
    }

    pub(crate) fn forget_given(&self) {
        self.given.forget();
    }

    /// Where keys are looked for, and what was found, as a clause.
    pub(crate) fn looked(&self, id: Option<&KeyId>) -> String {
        let absent = id.filter(|id| !self.path(id).exists());
        match (&self.source, absent) {
            (KeySource::Files, Some(id)) => {
                format!("{} is not there", self.path(id).display())
            }
            (KeySource::Files, None) => {
                let path = self.folder.join(CURRENT);
                format!("{}, which names the key, is not there", path.display())
            }
            (KeySource::Command(_), _) => {
                "the command of WARD_MASTER_KEY_COMMAND gives another one".to_owned()
            }
        }
    }

    pub(crate) fn source(&self) -> &KeySource {
        &self.source
    }

    fn path(&self, id: &KeyId) -> PathBuf {
        self.folder.join(format!("{id}.key"))
    }

    fn named(&self) -> Result<Option<KeyId>, Error> {
        let text = file::read(&self.folder.join(CURRENT))?;
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let plain = |text: &String| {
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        match text {
            Some(text) if !plain(&text) => Err(Error::NoKey {
                path: self.folder.join(CURRENT),
            }),
            other => Ok(other.map(KeyId)),
        }
    }

    fn in_file(&self, id: &KeyId) -> Result<Option<MasterKey>, Error> {
        let path = self.path(id);
        if path.is_dir() {
            return Err(Error::NoKey { path });
        }
        let Some(bytes) = file::read(&path)? else {
            return Ok(None);
        };
        let mut bytes = Zeroizing::new(bytes);
        let mode = fs::metadata(&path).map_err(crate::error::file("read", &path))?;
        let mode = mode.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::Open { path, mode });
        }
        let key = std::str::from_utf8(&bytes).ok().and_then(MasterKey::parse);
        bytes.zeroize();
        let key = key.ok_or_else(|| Error::NoKey { path: path.clone() })?;
        match key.id() == *id {
            true => Ok(Some(key)),
            false => Err(Error::WrongKey {
                path,
                named: id.clone(),
                found: key.id(),
            }),
        }
    }

    /// Writes a new key down: first the key, then that it is the one.
    pub(crate) fn add(&self, key: &MasterKey) -> Result<(), Error> {
        let id = key.id();
        file::write(&self.path(&id), key.text().as_bytes())?;
        self.name(&id)
    }

    fn name(&self, id: &KeyId) -> Result<(), Error> {
        file::write(&self.folder.join(CURRENT), id.as_str().as_bytes())
    }

    /// Removes the files of all keys but this one. What Ward did not write there stays: files of other names, and
    /// whatever is no file.
    pub(crate) fn forget_all_but(&self, id: &KeyId) -> Result<(), Error> {
        if self.source != KeySource::Files {
            return Ok(());
        }
        for name in file::list(&self.folder)? {
            let of = name.strip_suffix(".key").filter(|of| KeyId::is_one(of));
            let path = self.folder.join(&name);
            if of.is_some_and(|of| of != id.as_str()) && path.is_file() {
                file::remove(&path)?;
            }
        }
        Ok(())
    }
}
