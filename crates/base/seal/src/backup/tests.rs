use super::*;
use crate::{KeySource, Vault};

fn label(number: u64) -> SecretLabel {
    let env = EnvId::parse("returns/prod").unwrap();
    backup_label(&env, &Name::parse("db").unwrap(), BackupId(number))
}

fn vault(home: &tempfile::TempDir) -> Vault {
    Vault::new(home.path(), KeySource::Files)
}

fn write(vault: &Vault, number: u64, bytes: &[u8]) -> BackupFile {
    let mut writer = vault.begin_backup(&label(number), 0).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn read(vault: &Vault, number: u64, known: &BackupFile) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = vault.open_backup(&label(number), known).unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

fn rows(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 % 251) as u8).collect()
}

/// As [`Vault::open_backup`] for a file whose digest was made to fit: what the seal itself finds.
fn refitted(vault: &Vault, number: u64) -> io::Result<Vec<u8>> {
    let path = vault.backup_path(&label(number));
    let digest = digest_of(&mut File::open(&path).unwrap()).unwrap();
    let known = BackupFile {
        bytes: 0,
        digest: Digest::parse(&digest).unwrap(),
    };
    let mut bytes = Vec::new();
    let mut reader = vault.open_backup(&label(number), &known).unwrap();
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_was_written_is_read_and_lies_sealed_on_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(&home);
    for (number, length) in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]
        .iter()
        .enumerate()
    {
        let rows = rows(*length);
        let known = write(&vault, number as u64, &rows);
        let path = vault.backup_path(&label(number as u64));
        let lies = fs::read(&path).unwrap();
        assert_eq!(lies.len() as u64, known.bytes);
        assert!(*length < 100 || !lies.windows(50).any(|part| *part == rows[..50]));
        assert_eq!(read(&vault, number as u64, &known), rows);
    }
}

#[test]
fn a_file_that_was_altered_cut_or_is_another_one_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(&home);
    let known = write(&vault, 1, &rows(3 * CHUNK));
    let path = vault.backup_path(&label(1));
    let whole = fs::read(&path).unwrap();
    let chunk = 4 + CHUNK + TAG;
    let (head, rest) = whole.split_at(HEAD.len());
    let mut flipped = whole.clone();
    flipped[HEAD.len() + 100] ^= 1;
    let mut longer = whole.clone();
    longer.push(0);
    let swapped = [
        head,
        &rest[chunk..2 * chunk],
        &rest[..chunk],
        &rest[2 * chunk..],
    ]
    .concat();
    let without_end = whole[..HEAD.len() + 3 * chunk].to_vec();
    let left_out = [head, &rest[chunk..]].concat();
    for altered in [flipped, longer, swapped, without_end, left_out] {
        fs::write(&path, &altered).unwrap();
        let refused = vault.open_backup(&label(1), &known).err().unwrap();
        assert!(matches!(refused, Error::AlteredBackup { .. }), "{refused}");
        assert!(
            refitted(&vault, 1).is_err(),
            "the seal itself finds it, too"
        );
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(refitted(&vault, 1).unwrap(), rows(3 * CHUNK));
    // Another backup's file and key in its place.
    write(&vault, 2, &rows(10));
    fs::copy(vault.backup_path(&label(2)), &path).unwrap();
    assert!(refitted(&vault, 1).is_err());
    fs::copy(
        vault.path_as(Kind::Backup, &label(2)),
        vault.path_as(Kind::Backup, &label(1)),
    )
    .unwrap();
    let refused = vault.open_backup(&label(1), &known).err().unwrap();
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
}

#[test]
fn another_master_key_opens_them_and_one_that_is_gone_is_named() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(&home);
    let known = write(&vault, 1, b"rows");
    let before = vault.key().unwrap().unwrap();
    let rekeyed = vault.rekey().unwrap();
    assert_eq!((rekeyed.from, rekeyed.values), (vec![before], 1));
    assert_eq!(read(&vault, 1, &known), b"rows");
    let key = home.path().join(format!("master-keys/{}.key", rekeyed.to));
    fs::remove_file(key).unwrap();
    let refused = vault.open_backup(&label(1), &known).err().unwrap();
    assert!(
        refused.to_string().contains(rekeyed.to.as_str()),
        "{refused}"
    );
}

#[test]
fn what_was_not_finished_or_is_not_kept_goes() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(&home);
    let env = label(1).env;
    let mut dropped = vault.begin_backup(&label(1), 0).unwrap();
    dropped.write_all(&rows(CHUNK + 1)).unwrap();
    let folder = vault.backup_path(&label(1)).parent().unwrap().to_owned();
    assert!(folder.join("1.new").exists());
    // As if it had been killed.
    std::mem::forget(dropped);
    let kept = write(&vault, 2, b"kept");
    write(&vault, 3, b"not");
    vault.sweep_backups(&env, |_, id| id.0 != 3).unwrap();
    assert_eq!(
        files::list(&folder).unwrap(),
        ["1.json", "2.backup", "2.json"]
    );
    assert_eq!(read(&vault, 2, &kept), b"kept");
    vault.purge_backups(&env).unwrap();
    assert!(!folder.exists());
    let refused = vault.open_backup(&label(2), &kept).err().unwrap();
    assert!(matches!(refused, Error::Missing { .. }), "{refused}");
}

#[test]
fn a_disk_without_room_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(&home);
    let refused = vault.begin_backup(&label(1), u64::MAX).err().unwrap();
    assert!(matches!(refused, Error::File { .. }), "{refused}");
    let folder = vault.backup_path(&label(1)).parent().unwrap().to_owned();
    assert_eq!(files::list(&folder).unwrap(), ["1.json"]);
}
