//! Keys that name files, or folders of files.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{Belongs, Complaint, Resolver};
use crate::config::model::{OneOrMore, Text};
use crate::limits::{CA_DIRECTORY_FILES_MAX, CLIENT_CA_FILES_MAX, PEM_BYTES_MAX};

/// A file that a key names, or that is in a folder that it names.
pub(super) struct NamedFile {
    text: Text,
    path: PathBuf,
    in_folder: bool,
}

impl NamedFile {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Resolver<'_> {
    /// The files that a key names; of folders those that `belongs` takes by their names. Where
    /// `expected` says what a folder holds, an empty one is refused.
    pub(super) fn files(
        &mut self,
        key: &'static str,
        written: &Spanned<OneOrMore>,
        expected: Option<&str>,
        belongs: Belongs,
    ) -> Option<Vec<NamedFile>> {
        let texts: Vec<Text> = match written.get_ref() {
            OneOrMore::One(file) => vec![Spanned::new(written.span(), file.clone())],
            OneOrMore::More(files) => files.clone(),
        };
        if texts.is_empty() || texts.len() > CLIENT_CA_FILES_MAX {
            let found = format!("{key} lists {} files", texts.len());
            let expected = format!("1 to {CLIENT_CA_FILES_MAX}");
            self.refuse(&written.span(), &found, &expected, "join them, or name at least one");
            return None;
        }
        self.refuse_duplicates(key, texts.iter());
        let (mut files, mut complete) = (Vec::new(), true);
        for text in texts {
            match self.list(key, &text, expected, belongs) {
                Some(listed) => files.extend(listed),
                None => complete = false,
            }
        }
        complete.then_some(files)
    }

    fn list(
        &mut self,
        key: &'static str,
        text: &Text,
        expected: Option<&str>,
        belongs: Belongs,
    ) -> Option<Vec<NamedFile>> {
        let path = self.path(key, text)?;
        match self.context.files.list(&path, belongs) {
            Ok(None) => Some(vec![NamedFile { text: text.clone(), path, in_folder: false }]),
            Ok(Some(files)) => {
                if let (true, Some(expected)) = (files.is_empty(), expected) {
                    let found = "is a folder without such files";
                    let fix = "put the files into it, or name them";
                    self.complain(key, text, Complaint::new(found, expected, fix));
                    return None;
                }
                let file = |path| NamedFile { text: text.clone(), path, in_folder: true };
                Some(files.into_iter().map(file).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let complaint = Complaint::new(
                    "is a folder with too many files",
                    format!("at most {CA_DIRECTORY_FILES_MAX}"),
                    "check that this is the right folder; join several into one file",
                );
                self.complain(key, text, complaint);
                None
            }
            Err(error) => {
                self.refuse_unread(key, text, &path, &error, PEM_BYTES_MAX);
                None
            }
        }
    }

    /// The bytes of such a file.
    pub(super) fn read_file(
        &mut self,
        key: &'static str,
        file: &NamedFile,
        bytes_max: usize,
    ) -> Option<Vec<u8>> {
        self.read_at(key, &file.text, &file.path, bytes_max)
    }

    /// Complains about what such a file holds.
    pub(super) fn complain_of(&mut self, key: &str, file: &NamedFile, complaint: Complaint) {
        let found = match file.in_folder {
            true => format!("has {:?}, which {}", file.path, complaint.found),
            false => complaint.found,
        };
        self.complain(key, &file.text, Complaint { found, ..complaint });
    }
}

/// Whether a file of a folder is one of certificates by its name: `x.pem`, `x.crt`, `x.cer`, or the
/// hash of a subject, `0a1b2c3d.0` (openssl-rehash(1)).
pub(super) fn holds_certificates(path: &Path) -> bool {
    ends_in(path, &["pem", "crt", "cer"]) || is_hashed(path, "")
}

/// Whether it is one of lists of revocation: `x.crl`, `x.pem`, `x.der`, or `0a1b2c3d.r0`.
pub(super) fn holds_lists(path: &Path) -> bool {
    ends_in(path, &["crl", "pem", "der"]) || is_hashed(path, "r")
}

fn part(part: Option<&OsStr>) -> &str {
    part.and_then(OsStr::to_str).unwrap_or_default()
}

fn ends_in(path: &Path, known: &[&str]) -> bool {
    known.iter().any(|known| part(path.extension()).eq_ignore_ascii_case(known))
}

fn is_hashed(path: &Path, prefix: &str) -> bool {
    let stem = part(path.file_stem());
    let is_hash = stem.len() == 8 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = part(path.extension()).strip_prefix(prefix).unwrap_or_default();
    is_hash && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
