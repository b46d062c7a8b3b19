use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct World {
    home: tempfile::TempDir,
    vault: Vault,
}

fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let vault = Vault::new(home.path(), KeySource::Files);
    World { home, vault }
}

fn label(env: &str, name: &str, version: u64) -> SecretLabel {
    SecretLabel {
        env: EnvId::parse(env).unwrap(),
        name: SecretName::parse(name).unwrap(),
        version,
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

impl World {
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn below(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => below(&path, all),
                    false => all.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        let mut all = Vec::new();
        below(self.home.path(), &mut all);
        all
    }

    fn keys(&self) -> Vec<PathBuf> {
        let files = self.files().into_iter().map(|(path, _)| path);
        files
            .filter(|path| path.extension().is_some_and(|e| e == "key"))
            .collect()
    }
}

#[test]
fn p6_what_is_sealed_comes_back_and_is_in_no_file() {
    let world = world();
    let vault = &world.vault;
    let first = label("shop/dev", "API_KEY", 1);
    let digest = vault.seal(&first, &secret("hunter2hunter2")).unwrap();
    assert_eq!(vault.open(&first).unwrap().expose(), "hunter2hunter2");
    for (path, bytes) in world.files() {
        let found = bytes.windows(7).any(|part| part == b"hunter2");
        assert!(!found, "{}", path.display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
    // The same value has the same digest, and of another secret another.
    let next = label("shop/dev", "API_KEY", 2);
    assert_eq!(
        vault.seal(&next, &secret("hunter2hunter2")).unwrap(),
        digest
    );
    let other = label("shop/dev", "OTHER", 1);
    assert_ne!(
        vault.seal(&other, &secret("hunter2hunter2")).unwrap(),
        digest
    );
    assert_eq!(digest.len(), 32);
}

#[test]
fn no_file_stands_in_for_another_one() {
    let world = world();
    let (one, two) = (label("shop/dev", "A", 1), label("shop/dev", "A", 2));
    world.vault.seal(&one, &secret("one")).unwrap();
    world.vault.seal(&two, &secret("two")).unwrap();
    fs::copy(
        world.vault.path_as(Kind::Secret, &one),
        world.vault.path_as(Kind::Secret, &two),
    )
    .unwrap();
    assert!(matches!(world.vault.open(&two), Err(Error::Damaged { .. })));
    for at in 0..fs::read(world.vault.path_as(Kind::Secret, &one))
        .unwrap()
        .len()
    {
        let mut bytes = fs::read(world.vault.path_as(Kind::Secret, &one)).unwrap();
        bytes[at] ^= 1;
        let path = world.vault.path_as(Kind::Secret, &two);
        fs::write(&path, &bytes).unwrap();
        assert!(world.vault.open(&two).is_err(), "byte {at} may be changed");
    }
}

#[test]
fn what_ward_did_not_write_beside_its_keys_is_left_and_a_folder_is_no_key() {
    let world = world();
    let sealed = label("shop/dev", "A", 1);
    world.vault.seal(&sealed, &secret("one")).unwrap();
    let key = world.keys().remove(0);
    let folder = key.parent().unwrap();
    let by_hand = ["X.key", "0123456789abcdef.key"].map(|name| folder.join(name));
    for path in &by_hand {
        fs::create_dir_all(path.join("inside")).unwrap();
    }
    let note = folder.join("copy.key");
    fs::write(&note, "a copy of mine").unwrap();
    let rekeyed = world.vault.rekey().unwrap();
    assert_eq!(world.vault.open(&sealed).unwrap().expose(), "one");
    assert!(!key.exists(), "nothing needs it any more");
    assert!(note.is_file() && by_hand.iter().all(|path| path.join("inside").is_dir()));

    let key = folder.join(format!("{}.key", rekeyed.to));
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    let error = world.vault.open(&sealed).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&key.display().to_string()), "{message}");
    assert!(message.contains("holds no master key") && error.hint().is_some());
}

#[test]
fn a_key_that_is_gone_is_named_and_no_other_one_is_made() {
    let world = world();
    let sealed = label("shop/dev", "A", 1);
    world.vault.seal(&sealed, &secret("one")).unwrap();
    let id = world.vault.key().unwrap().unwrap();
    let key = world.keys().remove(0);
    let aside = world.home.path().join("aside");
    fs::rename(&key, &aside).unwrap();
    for error in [
        world.vault.open(&sealed).unwrap_err(),
        world.vault.check(&sealed).unwrap_err(),
        world
            .vault
            .seal(&label("shop/dev", "B", 1), &secret("two"))
            .unwrap_err(),
        world.vault.rekey().unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(message.contains(id.as_str()), "{message}");
        assert!(message.contains(&key.display().to_string()), "{message}");
    }
    assert!(world.keys().is_empty(), "no other one was made");
    fs::remove_file(key.parent().unwrap().join("current")).unwrap();
    let error = world.vault.seal(&label("shop/dev", "B", 1), &secret("two"));
    assert!(error.unwrap_err().to_string().contains(id.as_str()));
    // Another key under its name.
    fs::write(&key, "00".repeat(32)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        world.vault.open(&sealed),
        Err(Error::WrongKey { .. })
    ));
    fs::write(&key, "not a key").unwrap();
    assert!(matches!(
        world.vault.open(&sealed),
        Err(Error::NoKey { .. })
    ));
    fs::rename(&aside, &key).unwrap();
    assert_eq!(world.vault.open(&sealed).unwrap().expose(), "one");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        world.vault.open(&sealed),
        Err(Error::Open { mode: 0o644, .. })
    ));
}

