//! Tests of what a connection's upstreams are told, as a whole.

use rustls::pki_types::CertificateDer;

use super::kit::{Names, certificate};
use super::*;

fn certificates() -> Certificates {
    let names = Names { common_name: "client", uris: &["spiffe://example.org/a"], dns: &[] };
    let mut chain = vec![CertificateDer::from(certificate(&names))];
    chain.extend([CertificateDer::from(vec![1; 10]), CertificateDer::from(vec![2; 10])]);
    Certificates { chain, by: Some("spiffe://example.org/gateway".into()) }
}

fn names(told: &Told) -> Vec<String> {
    let text = std::str::from_utf8(&told.lines).expect("ASCII");
    let lines = text.split_terminator("\r\n");
    lines.map(|line| line.split_once(": ").expect("a field").0.to_owned()).collect()
}

#[test]
fn each_line_comes_where_it_is_asked_for() {
    let certificates = certificates();
    let identity = Identity::from_der(&certificates.chain[0]).expect("an identity");
    let [leaf, all, xfcc] = ["client-cert", "client-cert-chain", "x-forwarded-client-cert"];
    for (client_cert, client_cert_chain, xfcc_too, expected) in [
        (false, false, false, &[][..]),
        (true, false, false, &[leaf]),
        (false, true, false, &[leaf, all]),
        (false, false, true, &[xfcc]),
        (true, true, true, &[leaf, all, xfcc]),
    ] {
        let telling = Telling { client_cert, client_cert_chain, xfcc: xfcc_too, token: None };
        assert_eq!(telling.needs_chain(), client_cert || client_cert_chain);
        let told = telling.tell(Some(&identity), &certificates);
        assert_eq!(
            (names(&told).as_slice(), told.left_out),
            (expected.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().as_slice(), 0)
        );
    }
}

#[test]
fn who_has_no_identity_is_not_told_of() {
    let telling = Telling { client_cert: true, client_cert_chain: true, xfcc: true, token: None };
    let told = telling.tell(None, &certificates());
    assert!(told.lines.is_empty());
}

#[test]
fn a_certificate_of_somebody_else_is_not_told() {
    let identity = Identity::from_der(&certificates().chain[0]).expect("an identity");
    let telling = Telling { client_cert: true, client_cert_chain: true, ..Telling::default() };
    assert!(telling.tell(Some(&identity), &certificates()).lines.is_empty());
    assert!(telling.tell(Some(&identity), &Certificates::default()).lines.is_empty());
}

#[test]
fn a_line_that_is_too_long_is_counted_and_takes_no_other_with_it() {
    let mut certificates = certificates();
    let identity = Identity::from_der(&certificates.chain[0]).expect("an identity");
    certificates.chain.push(CertificateDer::from(vec![3; crate::limits::TOLD_LINE_BYTES_MAX]));
    let telling = Telling { client_cert_chain: true, xfcc: true, ..Telling::default() };
    let told = telling.tell(Some(&identity), &certificates);
    assert_eq!(names(&told), ["client-cert", "x-forwarded-client-cert"]);
    assert_eq!(told.left_out, 1);
}
