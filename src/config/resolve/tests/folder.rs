//! `client_ca` as a folder.

use std::path::Path;

use super::refusal;
use crate::config::kit::{self, but, files, resolved_with};

/// A folder `roots` with these files.
fn folder(names: &[(&str, &str)]) -> kit::MemoryFiles {
    let mut files = files();
    for (name, of) in names {
        let bytes = files.0[Path::new(of)].clone();
        files.0.insert(Path::new("roots").join(name), bytes);
    }
    files
}

/// The number of roots of the listener whose `client_ca` is the folder.
fn roots(files: &kit::MemoryFiles) -> Result<usize, Vec<String>> {
    let snapshot = resolved_with(&but("clients.pem", "roots"), files, 65_536)?;
    let verifier = snapshot.listeners[0].scopes.default.verifier().expect("clients are asked");
    Ok(verifier.options().anchors.roots().len())
}

#[test]
fn a_folder_of_roots_is_read_by_the_names_of_its_files_and_each_root_once() {
    let names = ["a.pem", "b.CRT", "c.cer", "0a1b2c3d.0", "0a1b2c3d.12"];
    for name in names {
        assert_eq!(roots(&folder(&[(name, "clients.pem")])), Ok(1), "{name}");
    }
    let same = names.map(|name| (name, "clients.pem"));
    assert_eq!(roots(&folder(&same)), Ok(1));
    assert_eq!(roots(&folder(&[("a.pem", "clients.pem"), ("b.pem", "server.pem")])), Ok(2));
    // A list of revoked certificates, a text, a name too short.
    let others = ["0a1b2c3d.r0", "README", "a.key", "0a1b2c3d.", "0a1b2c.0", "pem"];
    let mut with_others = others.map(|name| (name, "text.pem")).to_vec();
    with_others.push(("a.pem", "clients.pem"));
    assert_eq!(roots(&folder(&with_others)), Ok(1));
}

#[test]
fn a_folder_of_roots_that_is_not_one_says_which_file_is_wrong() {
    let refused = |files: &[_]| roots(&folder(files)).expect_err("it must be refused");
    let errors = refused(&[("a.pem", "clients.pem"), ("b.pem", "text.pem"), ("c.pem", "cut.pem")]);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with(
            "r.toml:8:13: client_ca = \"roots\" has \"roots/b.pem\", which holds no PEM section;"
        ),
        "{errors:?}"
    );
    let errors = refused(&[("README", "text.pem")]);
    assert!(errors[0].contains("is a folder without such files; expected a folder with *.pem"));
    let crowded = refusal(&but("clients.pem", "/crowded"));
    assert!(crowded.contains("too many files; expected at most 4096"), "{crowded}");
}
