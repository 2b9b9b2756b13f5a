//! The files that a configuration was read from: what they held, and whether they are the same now.
//!
//! It knows paths and bytes, and nothing of what they mean. The invariant: an identity is taken
//! before the bytes are read, so that a file that changes meanwhile is seen to have changed.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN, digest};

use crate::limits::WATCHED_ENTRIES_MAX;

/// SHA-256 of a file's bytes.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// Seconds and nanoseconds since 1970.
type Time = (i64, i64);

/// Which thing a path leads to, through symbolic links, and in which state (stat(2)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It leads to nothing that can be asked.
    Absent(io::ErrorKind),
    /// A regular file.
    File {
        /// The file system.
        device: u64,
        /// The file within it.
        inode: u64,
        /// Its size.
        bytes: u64,
        /// When its bytes were last changed.
        modified: Time,
        /// When anything of it was last changed, its owner and permissions too.
        changed: Time,
    },
    /// A directory.
    Directory {
        /// The file system.
        device: u64,
        /// The directory within it.
        inode: u64,
        /// When an entry was last added, removed or renamed.
        modified: Time,
        /// When anything of it was last changed.
        changed: Time,
        /// The names of its entries, at most `WATCHED_ENTRIES_MAX` of them.
        entries: Digest,
    },
    /// A pipe or a device: its times say nothing of what can be read from it.
    Other {
        /// The file system.
        device: u64,
        /// The pipe or device within it.
        inode: u64,
    },
}

impl Identity {
    /// What the path leads to now.
    pub fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::new(path, &metadata),
            Err(error) => Self::Absent(error.kind()),
        }
    }

    fn new(path: &Path, metadata: &Metadata) -> Self {
        let (device, inode) = (metadata.dev(), metadata.ino());
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        if metadata.is_file() {
            Self::File { device, inode, bytes: metadata.size(), modified, changed }
        } else if metadata.is_dir() {
            match entries(path) {
                Ok(entries) => Self::Directory { device, inode, modified, changed, entries },
                Err(error) => Self::Absent(error.kind()),
            }
        } else {
            Self::Other { device, inode }
        }
    }
}

