//! What the tests of this room share: a folder with a configuration and the files that it names.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::load::Configuration;
use crate::config::kit;

/// A folder of one test, removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// `name` is no other test's.
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringfort-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder of temporary files takes folders");
        Self(path)
    }

    /// Writes a file that only its owner can read.
    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("the folder takes files");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).expect("the file is ours");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A configuration `r.toml` of this text, with all files that one may name.
pub(super) fn configuration(name: &str, text: &str) -> (Folder, Configuration) {
    let folder = Folder::new(name);
    for (path, bytes) in kit::files().0 {
        folder.write(&path.display().to_string(), &bytes);
    }
    let path = folder.write("r.toml", text);
    (folder, Configuration::File(path))
}
