//! `client_crl`, and the keys that go with it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::KeyLog;

use super::refusal;
use crate::config::kit::{self, MemoryFiles, NOW_UNIX_S, but};
use crate::config::model;
use crate::config::resolve::{Belongs, Context, FileSource, resolve};
use crate::config::snapshot::Snapshot;

/// Files in memory that count how often each is read.
struct Counting {
    files: MemoryFiles,
    reads: Mutex<HashMap<PathBuf, usize>>,
}

impl Counting {
    /// What the configuration names, and a list.
    fn new() -> Self {
        let mut files = kit::files();
        files.0.insert("clients.crl".into(), kit::revocation_list(-60, 600).into());
        Self { files, reads: Mutex::default() }
    }

    fn reads_of(&self, path: &str) -> usize {
        let reads = self.reads.lock().expect("nobody has panicked");
        reads.get(Path::new(path)).copied().unwrap_or(0)
    }

    fn resolved(&self, text: &str) -> Result<Snapshot, Vec<String>> {
        let context = Context {
            files: self,
            now_unix_s: NOW_UNIX_S,
            fds_max: 65_536,
            cpus: 0,
            observer: None,
            ticket_secret: kit::ticket_secret(),
            signing_key: kit::signing_key(),
        };
        let model = model::parse(text, "r.toml").expect("it parses");
        resolve(&model, &context).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }
}

impl FileSource for Counting {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
        let mut reads = self.reads.lock().expect("nobody has panicked");
        *reads.entry(path.to_path_buf()).or_default() += 1;
        self.files.read(path, bytes_max)
    }

    fn list(&self, path: &Path, belongs: Belongs) -> Result<Option<Vec<PathBuf>>, io::Error> {
        self.files.list(path, belongs)
    }

    fn key_log(&self, path: &Path) -> Result<Arc<dyn KeyLog>, io::Error> {
        self.files.key_log(path)
    }
}

/// A configuration with a list, and with tables of two server names that inherit it.
fn two_tables(more_of_the_second: &str) -> String {
    let tables = format!(
        "[[listener.server_name]]\nnames = [\"a.example.org\"]\ndeny = [\"dns:a.test\"]\n\
         [[listener.server_name]]\nnames = [\"b.example.org\"]\ndeny = [\"dns:b.test\"]\n\
         {more_of_the_second}\n"
    );
    but("#", "client_crl = \"clients.crl\"") + &tables
}

#[test]
fn a_list_that_server_names_inherit_is_read_once_and_kept_once() {
    let files = Counting::new();
    let snapshot = files.resolved(&two_tables("")).expect("the configuration is right");
    let scopes = snapshot.listeners[0].scopes.all();
    assert_eq!(scopes.len(), 3, "the listener's own, and one for each table");
    let lists: Vec<_> = scopes.iter().flat_map(|it| it.revocation().shared_lists()).collect();
    assert_eq!(lists.len(), 3, "each has it");
    assert!(lists.iter().all(|list| Arc::ptr_eq(list, lists[0])), "it is the same");
    assert_eq!(files.reads_of("clients.crl"), 1);
}

#[test]
fn a_list_is_not_shared_with_a_server_name_whose_authorities_have_not_signed_it() {
    let files = Counting::new();
    let errors = files.resolved(&two_tables("client_ca = \"server.pem\"")).expect_err("refused");
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].contains("client_crl = \"clients.crl\" is refused: "), "{errors:#?}");
    assert_eq!(files.reads_of("clients.crl"), 2);
}

#[test]
fn what_is_said_about_lists_where_nobody_is_asked_for_a_certificate() {
    for (key, value) in [("crl_check", "leaf"), ("crl_missing", "accept"), ("crl_stale", "accept")]
    {
        let lines = format!("client_auth = \"off\"\n{key} = {value:?}");
        let text = refusal(&but("client_ca = \"clients.pem\"", &lines));
        let found = format!("{key} is set, and client_auth = \"off\" asks for no certificate");
        assert!(text.starts_with("r.toml:9:") && text.contains(&found), "{text}");
    }
}
