//! What a PEM file must hold to be a chain, a root bundle or a key.
//!
//! Bytes in, DER or the complaint out. It knows nothing of where the bytes came from.

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Complaint;

/// The certificates of a file, in its order; other sections are skipped.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Complaint> {
    let expected = "a PEM file with `-----BEGIN CERTIFICATE-----`";
    let sections = sections(bytes, expected)?;
    let certificates: Vec<_> = sections
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if certificates.is_empty() {
        let fix = if looks_like_der(bytes) {
            "convert it: openssl x509 -inform der -in FILE -out FILE.pem"
        } else {
            "name the file that holds the certificates"
        };
        return Err(Complaint::new(
            format!("holds {}", labels(bytes)),
            expected,
            fix,
        ));
    }
    Ok(certificates)
}

/// The one private key of a file; other sections, such as EC parameters, are skipped.
pub(super) fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, Complaint> {
    let expected = "a PEM file with one unencrypted private key";
    let mut keys = sections(bytes, expected)?
        .into_iter()
        .filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => Err(Complaint::new(
            "holds more than one private key",
            expected,
            "leave the key of this certificate only",
        )),
        (None, _) => {
            let labels = labels(bytes);
            let fix = if labels.contains("ENCRYPTED") {
                "decrypt it: openssl pkey -in FILE -out FILE.plain"
            } else if looks_like_der(bytes) {
                "convert it: openssl pkey -inform der -in FILE -out FILE.pem"
            } else {
                "name the file that holds the key"
            };
            Err(Complaint::new(format!("holds {labels}"), expected, fix))
        }
    }
}

fn sections(bytes: &[u8], expected: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, Complaint> {
    if bytes.is_empty() {
        return Err(Complaint::new("is empty", expected, "write the file anew"));
    }
    // Broken base64 in a section is an error, not a section less.
    <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            Complaint::new(
                format!("is broken PEM: {error}"),
                expected,
                "write the file anew",
            )
        })
}

/// The sections of a file as the operator would name them.
fn labels(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut labels: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("-----BEGIN ")?
                .trim_end()
                .strip_suffix("-----")
        })
        .collect();
    labels.dedup();
    labels.truncate(8);
    match labels.as_slice() {
        [] if looks_like_der(bytes) => "binary DER".to_string(),
        [] => "no PEM section".to_string(),
        labels => format!("only {}", labels.join(", ")),
    }
}

/// A SEQUENCE with a length of two or more bytes: every certificate and key starts so.
fn looks_like_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81..=0x84, ..])
}
