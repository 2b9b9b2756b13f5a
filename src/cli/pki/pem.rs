//! PEM (RFC 7468), written.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// RFC 7468, section 2: "Generators MUST wrap the base64-encoded lines so that each line consists
/// of exactly 64 characters except for the final line".
const LINE_BYTES: usize = 48;

/// Certificates one after the other.
pub(super) fn certificates<T: AsRef<[u8]>>(certificates: &[T]) -> String {
    let blocks = certificates.iter().map(|der| block("CERTIFICATE", der.as_ref()));
    blocks.collect()
}

/// A private key in PKCS#8.
pub(super) fn private_key(pkcs8: &[u8]) -> String {
    block("PRIVATE KEY", pkcs8)
}

/// A certificate revocation list.
pub(super) fn list(der: &[u8]) -> String {
    block("X509 CRL", der)
}

fn block(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(LINE_BYTES) {
        line.chunks(3).for_each(|bytes| push_base64(bytes, &mut out));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// Appends one to three bytes as four characters (RFC 4648, section 4).
fn push_base64(bytes: &[u8], out: &mut String) {
    let byte = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    let group = byte(0) << 16 | byte(1) << 8 | byte(2);
    for position in 0..4 {
        if position > bytes.len() {
            out.push('=');
        } else {
            let digit = group >> (18 - 6 * position) & 0x3f;
            out.push(char::from(ALPHABET[digit as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn the_vectors_of_rfc_4648_come_out() {
        for (bytes, expected) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            let mut out = String::new();
            push_base64(bytes.as_bytes(), &mut out);
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn an_independent_reader_reads_the_same_bytes(
            ders in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..4)
        ) {
            let text = certificates(&ders);
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let read: Vec<_> = read.expect("PEM").iter().map(|der| der.to_vec()).collect();
            prop_assert_eq!(read, ders);
        }
    }
}
