//! Each crypto backend that is compiled in terminates mutual TLS before programs of others, and
//! the `start` event names it.

use ringfort::tls::provider::Backend;
use rustls::ProtocolVersion;

use crate::harness::programs::{self, OpenSsl};
use crate::harness::{ClientOptions, Origin, Setup, pki};

#[test]
fn openssl_exchanges_lines_with_each_under_the_versions_that_it_has() {
    let origin = Origin::echo();
    for backend in Backend::ALL {
        let name = backend.name();
        let written = format!("crypto = \"{name}\"");
        let mut gateway = Setup::to(origin.address()).listener(&written).start();
        assert_eq!(gateway.start_event()["listeners"][0]["crypto"], name);
        let suites = backend.suites();
        for (flag, shown, version) in [
            ("-tls1_3", "TLS 1.3", ProtocolVersion::TLSv1_3),
            ("-tls1_2", "TLS 1.2", ProtocolVersion::TLSv1_2),
        ] {
            if !suites.iter().any(|suite| suite.version().version == version) {
                continue;
            }
            let mut openssl = OpenSsl::connect(gateway.address(), Some(&pki().client), &[flag]);
            assert_eq!(openssl.ask("one"), "one", "{name}");
            let (content, text) = openssl.end();
            assert!(content, "{name}: {text}");
            let record = gateway.wait_for_record(|record| record["tls"] == shown);
            assert_eq!(record["close_reason"], "finished", "{record}");
            assert_eq!(record["identity"]["dns"][0], "client.test", "{record}");
        }
        gateway.terminate().assert_clean();
    }
}

#[test]
fn many_records_pass_through_each_and_who_has_no_certificate_does_not() {
    let origin = Origin::echo();
    let message: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    for backend in Backend::ALL {
        let written = format!("crypto = \"{}\"", backend.name());
        let gateway = Setup::to(origin.address()).listener(&written).start();
        let mut client = ClientOptions::default().connect(gateway.address()).expect("let in");
        client.echo(&message);
        client.end();
        let url = programs::url(gateway.address(), "/");
        let stranger = programs::curl(gateway.address(), None, &[&url]);
        assert!(!stranger.status.success(), "{} let a stranger in", backend.name());
        gateway.terminate().assert_clean();
    }
}
