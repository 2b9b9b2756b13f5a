//! `ringfort pki`: certificates for trials and tests.
//!
//! Not a certification authority to run a service on: keys lie unencrypted in files, and nothing
//! is recorded, neither what was issued nor what was revoked. The library part is [`Authority`];
//! this file is the command line.

mod authority;
mod output;
mod pem;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use authority::{Authority, IssueError, Issued, KeyChoice, Names, Profile, Validity};
pub use output::Written;
pub(super) use output::write_pair;

use crate::limits::PEM_BYTES_MAX;

const CA_DAYS_DEFAULT: u32 = 3650;
const LEAF_DAYS_DEFAULT: u32 = 90;
const CRL_DAYS_DEFAULT: u32 = 7;

/// Make certificates for trials and tests.
#[derive(Clone, Debug, Args)]
pub struct PkiArgs {
    #[command(subcommand)]
    command: PkiCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum PkiCommand {
    #[command(flatten)]
    Issue(IssueCommand),
    /// Make a certificate revocation list.
    Crl(CrlArgs),
}

#[derive(Clone, Debug, Subcommand)]
enum IssueCommand {
    /// Make a root authority.
    Ca(CaArgs),
    /// Make an authority below another one.
    Intermediate(IntermediateArgs),
    /// Issue a certificate for a TLS server.
    Server(ServerArgs),
    /// Issue a certificate for a TLS client.
    Client(ClientArgs),
}

#[derive(Clone, Debug, Args)]
struct CaArgs {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
struct IntermediateArgs {
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
struct ServerArgs {
    #[command(flatten)]
    issuer: IssuerArgs,
    #[command(flatten)]
    names: ServerNames,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
struct ClientArgs {
    #[command(flatten)]
    issuer: IssuerArgs,
    /// The SPIFFE ID of the client, such as spiffe://example.org/client-1.
    #[arg(long, value_name = "ID")]
    spiffe: Option<String>,
    /// A DNS name of the client. May be repeated.
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// A mail address of the client. May be repeated.
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// An IP address of the client. May be repeated.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
struct CrlArgs {
    #[command(flatten)]
    issuer: IssuerArgs,
    /// The certificates to revoke: the first of each file. Each list has to name all of them, for
    /// earlier ones are not recorded.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    revoke: Vec<PathBuf>,
    /// The name of the file NAME.crl.
    #[arg(long)]
    name: String,
    /// The directory to write into. It is made where it does not exist.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Days until the next list is due: 7 by default.
    #[arg(long, value_name = "DAYS", default_value_t = CRL_DAYS_DEFAULT, hide_default_value = true)]
    days: u32,
    /// Replace NAME.crl where it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
struct ServerNames {
    /// A DNS name of the server; its first label may be '*'. May be repeated.
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// An IP address of the server. May be repeated.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
}

#[derive(Clone, Debug, Args)]
struct IssuerArgs {
    /// The certificate of the issuing authority, followed by those above it.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The private key of the issuing authority.
    #[arg(long, value_name = "FILE")]
    ca_key: PathBuf,
}

#[derive(Clone, Debug, Args)]
struct OutputArgs {
    /// The common name, and the name of the files NAME.pem and NAME.key.
    #[arg(long)]
    name: String,
    /// The directory to write into. It is made where it does not exist.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Days until the certificate expires: 3650 for authorities and 90 for others by default.
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,
    /// The type of the key to make.
    #[arg(long, value_enum, default_value_t)]
    key_type: KeyChoice,
    /// Replace NAME.pem and NAME.key where they exist.
    #[arg(long)]
    force: bool,
}

/// Why `ringfort pki` wrote no files.
#[derive(Debug)]
pub enum PkiError {
    /// `--name` cannot be the name of a file.
    FileName(String),
    /// A file of the issuer cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The files of the issuer cannot issue.
    Issuer {
        /// The file with the certificate, or with the key where that is at fault.
        path: PathBuf,
        /// What is wrong with it.
        source: IssueError,
    },
    /// The certificate of this file cannot be revoked.
    Revoke {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IssueError,
    },
    /// The certificate that was asked for cannot be issued.
    Issue(IssueError),
    /// A file exists and `--force` was not given.
    Exists(PathBuf),
    /// Something other than a regular file has the name of a file to replace.
    NotAFile(PathBuf),
    /// A file cannot be written.
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs `ringfort pki`, and says on standard error what was written and what it is good for.
///
/// # Errors
///
/// A [`PkiError`]; no new file remains then.
pub fn run(args: &PkiArgs) -> Result<(), PkiError> {
    let now = SystemTime::now();
    let written = match &args.command {
        PkiCommand::Issue(command) => execute(command, now)?,
        PkiCommand::Crl(args) => {
            let list = args.execute(now)?;
            eprintln!(
                "wrote {}\nIt revokes {} certificates, and no others: name all of them each time.",
                list.display(),
                args.revoke.len()
            );
            return Ok(());
        }
    };
    eprintln!(
        "wrote {} and {}\nThese are for tests and trials: the key is not encrypted, and nothing \
         is recorded. Do not run a service on them.",
        written.certificates.display(),
        written.key.display()
    );
    Ok(())
}

fn execute(command: &IssueCommand, now: SystemTime) -> Result<Written, PkiError> {
    match command {
        IssueCommand::Ca(args) => {
            let profile = args.output.profile(now, CA_DAYS_DEFAULT)?;
            let made = Authority::root(&profile).map_err(PkiError::Issue)?;
            args.output.write(&made.chain_pem(), &made.key_pem())
        }
        IssueCommand::Intermediate(args) => {
            let profile = args.output.profile(now, CA_DAYS_DEFAULT)?;
            let made = args.issuer.read()?.intermediate(&profile);
            let made = made.map_err(|source| args.issuer.blame(source))?;
            args.output.write(&made.chain_pem(), &made.key_pem())
        }
        IssueCommand::Server(args) => {
            let profile = args.output.profile(now, LEAF_DAYS_DEFAULT)?;
            let names = Names {
                dns: args.names.dns.clone(),
                ip_addresses: args.names.ip.clone(),
                ..Names::default()
            };
            let made = args.issuer.read()?.issue_server(&profile, &names);
            let made = made.map_err(|source| args.issuer.blame(source))?;
            args.output.write(&made.chain_pem(), &made.key_pem())
        }
        IssueCommand::Client(args) => {
            let profile = args.output.profile(now, LEAF_DAYS_DEFAULT)?;
            let names = Names {
                spiffe: args.spiffe.clone(),
                dns: args.dns.clone(),
                emails: args.email.clone(),
                ip_addresses: args.ip.clone(),
            };
            let made = args.issuer.read()?.issue_client(&profile, &names);
            let made = made.map_err(|source| args.issuer.blame(source))?;
            args.output.write(&made.chain_pem(), &made.key_pem())
        }
    }
}

impl OutputArgs {
    fn profile(&self, now: SystemTime, days_default: u32) -> Result<Profile, PkiError> {
        check_file_name(&self.name)?;
        let days = self.days.unwrap_or(days_default);
        Ok(Profile {
            common_name: self.name.clone(),
            key: self.key_type,
            validity: Validity::days(now, days).map_err(PkiError::Issue)?,
        })
    }

