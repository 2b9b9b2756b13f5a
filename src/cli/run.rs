//! `ringfort run`: what the command line says, as a configuration.
//!
//! The flags are a quick start: they build the same [`Model`] as a file does, so that there is one
//! meaning, one set of defaults and one set of refusals.

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use signal_hook::iterator::Signals;
use toml::Spanned;

use crate::config::error::{ConfigError, Source};
use crate::config::model::{Certificate, Listener, Log, Model, OneOrMore, Text, Texts, Upstream};
use crate::control::admin::{self, Admin};
use crate::control::load::{self, Configuration, Loaded};
use crate::control::reload::Reloader;
use crate::control::signals::{self, Ended};
use crate::control::supervisor::{Gateway, StartError};

/// The name of the one listener and of the one upstream that flags describe.
const QUICK_START_NAME: &str = "main";

/// The arguments of `run`, and of `check`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// Configuration file (TOML); docs/configuration.md is its reference
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_all = ["listen", "to", "cert", "key"],
        conflicts_with_all = [
            "listen", "protocol", "to", "cert", "key",
            "client_ca", "client_auth", "allow", "deny", "crl",
            "resumption", "ticket_secret", "crypto",
            "workers", "cpus", "log",
        ]
    )]
    pub config: Option<PathBuf>,

    /// Address to listen on, as `listener.address` of the configuration writes it.
    #[arg(
        long,
        value_name = "ADDRESS",
        help = r#"Address to listen on: ":8443", "127.0.0.1:8443", "[::1]:8443""#
    )]
    pub listen: Option<String>,

    /// What is spoken inside TLS: tcp, or http for HTTP/1.1 and HTTP/2 [default: tcp]
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,

    /// Where to relay to: "127.0.0.1:9000", "app.internal:9000", "unix:/run/app.sock"; repeatable
    #[arg(long, value_name = "ENDPOINT")]
    pub to: Vec<String>,

    /// The server's certificate chain (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<String>,

    /// The server's private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,

    /// Root certificates of the clients (PEM); repeatable
    #[arg(long, value_name = "FILE")]
    pub client_ca: Vec<String>,

    /// Whether clients must present a certificate: require, optional or off [default: require]
    #[arg(long, value_name = "MODE")]
    pub client_auth: Option<String>,

    /// Admit only clients that match, such as "dns:client.example.org"; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub allow: Vec<String>,

    /// Refuse clients that match, even where --allow admits them; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub deny: Vec<String>,

    /// Lists of revoked client certificates (PEM or DER), or folders of them; repeatable
    #[arg(long, value_name = "FILE")]
    pub crl: Vec<String>,

    /// Whether and where TLS sessions are kept: cache, tickets or off [default: off]
    #[arg(long, value_name = "MODE")]
    pub resumption: Option<String>,

    /// The secret that gateways share to resume each other's sessions; with --resumption tickets
    #[arg(long, value_name = "FILE")]
    pub ticket_secret: Option<String>,

    /// Crypto backend: aws-lc-rs, ring, graviola, openssl, rustcrypto or fips, as far as compiled
    /// in [default: aws-lc-rs]
    #[arg(long, value_name = "BACKEND")]
    pub crypto: Option<String>,

    /// Worker threads [default: one per usable CPU]
    #[arg(long, value_name = "N")]
    pub workers: Option<i64>,

    /// CPUs to pin the workers to: "0-3,8"
    #[arg(long, value_name = "LIST")]
    pub cpus: Option<String>,

    /// Where log lines go: stderr, off, or a path with a "/" in it [default: stderr]
    #[arg(long, value_name = "TARGET")]
    pub log: Option<String>,
}

/// Runs the gateway until a signal ends it; the exit status tells how it ended.
pub fn run(args: &RunArgs) -> ExitCode {
    let mut signals = match signals::catch_requests() {
        Ok(signals) => signals,
        Err(error) => return fail(&StartError::Resources(error)),
    };
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(errors) => return refuse(&errors),
    };
    for warning in &loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    let probes = loaded.snapshot.listeners.iter().map(|listener| load::probe_address(listener));
    let taken: Vec<ConfigError> = probes.filter_map(Result::err).collect();
    if !taken.is_empty() {
        return refuse(&taken);
    }
    let admin = match admin::bind(&loaded.snapshot) {
        Ok(admin) => admin,
        Err(error) => return refuse(&[error]),
    };
    match start(args.configuration(), loaded, admin, &mut signals) {
        Ok(ended) => ExitCode::from(ended.exit_status()),
        Err(error) => fail(&error),
    }
}

fn fail(error: &StartError) -> ExitCode {
    say(&format!("error: {error}"));
    ExitCode::FAILURE
}

/// A standard error that is closed must not stop a gateway, as `eprintln!` would.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        say(&error.to_string());
    }
    ExitCode::FAILURE
}

