//! The keys of a listener that say who its clients are: roots, verifier, rules.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use toml::Spanned;

use super::{Complaint, Resolver, bounds, pem};
use crate::config::model::{self, OneOrMore, Text};
use crate::identity::{KeyType, Pattern};
use crate::limits::{
    ALLOW_PATTERNS_MAX, CA_DIRECTORY_FILES_MAX, CLIENT_CA_FILES_MAX, PEM_BYTES_MAX,
};
use crate::policy::Rules;
use crate::tls::verify::{ClientAuth, ClientVerifier, KeyRules, VerifierError};

/// What `client_auth` may be.
const CLIENT_AUTHS: &[(&str, ClientAuth)] = &[
    ("require", ClientAuth::Require),
    ("optional", ClientAuth::Optional),
    ("off", ClientAuth::Off),
];

/// Who may pass a listener.
pub(super) struct Clients {
    pub(super) auth: ClientAuth,
    pub(super) rules: Rules,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl Resolver<'_> {
    /// `None` where the roots are missing or broken, which was refused where it was found.
    pub(super) fn clients(
        &mut self,
        written: &Spanned<model::Listener>,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Clients> {
        let listener = written.get_ref();
        let auth = self.choice(
            listener.client_auth.as_ref(),
            "client_auth",
            CLIENT_AUTHS,
            ClientAuth::Require,
        );
        let rules = self.rules(listener);
        let key_types = self.key_types(listener);
        let chain_certificates_max =
            self.count(listener.chain_certificates_max.as_ref(), &bounds::CHAIN_CERTIFICATES_MAX);
        let rsa_bits_min =
            self.count(listener.client_rsa_bits_min.as_ref(), &bounds::CLIENT_RSA_BITS_MIN);
        if matches!(auth, ClientAuth::Off) {
            self.refuse_client_keys(listener);
        }
        if let Some(bits) = &listener.client_rsa_bits_min
            && !key_types.contains(&KeyType::Rsa)
        {
            self.refuse(
                &bits.span(),
                &format!("client_rsa_bits_min = {rsa_bits_min}, and client_key_types lacks rsa"),
                "it only where RSA keys are accepted",
                "remove it, or add \"rsa\" to `client_key_types`",
            );
        }
        let roots = match auth {
            ClientAuth::Off => {
                let verifier = WebPkiClientVerifier::no_client_auth();
                return Some(Clients { auth, rules, verifier });
            }
            ClientAuth::Require | ClientAuth::Optional => self.roots(written)?,
        };
        let keys = KeyRules { types: key_types, rsa_bits_min };
        let chain_max = chain_certificates_max as usize;
        let verifier =
            ClientVerifier::new(Arc::new(roots), auth, chain_max, keys, Arc::clone(provider));
        Some(Clients { auth, rules, verifier: self.verifier(written, verifier)? })
    }

    fn verifier(
        &mut self,
        written: &Spanned<model::Listener>,
        built: Result<ClientVerifier, VerifierError>,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        match (built, &self.context.observer) {
            (Ok(verifier), Some(observer)) => {
                Some(Arc::new(verifier.observed(Arc::clone(observer))))
            }
            (Ok(verifier), None) => Some(Arc::new(verifier)),
            (Err(error), _) => {
                self.refuse(
                    &written.span(),
                    &format!("no verifier of clients can be built: {error}"),
                    "roots and bounds with which a client can be verified",
                    "correct `client_ca` and the `client_` keys of this listener",
                );
                None
            }
        }
    }

    /// What is said about clients' certificates where none is asked for has no effect, and who
    /// wrote it believes that it has.
    fn refuse_client_keys(&mut self, listener: &model::Listener) {
        let written: [(&str, Option<Range<usize>>); 5] = [
            ("client_ca", listener.client_ca.as_ref().map(Spanned::span)),
            ("allow", listener.allow.as_ref().map(Spanned::span)),
            ("chain_certificates_max", listener.chain_certificates_max.as_ref().map(Spanned::span)),
            ("client_key_types", listener.client_key_types.as_ref().map(Spanned::span)),
            ("client_rsa_bits_min", listener.client_rsa_bits_min.as_ref().map(Spanned::span)),
        ];
        for (key, span) in written {
            if let Some(span) = span {
                self.refuse(
                    &span,
                    &format!("{key} is set, and client_auth = \"off\" asks for no certificate"),
                    "it only with \"require\" or \"optional\"",
                    &format!("remove `{key}`, or set `client_auth = \"require\"`"),
                );
            }
        }
    }

    fn rules(&mut self, listener: &model::Listener) -> Rules {
        let Some(allow) = &listener.allow else {
            return Rules::unrestricted();
        };
        let texts = allow.get_ref();
        if texts.is_empty() {
            self.refuse(
                &allow.span(),
                "allow is an empty list, which admits nobody",
                "at least one pattern",
                "add one, such as \"dns:client.example.org\"; remove `allow` to admit every \
                 verified client",
            );
        }
        if texts.len() > ALLOW_PATTERNS_MAX {
            let found = format!("allow lists {} patterns", texts.len());
            let expected = format!("at most {ALLOW_PATTERNS_MAX}");
            self.refuse(&allow.span(), &found, &expected, "use patterns with a wildcard");
        }
        self.refuse_duplicates("allow", texts.iter());
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            match text.get_ref().parse::<Pattern>() {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let complaint = Complaint::new(
                        format!("is not a pattern: {error}"),
                        "a pattern of docs/configuration.md, such as \"dns:client.example.org\" \
                         or \"spiffe://example.org/ns/*/client\"",
                        "correct it",
                    );
                    self.complain("allow", text, complaint);
                }
            }
        }
        Rules::allow(patterns)
    }

    fn key_types(&mut self, listener: &model::Listener) -> Vec<KeyType> {
        let names = KeyType::ALL.iter().map(|key_type| key_type.as_str());
        let parse = |text: &str| text.parse::<KeyType>().ok().map(|kind| (kind.as_str(), kind));
        self.known_list(listener.client_key_types.as_ref(), "client_key_types", names, parse)
            .unwrap_or_else(|| KeyType::ALL.to_vec())
    }

    fn roots(&mut self, written: &Spanned<model::Listener>) -> Option<RootCertStore> {
        let Some(client_ca) = &written.get_ref().client_ca else {
            self.refuse(
                &written.span(),
                "[[listener]] has no key `client_ca`",
                "the certificates that clients' certificates come from",
                "add `client_ca = \"clients.pem\"`, or set `client_auth = \"off\"`",
            );
            return None;
        };
        let texts: Vec<Text> = match client_ca.get_ref() {
            OneOrMore::One(file) => vec![Spanned::new(client_ca.span(), file.clone())],
            OneOrMore::More(files) => files.clone(),
        };
        if texts.is_empty() || texts.len() > CLIENT_CA_FILES_MAX {
            let found = format!("client_ca lists {} files", texts.len());
            let expected = format!("1 to {CLIENT_CA_FILES_MAX}");
            self.refuse(&client_ca.span(), &found, &expected, "join them, or name at least one");
            return None;
        }
        self.refuse_duplicates("client_ca", texts.iter());
        let mut roots = Roots { store: RootCertStore::empty(), seen: HashSet::new() };
        let mut complete = true;
        for text in &texts {
            complete &= self.bundles(text, &mut roots).is_some();
        }
        Some(roots.store).filter(|_| complete)
    }

    /// A file of roots, or a folder of such files.
    fn bundles(&mut self, text: &Text, roots: &mut Roots) -> Option<()> {
        let path = self.path("client_ca", text)?;
        let files = match self.context.files.list(&path) {
            Ok(Some(files)) => files,
            Ok(None) => return self.bundle(text, &path, false, roots),
            Err(error) => {
                self.refuse_unlisted(text, &path, &error);
                return None;
            }
        };
        let files: Vec<_> = files.into_iter().filter(|file| holds_roots(file)).collect();
        if files.is_empty() {
            let complaint = Complaint::new(
                "is a folder without such files",
                "a folder with *.pem, *.crt or *.cer, or with what `openssl rehash` names",
                "put the certificates into it, or name their file",
            );
            self.complain("client_ca", text, complaint);
            return None;
        }
        let mut complete = true;
        for file in files {
            complete &= self.bundle(text, &file, true, roots).is_some();
        }
        complete.then_some(())
    }

    fn refuse_unlisted(&mut self, text: &Text, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::FileTooLarge {
            return self.refuse_unread("client_ca", text, path, error, PEM_BYTES_MAX);
        }
        let complaint = Complaint::new(
            "is a folder with too many files",
            format!("at most {CA_DIRECTORY_FILES_MAX}"),
            "check that this is the right folder; join certificates into one file",
        );
        self.complain("client_ca", text, complaint);
    }

    fn bundle(
        &mut self,
        text: &Text,
        path: &Path,
        in_folder: bool,
        roots: &mut Roots,
    ) -> Option<()> {
        let bytes = self.read_at("client_ca", text, path, PEM_BYTES_MAX)?;
        let added = pem::certificates(&bytes).and_then(|certificates| roots.add(certificates));
        let Err(complaint) = added else {
            return Some(());
        };
        let found = match in_folder {
            true => format!("has {path:?}, which {}", complaint.found),
            false => complaint.found,
        };
        self.complain("client_ca", text, Complaint { found, ..complaint });
        None
    }
}