fn entries(directory: &Path) -> io::Result<Digest> {
    let entries = fs::read_dir(directory)?.take(WATCHED_ENTRIES_MAX);
    let mut names =
        entries.map(|entry| entry.map(|it| it.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    let mut context = Context::new(&SHA256);
    for name in &names {
        context.update(name.as_bytes());
        // No name holds it, so no two lists of names look the same.
        context.update(b"/");
    }
    Ok(output(&context.finish()))
}

fn output(digest: &aws_lc_rs::digest::Digest) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Input {
    identity: Identity,
    /// `None` where it could not be read.
    digest: Option<Digest>,
}

/// The files and directories of one load, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs(BTreeMap<PathBuf, Input>);

impl Inputs {
    /// Notes what was read from a path, `None` where that failed. `identity` is from before.
    ///
    /// Of a path that is read twice in one load the first stays: if the file changed in between,
    /// it is no longer what it was.
    pub fn record(&mut self, path: &Path, identity: Identity, bytes: Option<&[u8]>) {
        let digest = bytes.map(|bytes| output(&digest(&SHA256, bytes)));
        self.0.entry(path.to_path_buf()).or_insert(Input { identity, digest });
    }

    /// What each path led to when it was read.
    pub fn identities(&self) -> Vec<Identity> {
        self.0.values().map(|input| input.identity.clone()).collect()
    }

    /// What each path leads to now, in the same order.
    pub fn look(&self) -> Vec<Identity> {
        self.0.keys().map(|path| Identity::of(path)).collect()
    }

    /// The paths whose bytes differ from those in `other`, or that only one of them has.
    pub fn differing(&self, other: &Self) -> Vec<PathBuf> {
        let digest_in =
            |inputs: &Self, path: &Path| inputs.0.get(path).and_then(|input| input.digest);
        let gone = other.0.keys().filter(|path| !self.0.contains_key(*path));
        let differs = |path: &&PathBuf| {
            !other.0.contains_key(*path) || digest_in(self, path) != digest_in(other, path)
        };
        let mut paths: Vec<PathBuf> = self.0.keys().filter(differs).chain(gone).cloned().collect();
        paths.sort_unstable();
        paths
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::control::kit::Folder;

    #[test]
    fn a_file_keeps_its_identity_until_something_of_it_changes() {
        let folder = Folder::new("identity");
        let path = folder.write("a", "one");
        let before = Identity::of(&path);
        assert!(matches!(before, Identity::File { bytes: 3, .. }), "{before:?}");
        assert_eq!(fs::read(&path).expect("ours"), b"one");
        assert_eq!(Identity::of(&path), before, "reading changes nothing");
        folder.write("a", "four");
        assert_ne!(Identity::of(&path), before);
        fs::rename(folder.write("b", "four"), &path).expect("ours");
        let renamed = Identity::of(&path);
        fs::rename(folder.write("b", "four"), &path).expect("ours");
        assert_ne!(Identity::of(&path), renamed, "another file of the same size");
        fs::remove_file(&path).expect("ours");
        assert_eq!(Identity::of(&path), Identity::Absent(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_link_in_the_middle_of_a_path_that_is_swapped_changes_the_identity() {
        let folder = Folder::new("swap");
        let version = |name: &str| {
            fs::create_dir(folder.0.join(name)).expect("a folder");
            folder.write(&format!("{name}/tls.key"), "same bytes");
            symlink(name, folder.0.join("..new")).expect("a link");
            fs::rename(folder.0.join("..new"), folder.0.join("..data")).expect("ours");
        };
        version("..1");
        symlink("..data/tls.key", folder.0.join("tls.key")).expect("a link");
        let before = Identity::of(&folder.0.join("tls.key"));
        assert!(matches!(before, Identity::File { .. }));
        version("..2");
        assert_ne!(Identity::of(&folder.0.join("tls.key")), before);
    }

    #[test]
    fn a_directory_is_its_entries() {
        let folder = Folder::new("entries");
        folder.write("a", "one");
        let before = Identity::of(&folder.0);
        assert!(matches!(before, Identity::Directory { .. }));
        assert_eq!(Identity::of(&folder.0), before);
        folder.write("b", "two");
        let both = Identity::of(&folder.0);
        assert_ne!(both, before);
        fs::rename(folder.0.join("b"), folder.0.join("c")).expect("ours");
        assert_ne!(Identity::of(&folder.0), both);
        let digests = |folder: &Path| entries(folder).expect("a directory");
        let named = digests(&folder.0);
        fs::remove_file(folder.0.join("c")).expect("ours");
        assert_ne!(digests(&folder.0), named, "whatever its times say");
    }

    #[test]
    fn what_differs_is_told_by_content_and_not_by_time() {
        let [a, b, c] = ["/a", "/b", "/c"].map(Path::new);
        let other = |inode| Identity::Other { device: 1, inode };
        let inputs = |files: &[(&Path, u64, Option<&[u8]>)]| {
            let mut inputs = Inputs::default();
            for (path, inode, bytes) in files {
                inputs.record(path, other(*inode), *bytes);
            }
            inputs
        };
        let before = inputs(&[(a, 1, Some(b"one")), (b, 2, Some(b"two"))]);
        assert!(
            inputs(&[(a, 7, Some(b"one")), (b, 8, Some(b"two"))]).differing(&before).is_empty()
        );
        assert_eq!(inputs(&[(a, 1, Some(b"1")), (b, 2, Some(b"two"))]).differing(&before), [a]);
        assert_eq!(inputs(&[(a, 1, Some(b"one")), (b, 2, None)]).differing(&before), [b]);
        assert_eq!(inputs(&[(c, 3, None), (a, 1, Some(b"one"))]).differing(&before), [b, c]);
        let twice = inputs(&[(a, 1, Some(b"one")), (b, 2, Some(b"two")), (a, 9, Some(b"new"))]);
        assert_eq!(twice, before, "the first reading stays");
    }
}
