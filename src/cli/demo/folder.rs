//! The folder of the demo's certificates and log: a temporary one, or one to keep.
//!
//! The invariant: all that the demo made goes when its [`Folder`] is dropped, unless it is to be
//! kept and [`Folder::settle`] was called; nothing that was there before is replaced or removed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::DemoError;
use crate::cli::pki::{self, Written};

const LOG: &str = "connections.log";
/// All that the demo writes.
const FILES: [&str; 7] =
    ["ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key", LOG];

/// See the module's description.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// What the demo made, in the order of making.
    made: Vec<PathBuf>,
    is_temporary: bool,
}

impl Folder {
    /// A new folder among the system's temporary files that only this user can enter.
    pub(super) fn temporary() -> Result<Self, DemoError> {
        let base = std::env::temp_dir();
        let mut nonce = [0; 4];
        let random = aws_lc_rs::rand::fill(&mut nonce);
        random.map_err(|_| failed(&base, io::Error::other("no random bytes")))?;
        let path = base.join(format!("ringfort-demo-{:08x}", u32::from_be_bytes(nonce)));
        let path = std::path::absolute(path).map_err(|source| failed(&base, source))?;
        let mut folder = Self { path: path.clone(), made: Vec::new(), is_temporary: true };
        folder.make(&path)?;
        Ok(folder)
    }

    /// `path`, made where it does not exist.
    ///
    /// # Errors
    ///
    /// A file that the demo would write is there already, or the folder cannot be made.
    pub(super) fn to_keep(path: &Path) -> Result<Self, DemoError> {
        let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
        for file in FILES.map(|name| path.join(name)) {
            if fs::symlink_metadata(&file).is_ok() {
                return Err(DemoError::Exists(file));
            }
        }
        let mut folder = Self { path: path.clone(), made: Vec::new(), is_temporary: false };
        let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            folder.make(path)?;
        }
        Ok(folder)
    }

    fn make(&mut self, path: &Path) -> Result<(), DemoError> {
        DirBuilder::new().mode(0o700).create(path).map_err(|source| failed(path, source))?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Its path, absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes when the demo ends.
    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// Writes `NAME.pem` and `NAME.key`.
    ///
    /// # Errors
    ///
    /// One of them exists or cannot be written.
    pub(super) fn write_pair(
        &mut self,
        name: &str,
        certificates_pem: &str,
        key_pem: &str,
    ) -> Result<Written, DemoError> {
        let written = pki::write_pair(&self.path, name, certificates_pem, key_pem, false)
            .map_err(DemoError::Write)?;
        self.made.extend([written.certificates.clone(), written.key.clone()]);
        Ok(written)
    }

    /// Where the gateway's log goes; the gateway makes the file.
    pub(super) fn log(&mut self) -> PathBuf {
        let log = self.path.join(LOG);
        self.made.push(log.clone());
        log
    }

    /// From now on what was made stays, unless the folder is temporary.
    pub(super) fn settle(&mut self) {
        if !self.is_temporary {
            self.made.clear();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // There is nobody to tell of a failure; what somebody else put into a folder keeps
            // that folder.
            let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
            let _ = if is_folder { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

fn failed(path: &Path, source: io::Error) -> DemoError {
    DemoError::Folder { path: path.to_owned(), source }
}