/// Roots, each once: a folder of OpenSSL has a link beside each file.
struct Roots {
    store: RootCertStore,
    seen: HashSet<CertificateDer<'static>>,
}

impl Roots {
    fn add(&mut self, certificates: Vec<CertificateDer<'static>>) -> Result<(), Complaint> {
        let count = certificates.len();
        for (index, certificate) in certificates.into_iter().enumerate() {
            if self.seen.contains(&certificate) {
                continue;
            }
            self.store.add(certificate.clone()).map_err(|error| {
                let number = index + 1;
                Complaint::new(
                    format!("has a certificate, {number} of {count}, that is no root: {error}"),
                    "X.509 certificates of certification authorities",
                    "remove or renew that certificate",
                )
            })?;
            self.seen.insert(certificate);
        }
        Ok(())
    }
}

/// Whether a file of a folder is one of certificates by its name: `x.pem`, `x.crt`, `x.cer`, or the
/// hash of a subject, `0a1b2c3d.0` (openssl-rehash(1)).
fn holds_roots(path: &Path) -> bool {
    let part = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let (stem, extension) = (part(path.file_stem()), part(path.extension()));
    let is_hash = stem.len() == 8 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = !extension.is_empty() && extension.bytes().all(|byte| byte.is_ascii_digit());
    ["pem", "crt", "cer"].iter().any(|known| extension.eq_ignore_ascii_case(known))
        || (is_hash && is_number)
}