fn start(
    configuration: Configuration,
    loaded: Loaded,
    admin: Option<TcpListener>,
    signals: &mut Signals,
) -> Result<Ended, StartError> {
    // Before the workers: a signal that comes while they start must not be missed.
    signals::catch_ends(signals).map_err(StartError::Resources)?;
    let admin = admin.map(|listener| Admin::start(listener, &loaded.snapshot)).transpose();
    let admin = admin.map_err(StartError::Resources)?;
    let mut gateway = Gateway::start(loaded.snapshot)?;
    let listeners = gateway.snapshot().listeners.iter().zip(gateway.addresses());
    let listening: Vec<_> = listeners
        .map(|(listener, address)| {
            let crypto = listener.crypto.name();
            let protocol = if listener.http.is_some() { "http" } else { "tcp" };
            json!({
                "name": &*listener.name, "address": address, "protocol": protocol, "crypto": crypto,
            })
        })
        .collect();
    let started = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "cpus": gateway.cpus(),
        "listeners": listening,
        "connections_max": gateway.snapshot().limits.connections_max,
    });
    gateway.log().event("start", &started);
    let in_force = Arc::clone(gateway.snapshot());
    let reloader = Reloader::start(configuration, loaded.inputs, in_force);
    let reloader = reloader.map_err(StartError::Resources)?;
    signals::supervise(gateway, signals, Some(reloader), admin).map_err(StartError::Resources)
}

impl RunArgs {
    /// The configuration that the arguments stand for; reads the file where one is named.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or breaks the schema.
    pub fn model(&self) -> Result<Model, ConfigError> {
        match &self.config {
            Some(path) => load::read_model(path),
            None => Ok(self.model_of_flags()),
        }
    }

    /// Loads all that the arguments name.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn load(&self) -> Result<Loaded, Vec<ConfigError>> {
        load::load(&self.configuration())
    }

    /// The same without asking for the addresses of upstreams.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn load_unresolved(&self) -> Result<Loaded, Vec<ConfigError>> {
        load::load_unresolved(&self.configuration())
    }

    /// What is read again at a reload.
    fn configuration(&self) -> Configuration {
        match &self.config {
            Some(path) => Configuration::File(path.clone()),
            None => Configuration::Flags(Box::new(self.model_of_flags())),
        }
    }

    fn model_of_flags(&self) -> Model {
        let mut source = Source::default();
        let listener = Listener {
            name: Some(Spanned::new(source.flag("--listen"), QUICK_START_NAME.to_string())),
            address: text(&mut source, "--listen", self.listen.as_ref()),
            protocol: text(&mut source, "--protocol", self.protocol.as_ref()),
            upstream: Some(Spanned::new(source.flag("--to"), QUICK_START_NAME.to_string())),
            client_auth: text(&mut source, "--client-auth", self.client_auth.as_ref()),
            client_ca: texts(&mut source, "--client-ca", &self.client_ca)
                .map(|files| Spanned::new(files.span(), OneOrMore::More(files.into_inner()))),
            allow: texts(&mut source, "--allow", &self.allow),
            deny: texts(&mut source, "--deny", &self.deny),
            client_crl: texts(&mut source, "--crl", &self.crl)
                .map(|files| Spanned::new(files.span(), OneOrMore::More(files.into_inner()))),
            resumption: text(&mut source, "--resumption", self.resumption.as_ref()),
            ticket_secret: text(&mut source, "--ticket-secret", self.ticket_secret.as_ref()),
            crypto: text(&mut source, "--crypto", self.crypto.as_ref()),
            certificate: vec![Spanned::new(
                source.flag("--cert"),
                Certificate {
                    chain: text(&mut source, "--cert", self.cert.as_ref()),
                    key: text(&mut source, "--key", self.key.as_ref()),
                },
            )],
            ..Listener::default()
        };
        let upstream = Upstream {
            name: Some(Spanned::new(source.flag("--to"), QUICK_START_NAME.to_string())),
            endpoints: texts(&mut source, "--to", &self.to),
            ..Upstream::default()
        };
        Model {
            workers: self.workers.map(|count| Spanned::new(source.flag("--workers"), count)),
            cpus: text(&mut source, "--cpus", self.cpus.as_ref()),
            log: Log { target: text(&mut source, "--log", self.log.as_ref()) },
            listener: vec![Spanned::new(0..0, listener)],
            upstream: vec![Spanned::new(0..0, upstream)],
            source,
            ..Model::default()
        }
    }
}

fn text(source: &mut Source, flag: &'static str, value: Option<&String>) -> Option<Text> {
    value.map(|value| Spanned::new(source.flag(flag), value.clone()))
}