#[test]
fn where_only_the_file_is_missing_that_names_the_key_it_is_found() {
    let world = world();
    let sealed = label("shop/dev", "A", 1);
    world.vault.seal(&sealed, &secret("one")).unwrap();
    let id = world.vault.key().unwrap().unwrap();
    let key = world.keys().remove(0);
    let current = key.parent().unwrap().join("current");
    fs::remove_file(&current).unwrap();
    let next = label("shop/dev", "A", 2);
    world.vault.seal(&next, &secret("two")).unwrap();
    assert_eq!(world.vault.key().unwrap(), Some(id.clone()));
    assert_eq!(
        world.keys(),
        std::slice::from_ref(&key),
        "no other one was made"
    );
    assert_eq!(world.vault.open(&next).unwrap().expose(), "two");
    // Of several nobody knows which: the message says what is missing.
    let aside = world.home.path().join("aside");
    fs::copy(&key, &aside).unwrap();
    world.vault.rekey().unwrap();
    let of_before = world.vault.path_as(Kind::Secret, &next);
    let rekeyed = fs::read(&of_before).unwrap();
    fs::rename(&aside, &key).unwrap();
    let text = String::from_utf8(rekeyed).unwrap();
    let newest = world.vault.key().unwrap().unwrap();
    fs::write(&of_before, text.replace(newest.as_str(), id.as_str())).unwrap();
    fs::remove_file(&current).unwrap();
    let error = world
        .vault
        .seal(&label("shop/dev", "B", 1), &secret("three"));
    let message = error.unwrap_err().to_string();
    let says = format!("{}, which names the key, is not there", current.display());
    assert!(message.contains(&says), "{message}");
}

#[test]
fn another_master_key_opens_all_and_one_that_was_broken_off_goes_on() {
    let world = world();
    let labels: Vec<_> = (1..=5)
        .map(|version| label("shop/dev", "A", version))
        .collect();
    for label in &labels {
        world.vault.seal(label, &secret("value")).unwrap();
    }
    let before = world.vault.key().unwrap().unwrap();
    // Broken off: the new key is there, two files are done.
    let next = MasterKey::draw().unwrap();
    world.vault.keys.add(&next).unwrap();
    for label in &labels[..2] {
        world.vault.rewrap(Kind::Secret, label, &next).unwrap();
    }
    let opens = || {
        let opened = labels.iter().map(|label| world.vault.open(label).unwrap());
        assert!(opened.into_iter().all(|value| value.expose() == "value"));
    };
    opens();
    let done = world.vault.rekey().unwrap();
    opens();
    assert_eq!(done.values, 5);
    let mut from = vec![before, next.id()];
    from.sort();
    assert_eq!(done.from, from);
    assert_eq!(world.keys().len(), 1, "those before are gone");
    assert_eq!(world.vault.key().unwrap(), Some(done.to));
}

#[test]
fn a_command_gives_the_key_and_those_before_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("keys");
    let (one, two) = ("11".repeat(32), STANDARD_TWO);
    fs::write(&file, &one).unwrap();
    let source = KeySource::Command(format!("cat {}", file.display()));
    let vault = Vault::new(home.path(), source);
    let sealed = label("shop/dev", "A", 1);
    let give = |text: &str| {
        fs::write(&file, text).unwrap();
        vault.keys.forget_given(); // As a few seconds later.
    };
    vault.seal(&sealed, &secret("value")).unwrap();
    assert!(!home.path().join("master-keys").exists());
    give(two);
    let message = vault.open(&sealed).unwrap_err().to_string();
    assert!(
        message.contains("WARD_MASTER_KEY_COMMAND gives another one"),
        "{message}"
    );
    give(&format!("{two}\n{one}\n"));
    assert_eq!(vault.open(&sealed).unwrap().expose(), "value");
    assert_eq!(vault.rekey().unwrap().values, 1);
    give(two);
    assert_eq!(vault.open(&sealed).unwrap().expose(), "value");
    for (text, says) in [
        ("", "wrote nothing"),
        ("short", "no key"),
        ("\u{7f}", "no key"),
    ] {
        give(text);
        let message = vault.open(&sealed).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let failing = Vault::new(home.path(), KeySource::Command("exit 3".to_owned()));
    let message = failing.open(&sealed).unwrap_err().to_string();
    assert!(message.contains("exit status: 3"), "{message}");
}

const STANDARD_TWO: &str = "IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=";

#[test]
fn what_nothing_needs_is_removed_and_an_environment_leaves_nothing() {
    let world = world();
    let (dev, prod) = ("shop/dev", "shop/prod");
    for sealed in [
        label(dev, "A", 1),
        label(dev, "A", 2),
        label(dev, "database/db", 1),
        label(prod, "A", 1),
    ] {
        world.vault.seal(&sealed, &secret("value")).unwrap();
    }
    let needed = BTreeSet::from([
        (SecretName::parse("A").unwrap(), 2),
        (SecretName::parse("database/db").unwrap(), 1),
    ]);
    let id = EnvId::parse(dev).unwrap();
    assert_eq!(world.vault.collect(&id, &needed).unwrap(), 1);
    assert!(world.vault.open(&label(dev, "A", 1)).is_err());
    assert!(world.vault.open(&label(dev, "database/db", 1)).is_ok());
    world.vault.purge(&id).unwrap();
    world.vault.purge(&id).unwrap();
    assert!(world.vault.open(&label(dev, "A", 2)).is_err());
    assert!(world.vault.open(&label(prod, "A", 1)).is_ok());
}
