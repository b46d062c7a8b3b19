//! The sealed values of a state folder: `sealed/STACK/ENV/NAME/VERSION.json`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use ward_types::id::{EnvId, Name};
use ward_types::secret::Secret;
use ward_types::secrets::{SecretLabel, SecretName};

use crate::envelope::{DoesNotOpen, Envelope};
use crate::error::{Error, file};
use crate::file;
use crate::key::{KeyId, KeySource, Keys, MasterKey};

/// The folder of sealed values in the state folder.
const FOLDER: &str = "sealed";

/// The folder of backups in the state folder, unless they lie elsewhere.
const BACKUPS: &str = "backups";

/// The sealed values of a state folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    folder: PathBuf,
    /// Backups, each with its data key.
    backups: PathBuf,
    keys: Keys,
    /// Held while keys or what is sealed under them change.
    changing: Arc<Mutex<()>>,
}

/// What another master key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// The keys that something was sealed under before.
    pub from: Vec<KeyId>,
    /// The key that all is sealed under now.
    pub to: KeyId,
    /// How many values.
    pub values: usize,
}

/// What a sealed value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A version of a secret.
    Secret,
    /// The data key of a backup: its label has the database's name and the backup's number.
    Backup,
}

/// How a master key is come by where there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Make {
    IfNothingIsSealed,
    Never,
}

impl Vault {
    /// The values of the state folder `home`.
    #[must_use]
    pub fn new(home: &Path, source: KeySource) -> Self {
        Self {
            folder: home.join(FOLDER),
            backups: home.join(BACKUPS),
            keys: Keys::new(home, source),
            changing: Arc::default(),
        }
    }

    /// The same with backups in another folder; `None`: in the state folder.
    #[must_use]
    pub fn with_backups(mut self, folder: Option<PathBuf>) -> Self {
        if let Some(folder) = folder {
            self.backups = folder;
        }
        self
    }

    /// The folder of backups.
    #[must_use]
    pub fn backups(&self) -> &Path {
        &self.backups
    }