/// A list, or nothing where the flag was not given.
fn texts(source: &mut Source, flag: &'static str, values: &[String]) -> Option<Texts> {
    let span = source.flag(flag);
    let texts: Vec<Text> =
        values.iter().map(|value| Spanned::new(span.clone(), value.clone())).collect();
    Some(Spanned::new(span, texts)).filter(|texts| !texts.get_ref().is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Command {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parsed(line: &str) -> Result<RunArgs, clap::Error> {
        let words = std::iter::once("run").chain(line.split_whitespace());
        Command::try_parse_from(words).map(|command| command.run)
    }

    #[test]
    fn a_file_or_the_four_flags_are_needed() {
        parsed("--config r.toml").expect("a file is enough");
        let four = "--listen :8443 --to 127.0.0.1:9000 --cert c.pem --key k.pem";
        parsed(four).expect("the four flags are enough");
        for line in ["", "--listen :8443", "--to 127.0.0.1:9000 --cert c.pem --key k.pem"] {
            let error = parsed(line).expect_err(line);
            assert_eq!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument, "{line}");
        }
    }

    #[test]
    fn a_file_and_flags_conflict() {
        for flag in [
            "--listen :1",
            "--protocol http",
            "--to a:1",
            "--cert c",
            "--key k",
            "--client-ca c",
            "--client-auth off",
            "--allow any",
            "--deny any",
            "--crl c",
            "--resumption off",
            "--ticket-secret t",
            "--crypto ring",
            "--workers 1",
            "--cpus 0",
            "--log off",
        ] {
            let error = parsed(&format!("--config r.toml {flag}")).expect_err(flag);
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{flag}");
        }
    }

    #[test]
    fn each_flag_reaches_the_model() {
        let model = parsed(
            "--listen :8443 --protocol http --to 127.0.0.1:9000 --to b:1 --cert c.pem --key k.pem \
             --client-ca ca1.pem --client-ca ca2.pem --client-auth optional --allow any \
             --allow dns:a.test --deny dns:b.test --deny email:*@c --crypto ring --workers 3 \
             --crl a.crl --crl b --resumption tickets --ticket-secret t \
             --cpus 0-3 --log off",
        )
        .and_then(|args| args.model().map_err(|_| clap::Error::new(clap::error::ErrorKind::Io)))
        .expect("the flags are right");
        let plain = |text: &Option<Text>| text.as_ref().map(|text| text.get_ref().clone());
        let list = |texts: &Option<Texts>| {
            let texts = texts.as_ref().map(|texts| texts.get_ref().as_slice()).unwrap_or(&[]);
            texts.iter().map(|text| text.get_ref().clone()).collect::<Vec<_>>()
        };
        let listener = model.listener[0].get_ref();
        let upstream = model.upstream[0].get_ref();
        let certificate = listener.certificate[0].get_ref();
        assert_eq!(plain(&listener.address).as_deref(), Some(":8443"));
        assert_eq!(plain(&listener.protocol).as_deref(), Some("http"));
        assert_eq!(plain(&listener.upstream), plain(&upstream.name));
        assert_eq!(plain(&listener.client_auth).as_deref(), Some("optional"));
        assert_eq!(list(&listener.allow), ["any", "dns:a.test"]);
        assert_eq!(list(&listener.deny), ["dns:b.test", "email:*@c"]);
        let crl = listener.client_crl.as_ref().expect("two files");
        assert!(matches!(crl.get_ref(), OneOrMore::More(files) if files.len() == 2));
        assert_eq!(plain(&listener.resumption).as_deref(), Some("tickets"));
        assert_eq!(plain(&listener.ticket_secret).as_deref(), Some("t"));
        assert_eq!(plain(&listener.crypto).as_deref(), Some("ring"));
        assert_eq!(plain(&certificate.chain).as_deref(), Some("c.pem"));
        assert_eq!(plain(&certificate.key).as_deref(), Some("k.pem"));
        assert_eq!(list(&upstream.endpoints), ["127.0.0.1:9000", "b:1"]);
        let client_ca = listener.client_ca.as_ref().expect("two files");
        assert!(matches!(client_ca.get_ref(), OneOrMore::More(files) if files.len() == 2));
        assert_eq!(model.workers.as_ref().map(|count| *count.get_ref()), Some(3));
        assert_eq!(plain(&model.cpus).as_deref(), Some("0-3"));
        assert_eq!(plain(&model.log.target).as_deref(), Some("off"));
    }

    #[test]
    fn a_refusal_names_the_flag() {
        let line = "--listen localhost:1 --to a --cert /none/c --key /none/k --workers 0";
        let args =
            parsed(&format!("{line} --crypto aes --protocol htp")).expect("the shape is right");
        let errors = args.load().expect_err("the values are wrong");
        let places: Vec<String> = errors.iter().map(|error| error.place.to_string()).collect();
        for flag in [
            "--listen",
            "--protocol",
            "--to",
            "--cert",
            "--key",
            "--workers",
            "--crypto",
            "command line",
        ] {
            assert!(places.iter().any(|place| place == flag), "{flag} is not in {places:?}");
        }
    }
}