    fn write(&self, certificates_pem: &str, key_pem: &str) -> Result<Written, PkiError> {
        output::write_pair(&self.out, &self.name, certificates_pem, key_pem, self.force)
    }
}

fn check_file_name(name: &str) -> Result<(), PkiError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(PkiError::FileName(name.to_owned()))
}

impl CrlArgs {
    fn execute(&self, now: SystemTime) -> Result<PathBuf, PkiError> {
        check_file_name(&self.name)?;
        let authority = self.issuer.read()?;
        let mut revoked = Vec::new();
        for path in &self.revoke {
            let certificate = CertificateDer::from_pem_slice(&read(path)?);
            let certificate = certificate.map_err(|_| self.blame(path, IssueError::NoCertificate));
            revoked.push(certificate?);
        }
        let list = authority.revocation_list(&revoked, now, self.days);
        let list = list.map_err(|source| match source {
            IssueError::NotIssued(index) => self.blame(&self.revoke[index], source),
            source => self.issuer.blame(source),
        })?;
        output::write_one(&self.out, &format!("{}.crl", self.name), &pem::list(&list), self.force)
    }

    fn blame(&self, path: &Path, source: IssueError) -> PkiError {
        PkiError::Revoke { path: path.to_owned(), source }
    }
}

impl IssuerArgs {
    fn read(&self) -> Result<Authority, PkiError> {
        let (certificates, key) = (read(&self.ca)?, read(&self.ca_key)?);
        Authority::from_pem(&certificates, &key).map_err(|source| self.blame(source))
    }

    /// Names the file that `source` is about, where it is about the issuer.
    fn blame(&self, source: IssueError) -> PkiError {
        let path = match source {
            IssueError::IssuerKey | IssueError::IssuerKeyOfAnother => &self.ca_key,
            IssueError::IssuerCertificate
            | IssueError::NotAnAuthority
            | IssueError::PathLength
            | IssueError::IssuerName
            | IssueError::MayNotRevoke
            | IssueError::IssuerExpired => &self.ca,
            _ => return PkiError::Issue(source),
        };
        PkiError::Issuer { path: path.clone(), source }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    let error = |source| PkiError::Read { path: path.to_owned(), source };
    let mut content = Vec::new();
    let bound = PEM_BYTES_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(bound).read_to_end(&mut content)).map_err(error)?;
    if content.len() > PEM_BYTES_MAX {
        let what = format!("it has more than {PEM_BYTES_MAX} bytes; expected a small PEM file");
        return Err(error(io::Error::other(what)));
    }
    Ok(content)
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileName(found) => write!(
                f,
                "found --name {found:?}; expected letters, digits, '.', '-' and '_', beginning \
                 with a letter or digit, such as client-1"
            ),
            Self::Read { path, source } => write!(f, "{}: cannot read: {source}", path.display()),
            Self::Issuer { path, source } | Self::Revoke { path, source } => {
                write!(f, "{}: {source}", path.display())
            }
            Self::Issue(source) => write!(f, "{source}"),
            Self::Exists(path) => write!(
                f,
                "{}: exists already; expected a new name, or --force to replace it",
                path.display()
            ),
            Self::NotAFile(path) => write!(
                f,
                "{}: is not a regular file; expected one, or nothing, to replace",
                path.display()
            ),
            Self::Write { path, source } => write!(f, "{}: cannot write: {source}", path.display()),
        }
    }
}

impl std::error::Error for PkiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::Issuer { source, .. } | Self::Revoke { source, .. } | Self::Issue(source) => {
                Some(source)
            }
            Self::FileName(_) | Self::Exists(_) | Self::NotAFile(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
