//! The configuration of a gateway under test, as the text of its file.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::gateway::Gateway;
use super::pki::{Credentials, pki};
use super::{free_local, temp_dir};

/// One listener and one upstream, and whatever else a test writes.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) address: SocketAddr,
    name: String,
    top: String,
    tables: String,
    listener: String,
    has_upstream: bool,
    /// The table `[listener.http]` and those of routes.
    http: String,
    upstream: String,
    endpoints: Vec<String>,
    certificates: Vec<(PathBuf, PathBuf)>,
    client_ca: Option<PathBuf>,
    more: String,
    wrapper: Vec<String>,
}

impl Setup {
    /// A listener that requires certificates of the run's root, before `endpoint`.
    pub(crate) fn to(endpoint: impl ToString) -> Self {
        Self::to_all([endpoint])
    }

    /// A listener that speaks HTTP before `endpoint`.
    pub(crate) fn http(endpoint: impl ToString) -> Self {
        Self::http_to_all([endpoint])
    }

    /// The same before several endpoints.
    pub(crate) fn http_to_all(endpoints: impl IntoIterator<Item = impl ToString>) -> Self {
        Self::to_all(endpoints).listener("protocol = \"http\"")
    }

    /// The same before several endpoints.
    pub(crate) fn to_all(endpoints: impl IntoIterator<Item = impl ToString>) -> Self {
        let server = &pki().server;
        Self {
            address: free_local(),
            name: "main".into(),
            top: String::new(),
            tables: String::new(),
            listener: String::new(),
            has_upstream: true,
            http: String::new(),
            upstream: String::new(),
            endpoints: endpoints.into_iter().map(|endpoint| endpoint.to_string()).collect(),
            certificates: vec![(server.chain_file.clone(), server.key_file.clone())],
            client_ca: Some(pki().root_file.clone()),
            more: String::new(),
            wrapper: Vec::new(),
        }
    }

    /// Lines of the top level.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        let _ = writeln!(self.top, "{lines}");
        self
    }

    /// Other endpoints than it began with.
    pub(crate) fn endpoints(mut self, endpoints: &[impl ToString]) -> Self {
        self.endpoints = endpoints.iter().map(ToString::to_string).collect();
        self
    }

    /// A table of its own: `[limits]`, `[ring]` or `[log]` with its keys.
    pub(crate) fn table(mut self, lines: &str) -> Self {
        let _ = writeln!(self.tables, "{lines}");
        self
    }

    /// Keys of the listener.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        let _ = writeln!(self.listener, "{lines}");
        self
    }

    /// Takes back a key of the listener.
    pub(crate) fn without_listener_line(mut self, key: &str) -> Self {
        let is_other = |line: &&str| !line.starts_with(key);
        self.listener =
            self.listener.lines().filter(is_other).map(|it| format!("{it}\n")).collect();
        self
    }

    /// Leaves the listener's upstream to its routes.
    pub(crate) fn without_upstream(self) -> Self {
        Self { has_upstream: false, ..self }
    }

    /// The listener's name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Keys of `[listener.http]`; before any route.
    pub(crate) fn http_keys(mut self, lines: &str) -> Self {
        if self.http.is_empty() {
            self.http.push_str("[listener.http]\n");
        }
        let _ = writeln!(self.http, "{lines}");
        self
    }

    /// A route of the listener with these keys.
    pub(crate) fn route(mut self, lines: &str) -> Self {
        let _ = writeln!(self.http, "[[listener.route]]\n{lines}");
        self
    }

    /// Keys of the upstream.
    pub(crate) fn upstream(mut self, lines: &str) -> Self {
        let _ = writeln!(self.upstream, "{lines}");
        self
    }

    /// The address to listen on.
    pub(crate) fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The server's certificates, in place of the usual one.
    pub(crate) fn certificates(mut self, certificates: &[&Credentials]) -> Self {
        self.certificates = certificates
            .iter()
            .map(|certificate| (certificate.chain_file.clone(), certificate.key_file.clone()))
            .collect();
        self
    }

    /// A server's certificate and key by their files, in place of the usual ones.
    pub(crate) fn certificate_files(mut self, chain: &Path, key: &Path) -> Self {
        self.certificates = vec![(chain.to_path_buf(), key.to_path_buf())];
        self
    }

    /// The clients' root in place of the usual one; `None` leaves the key out.
    pub(crate) fn client_ca(mut self, file: Option<&Path>) -> Self {
        self.client_ca = file.map(Path::to_path_buf);
        self
    }

    /// Text behind everything else: further listeners and upstreams.
    pub(crate) fn more(mut self, text: &str) -> Self {
        let _ = writeln!(self.more, "{text}");
        self
    }

    /// Runs the gateway under another program, such as taskset.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Writes the file.
    pub(crate) fn write(&self) -> PathBuf {
        self.write_with("")
    }

    /// The same, with more lines of the top level and tables of it.
    pub(crate) fn write_with(&self, lines: &str) -> PathBuf {
        let path = temp_dir().join("ringfort.toml");
        std::fs::write(&path, self.text(lines)).expect("a temporary file");
        path
    }

    /// Writes the file in place of one that a gateway runs with, by renaming.
    pub(crate) fn write_to(&self, path: &Path) {
        std::fs::rename(self.write(), path).expect("both are in the target folder");
    }

    /// Starts a gateway and waits until it listens.
    pub(crate) fn start(&self) -> Gateway {
        let file = self.write();
        Gateway::start(&self.wrapper, &["--config", &file.display().to_string()])
    }

    /// Runs a gateway that must refuse to start; returns what it says.
    pub(crate) fn refused(&self) -> String {
        let file = self.write();
        Gateway::refused(&self.wrapper, &["--config", &file.display().to_string()])
    }

    fn text(&self, lines: &str) -> String {
        let mut text = format!("{}{lines}{}", self.top, self.tables);
        let _ = write!(
            text,
            "[[upstream]]\nname = \"app\"\nendpoints = {:?}\n{}\
             [[listener]]\nname = {:?}\naddress = \"{}\"\n{}{}",
            self.endpoints,
            self.upstream,
            self.name,
            self.address,
            if self.has_upstream { "upstream = \"app\"\n" } else { "" },
            self.listener
        );
        if let Some(file) = &self.client_ca {
            let _ = writeln!(text, "client_ca = \"{}\"", file.display());
        }
        for (chain, key) in &self.certificates {
            let _ = write!(
                text,
                "[[listener.certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
                chain.display(),
                key.display()
            );
        }
        text + &self.http + &self.more
    }
}
