//! What a PEM file must hold to be a chain, a root bundle, a key or revocation lists.
//!
//! Bytes in, DER or the complaint out. It knows nothing of where the bytes came from.

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

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
        return Err(Complaint::new(format!("holds {}", labels(bytes)), expected, fix));
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

/// The revocation lists of a file: one in DER, or those of its PEM sections, in its order; other
/// sections are skipped. That they are lists at all is left to `trust::crl`.
#[cfg_attr(not(test), expect(dead_code, reason = "no key names lists yet"))]
pub(super) fn crls(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Complaint> {
    if looks_like_der(bytes) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let expected = "a revocation list in DER, or a PEM file with `-----BEGIN X509 CRL-----`";
    let sections = sections(bytes, expected)?;
    let lists: Vec<_> = sections
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Crl)
        .map(|(_, der)| CertificateRevocationListDer::from(der))
        .collect();
    if lists.is_empty() {
        let fix = "name the file that holds the revocation list";
        return Err(Complaint::new(format!("holds {}", labels(bytes)), expected, fix));
    }
    Ok(lists)
}

fn sections(bytes: &[u8], expected: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, Complaint> {
    if bytes.is_empty() {
        return Err(Complaint::new("is empty", expected, "write the file anew"));
    }
    // Broken base64 in a section is an error, not a section less.
    <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(|error| {
        Complaint::new(format!("is broken PEM: {error}"), expected, "write the file anew")
    })
}

/// The sections of a file as the operator would name them.
fn labels(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut labels: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("-----BEGIN ")?.trim_end().strip_suffix("-----"))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    const OTHER: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

    #[test]
    fn revocation_lists_come_in_der_or_several_in_pem() {
        let der = [0x30, 0x81, 0x80, 1, 2, 3];
        assert_eq!(crls(&der).expect("a list"), [CertificateRevocationListDer::from(&der[..])]);
        let pem = format!("a comment\n{LIST}{OTHER}{LIST}");
        let lists = crls(pem.as_bytes()).expect("two lists");
        assert_eq!(lists.len(), 2);
        assert!(lists.iter().all(|list| **list == [0x30, 0]));
    }

    #[test]
    fn what_holds_no_revocation_list_says_what_it_holds() {
        let found = |bytes: &[u8]| crls(bytes).expect_err("no list").found;
        assert_eq!(found(b""), "is empty");
        assert_eq!(found(OTHER.as_bytes()), "holds only CERTIFICATE");
        assert_eq!(found(b"hello"), "holds no PEM section");
        let broken = LIST.replace("MAA=", "M!A=");
        assert!(found(broken.as_bytes()).starts_with("is broken PEM"));
        assert!(found(&LIST.as_bytes()[..40]).starts_with("is broken PEM"));
    }
}
