//! The two files of a certificate, or the one of a list, written so that they appear whole or not
//! at all.
//!
//! They are written under temporary names in the same directory first. They get their own names
//! only when all are complete, and without `force` only where nothing has that name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::PkiError;

/// The files that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The certificates, `NAME.pem`.
    pub certificates: PathBuf,
    /// The private key, `NAME.key`, readable by its owner only.
    pub key: PathBuf,
}

/// Writes `NAME.pem` and `NAME.key` into `directory`, which is made where it does not exist.
///
/// # Errors
///
/// A [`PkiError`] that names the file. Nothing new remains then.
pub(in crate::cli) fn write_pair(
    directory: &Path,
    name: &str,
    certificates_pem: &str,
    key_pem: &str,
    force: bool,
) -> Result<Written, PkiError> {
    let written = Written {
        certificates: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    };
    fs::create_dir_all(directory).map_err(|source| write_error(directory, source))?;
    for target in [&written.certificates, &written.key] {
        check_target(target, force)?;
    }
    let key = Pending::write(&written.key, key_pem, 0o600)?;
    let certificates = Pending::write(&written.certificates, certificates_pem, 0o644)?;
    key.publish(force)?;
    if let Err(error) = certificates.publish(force) {
        if !force {
            // The key was linked just now, by this call. Should its removal fail as well, the
            // first error is the one to report.
            let _ = fs::remove_file(&written.key);
        }
        return Err(error);
    }
    Ok(written)
}

/// Writes one file, which everyone may read, into `directory`, which is made where it does not
/// exist.
///
/// # Errors
///
/// A [`PkiError`] that names the file. Nothing new remains then.
pub(super) fn write_one(
    directory: &Path,
    file: &str,
    content: &str,
    force: bool,
) -> Result<PathBuf, PkiError> {
    let target = directory.join(file);
    fs::create_dir_all(directory).map_err(|source| write_error(directory, source))?;
    check_target(&target, force)?;
    Pending::write(&target, content, 0o644)?.publish(force)?;
    Ok(target)
}

/// Whether a file may have this name.
fn check_target(target: &Path, force: bool) -> Result<(), PkiError> {
    match fs::symlink_metadata(target) {
        Ok(_) if !force => Err(PkiError::Exists(target.to_owned())),
        Ok(found) if !found.is_file() => Err(PkiError::NotAFile(target.to_owned())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(write_error(target, source)),
    }
}

/// A complete file under a temporary name, which goes when this is dropped.
struct Pending {
    temporary: PathBuf,
    target: PathBuf,
}

impl Pending {
    fn write(target: &Path, content: &str, mode: u32) -> Result<Self, PkiError> {
        let mut nonce = [0; 8];
        aws_lc_rs::rand::fill(&mut nonce)
            .map_err(|_| write_error(target, io::Error::other("no random bytes")))?;
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(format!(".{:016x}.tmp", u64::from_be_bytes(nonce)));
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .map_err(|source| write_error(target, source))?;
        let pending = Self { temporary, target: target.to_owned() };
        fill(file, content).map_err(|source| write_error(target, source))?;
        Ok(pending)
    }

    /// Gives the file its own name. Without `force`, linking fails where the name is taken.
    fn publish(&self, force: bool) -> Result<(), PkiError> {
        let result = if force {
            fs::rename(&self.temporary, &self.target)
        } else {
            fs::hard_link(&self.temporary, &self.target)
        };
        result.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => PkiError::Exists(self.target.clone()),
            _ => write_error(&self.target, source),
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove, and nobody to tell of another failure.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn fill(mut file: File, content: &str) -> io::Result<()> {
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn write_error(path: &Path, source: io::Error) -> PkiError {
    PkiError::Write { path: path.to_owned(), source }
}