    /// Seals a value, on the disk when this returns, and says its digest. What was there under the same label, of a
    /// version that never came to be recorded, is replaced.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub fn seal(&self, label: &SecretLabel, value: &Secret) -> Result<String, Error> {
        self.seal_as(Kind::Secret, label, value)
    }

    pub(crate) fn seal_as(
        &self,
        kind: Kind,
        label: &SecretLabel,
        value: &Secret,
    ) -> Result<String, Error> {
        let _alone = self.alone();
        let master = self.current(Make::IfNothingIsSealed)?;
        let envelope = Envelope::seal(&master, &purpose(kind, label), value)?;
        self.write(kind, label, &envelope)?;
        Ok(digest(&master, label, value))
    }

    /// What the digest of a value would be now; `None` where no value was ever sealed.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub fn digest(&self, label: &SecretLabel, value: &Secret) -> Result<String, Error> {
        let master = self.current(Make::IfNothingIsSealed)?;
        Ok(digest(&master, label, value))
    }

    /// Opens a value.
    ///
    /// # Errors
    /// [`Error`], as it says; never an empty value in place of one that does not open.
    pub fn open(&self, label: &SecretLabel) -> Result<Secret, Error> {
        self.open_as(Kind::Secret, label)
    }

    pub(crate) fn open_as(&self, kind: Kind, label: &SecretLabel) -> Result<Secret, Error> {
        let envelope = self.read(kind, label)?;
        let master = self.needed(&envelope.key)?;
        let opened = envelope.open(&master, &purpose(kind, label));
        opened.map_err(|DoesNotOpen| self.damaged_as(kind, label))
    }

    /// Whether there is a sealed value under a label, without opening it or looking for its key.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn holds(&self, label: &SecretLabel) -> Result<(), Error> {
        self.holds_as(Kind::Secret, label)
    }

    pub(crate) fn holds_as(&self, kind: Kind, label: &SecretLabel) -> Result<(), Error> {
        let path = self.path_as(kind, label);
        match path.exists() {
            true => Ok(()),
            false => Err(Error::Missing {
                label: Box::new(label.clone()),
                path,
            }),
        }
    }

    /// Whether a value could be opened, without opening it: it is there, and its key is.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn check(&self, label: &SecretLabel) -> Result<(), Error> {
        self.needed(&self.read(Kind::Secret, label)?.key).map(drop)
    }

    /// Wraps every data key by a new master key, which is made where keys are files, and else is the first one that
    /// the command gives. All values can be read all the while, also when this is broken off: doing it again goes on.
    ///
    /// # Errors
    /// [`Error`], as it says; a key that is needed stays then.
    pub fn rekey(&self) -> Result<Rekeyed, Error> {
        self.keys.ask_again()?;
        let _alone = self.alone();
        // 1. The keys of all that is sealed are there, before another one is made.
        let labels = self.labels()?;
        let mut from = BTreeSet::new();
        for (kind, label) in &labels {
            let id = self.read(*kind, label)?.key;
            self.needed(&id)?;
            from.insert(id);
        }
        // 2. The new key is on the disk, and new values are sealed under it.
        let to = match self.keys.source() {
            KeySource::Files => {
                let drawn = MasterKey::draw()?;
                self.keys.add(&drawn)?;
                drawn
            }
            KeySource::Command(_) => self.current(Make::Never)?,
        };
        // 3. One file after the other: each names the key that it needs.
        for (kind, label) in &labels {
            self.rewrap(*kind, label, &to)?;
        }
        // 4. Nothing needs the keys before any more.
        self.keys.forget_all_but(&to.id())?;
        from.remove(&to.id());
        Ok(Rekeyed {
            from: from.into_iter().collect(),
            to: to.id(),
            values: labels.len(),
        })
    }

    fn rewrap(&self, kind: Kind, label: &SecretLabel, to: &MasterKey) -> Result<(), Error> {
        let envelope = self.read(kind, label)?;
        if envelope.key == to.id() {
            return Ok(());
        }
        let from = self.needed(&envelope.key)?;
        let rewrapped = envelope.rewrapped(&from, to, &purpose(kind, label));
        let rewrapped = rewrapped.map_err(|DoesNotOpen| self.damaged_as(kind, label))??;
        self.write(kind, label, &rewrapped)
    }

    /// Removes the values of an environment that are not among `needed`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn collect(
        &self,
        env: &EnvId,
        needed: &BTreeSet<(SecretName, u64)>,
    ) -> Result<usize, Error> {
        let _alone = self.alone();
        let mut removed = 0;
        for label in self.labels_of(Kind::Secret, env)? {
            let key = (label.name.clone(), label.version);
            if !needed.contains(&key) {
                file::remove(&self.path_as(Kind::Secret, &label))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes all values of an environment, for ever.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn purge(&self, env: &EnvId) -> Result<(), Error> {
        self.purge_as(Kind::Secret, env)
    }

    pub(crate) fn purge_as(&self, kind: Kind, env: &EnvId) -> Result<(), Error> {
        let _alone = self.alone();
        let path = self.env_folder(kind, env);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("remove", &path)(error));
            }
            _ => {}
        }
        // One that holds another environment's is not empty, and stays.
        let folder = self.root(kind);
        let stack = folder.join(env.stack().as_str());
        let emptied = fs::remove_dir(stack);
        // The folder of backups may be another disk's.
        if kind == Kind::Secret {
            let _ = emptied.and_then(|()| fs::remove_dir(folder));
        }
        Ok(())
    }

    /// The id of the key that new values are sealed under, if there is one.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub fn key(&self) -> Result<Option<KeyId>, Error> {
        Ok(self.keys.current()?.map(|key| key.id()))
    }

    /// Whether each master key that something is sealed under is to be had.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub fn has_its_keys(&self) -> Result<(), Error> {
        for id in self.keys_in_use()? {
            self.needed(&id)?;
        }
        Ok(())
    }

    /// Where its master keys come from.
    #[must_use]
    pub fn source(&self) -> &KeySource {
        self.keys.source()
    }

    pub(crate) fn alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, make: Make) -> Result<MasterKey, Error> {
        if let Some(key) = self.keys.current()? {
            return Ok(key);
        }
        let sealed = self.keys_in_use()?;
        if make == Make::IfNothingIsSealed && sealed.is_empty() {
            let drawn = MasterKey::draw()?;
            self.keys.add(&drawn)?;
            return Ok(drawn);
        }
        // What all is sealed under is the key, whether or not a file says so.
        if let (Some(only), 1) = (sealed.first(), sealed.len())
            && let Some(key) = self.keys.unnamed(only)?
        {
            return Ok(key);
        }
        let names: Vec<&str> = sealed.iter().map(KeyId::as_str).collect();
        Err(Error::KeyGone {
            needed: names.join(", "),
            looked: self.keys.looked(sealed.first()),
        })
    }

    fn keys_in_use(&self) -> Result<BTreeSet<KeyId>, Error> {
        let labels = self.labels()?;
        labels
            .iter()
            .map(|(kind, label)| Ok(self.read(*kind, label)?.key))
            .collect()
    }

    fn needed(&self, id: &KeyId) -> Result<MasterKey, Error> {
        self.keys.find(id)?.ok_or_else(|| Error::KeyGone {
            needed: id.to_string(),
            looked: self.keys.looked(Some(id)),
        })
    }

    pub(crate) fn damaged_as(&self, kind: Kind, label: &SecretLabel) -> Error {
        Error::Damaged {
            label: Box::new(label.clone()),
            path: self.path_as(kind, label),
        }
    }

    fn read(&self, kind: Kind, label: &SecretLabel) -> Result<Envelope, Error> {
        let path = self.path_as(kind, label);
        let Some(bytes) = file::read(&path)? else {
            let label = Box::new(label.clone());
            return Err(Error::Missing { label, path });
        };
        serde_json::from_slice(&bytes).map_err(|_| self.damaged_as(kind, label))
    }

    fn write(&self, kind: Kind, label: &SecretLabel, envelope: &Envelope) -> Result<(), Error> {
        // A value of this shape is always JSON.
        let bytes = serde_json::to_vec(envelope).unwrap_or_default();
        file::write(&self.path_as(kind, label), &bytes)
    }

    fn root(&self, kind: Kind) -> &Path {
        match kind {
            Kind::Secret => &self.folder,
            Kind::Backup => &self.backups,
        }
    }

    pub(crate) fn env_folder(&self, kind: Kind, env: &EnvId) -> PathBuf {
        let (stack, name) = (env.stack(), env.env());
        self.root(kind).join(stack.as_str()).join(name.as_str())
    }

    /// A secret's name holds a `/` only as a database's password, which is in a folder with a dot: no name has one.
    pub(crate) fn path_as(&self, kind: Kind, label: &SecretLabel) -> PathBuf {
        let name = label.name.as_str().replace('/', ".");
        let folder = self.env_folder(kind, &label.env).join(name);
        folder.join(format!("{}.json", label.version))
    }

    fn labels(&self) -> Result<Vec<(Kind, SecretLabel)>, Error> {
        let mut labels = Vec::new();
        for kind in [Kind::Secret, Kind::Backup] {
            let root = self.root(kind);
            for stack in file::list(root)? {
                let Ok(stack) = Name::parse(&stack) else {
                    continue;
                };
                for name in file::list(&root.join(stack.as_str()))? {
                    let Ok(name) = Name::parse(&name) else {
                        continue;
                    };
                    let found = self.labels_of(kind, &EnvId::new(&stack, &name))?;
                    labels.extend(found.into_iter().map(|label| (kind, label)));
                }
            }
        }
        Ok(labels)
    }

    fn labels_of(&self, kind: Kind, env: &EnvId) -> Result<Vec<SecretLabel>, Error> {
        let mut labels = Vec::new();
        let folder = self.env_folder(kind, env);
        for folder_name in file::list(&folder)? {
            let Ok(name) = SecretName::parse(&folder_name.replace('.', "/")) else {
                continue;
            };
            for file_name in file::list(&folder.join(&folder_name))? {
                let version = file_name.strip_suffix(".json").and_then(|v| v.parse().ok());
                labels.extend(version.map(|version| SecretLabel {
                    env: env.clone(),
                    name: name.clone(),
                    version,
                }));
            }
        }
        Ok(labels)
    }
}

/// What a value is sealed for, as text. Names hold no NUL, so that this is unambiguous.
pub(crate) fn purpose(kind: Kind, label: &SecretLabel) -> String {
    let kind = match kind {
        Kind::Secret => "ward secret",
        Kind::Backup => "ward backup",
    };
    format!("{kind}\0{}\0{}\0{}", label.env, label.name, label.version)
}

/// The same value of the same secret has the same, whatever its version. 128 bits.
fn digest(master: &MasterKey, label: &SecretLabel, value: &Secret) -> String {
    let any = SecretLabel {
        version: 0,
        ..label.clone()
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*master.derive("ward digests secrets"));
    let mut signing = hmac::Context::with_key(&key);
    signing.update(purpose(Kind::Secret, &any).as_bytes());
    signing.update(b"\0");
    signing.update(value.expose().as_bytes());
    hex::encode(&signing.sign().as_ref()[..16])
}

#[cfg(test)]
mod tests;
