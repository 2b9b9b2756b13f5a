//! What a client says of its own identity never reaches the upstream; what the gateway says does,
//! and it is right.

use crate::harness::http::request;
use crate::harness::pki::{CLIENT_NAME, base64};
use crate::harness::{Gateway, HttpClient, Setup, Site, chaos, pki};

/// Fields by which servers, proxies and clouds tell who a client is.
const IDENTITY_FIELDS: &[&str] = &[
    "X-Forwarded-Client-Cert",
    "x-forwarded-client-cert",
    "X_Forwarded_Client_Cert",
    "X-Forwarded_Client-CERT",
    "Client-Cert",
    "CLIENT-CERT",
    "Client_Cert",
    "Client-Cert-Chain",
    "client_cert-chain",
    "Client.Cert",
    "Client~Cert",
    "Client-Cert-Subject",
    "client_cert.subject",
    "X.Forwarded.Client.Cert",
    "X!Forwarded*Client|Cert",
    "X.SSL.Client.Verify",
    "x`ssl^client+verify",
    "X-SSL-Client-Cert",
    "X-SSL-Client-DN",
    "X-SSL-Client-S-DN",
    "X-SSL-Client-Verify",
    "X_SSL_CLIENT_SERIAL",
    "x-ssl-client",
    "SSL-Client-Cert",
    "SSL_CLIENT_CERT",
    "SSL_CLIENT_S_DN",
    "Ssl-Client-Verify",
    "X-Client-Cert",
    "X-Client-Cert-Chain",
    "X-Client-Cert-Subject",
    "x_client_cert_hash",
    "X-Amzn-Mtls-Clientcert",
    "X-Amzn-Mtls-Clientcert-Leaf",
    "X-Amzn-Mtls-Clientcert-Subject",
    "x-amzn_mtls-clientcert-issuer",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "x_forwarded_tls_client_cert",
    "Ringfort-Identity",
    "ringfort_identity",
    "Ringfort.Identity",
    "RINGFORT'Identity",
    "RINGFORT-Anything",
];

fn forged() -> String {
    IDENTITY_FIELDS.iter().map(|name| format!("{name}: forged by the client\r\n")).collect()
}

fn start(site: &Site, keys: &str) -> Gateway {
    Setup::http(site.address()).http_keys(keys).start()
}

#[test]
fn whatever_a_client_claims_is_removed_on_every_listener() {
    let site = Site::ok();
    let certain = ["client-cert", "client-cert-chain", "xfcc"];
    for keys in ["", &format!("identity_headers = {certain:?}"), "x_forwarded = \"pass\""] {
        let gateway = start(&site, keys);
        let mut client = HttpClient::connect(gateway.address());
        for name in IDENTITY_FIELDS {
            // One by one, and named by Connection: which must not save it.
            let lines = format!("{name}: forged\r\nX-Kept: 1\r\nConnection: {name}\r\n");
            assert_eq!(client.ask("GET", "/", &lines).status(), 200);
            let asked = site.last();
            assert_eq!(asked.value("x-kept"), Some("1"));
            let claims = asked.fields.iter().find(|(_, value)| value.contains("forged"));
            assert!(claims.is_none(), "{name} with {keys:?}: {asked:#?}");
        }
        client.ask("GET", "/", &forged());
        let asked = site.last();
        let claims = asked.fields.iter().find(|(_, value)| value.contains("forged"));
        assert!(claims.is_none(), "{keys:?}: {asked:#?}");
        drop(client);
        gateway.terminate().assert_clean();
    }
}

#[test]
fn nor_do_trailers_carry_what_a_head_may_not() {
    let site = Site::ok();
    let gateway = start(&site, "");
    let mut client = HttpClient::connect(gateway.address());
    let head = request("POST", "/", "Transfer-Encoding: chunked\r\n");
    client.send(format!("{head}1\r\nx\r\n0\r\n{}X-Kept: 1\r\n\r\n", forged()));
    assert_eq!(client.answer("POST").status(), 200);
    assert_eq!(site.only().trailers, [("X-Kept".into(), "1".into())]);
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn rfc_9440_fields_hold_the_certificates_that_were_shown() {
    let site = Site::ok();
    let gateway = start(&site, "identity_headers = [\"client-cert\", \"client-cert-chain\"]");
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..2 {
        client.ask("GET", "/", &forged());
        let asked = site.last();
        let chain = &pki().client.chain;
        let leaf = format!(":{}:", base64(&chain[0]));
        assert_eq!(asked.value("client-cert"), Some(&*leaf));
        let rest: Vec<_> = chain[1..].iter().map(|it| format!(":{}:", base64(it))).collect();
        assert_eq!(asked.value("client-cert-chain"), Some(&*rest.join(", ")));
        // As another program reads it.
        let leaf = leaf.trim_matches(':');
        let pem = format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n");
        let file = chaos::file("seen.pem", pem).display().to_string();
        let arguments = ["x509", "-in", &file, "-noout", "-ext", "subjectAltName"];
        let names = String::from_utf8(chaos::openssl(&arguments)).expect("text");
        assert!(names.contains(&format!("DNS:{CLIENT_NAME}")), "{names}");
    }
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn x_forwarded_client_cert_says_what_openssl_sees() {
    let root = chaos::Ca::root("xfcc root", |_| {});
    let hostile = root.client(|params| {
        let quoted = "a \"quoted\", odd; name=x";
        params.distinguished_name.push(rcgen::DnType::CommonName, quoted);
        params.subject_alt_names = vec![
            rcgen::SanType::URI("spiffe://example.org/a".try_into().expect("ASCII")),
            rcgen::SanType::DnsName("one.test".try_into().expect("ASCII")),
            rcgen::SanType::DnsName("two.test".try_into().expect("ASCII")),
        ];
    });
    let site = Site::ok();
    let setup = Setup::http(site.address()).client_ca(Some(&root.file()));
    let gateway = setup.http_keys("identity_headers = [\"xfcc\"]").start();
    let options = crate::harness::ClientOptions::with(&hostile);
    let mut client = HttpClient::connect_with(&options, gateway.address());
    client.ask("GET", "/", &forged());
    let asked = site.only();
    let said = asked.value("x-forwarded-client-cert").expect("the field");
    let file = hostile.leaf_file.display().to_string();
    let print = ["x509", "-in", &file, "-noout", "-fingerprint", "-sha256"];
    let print = String::from_utf8(chaos::openssl(&print)).expect("text");
    let hash = print.trim().split_once('=').expect("a fingerprint").1.replace(':', "");
    let elements = elements(said);
    let of = |key: &str| -> Vec<&str> {
        let found = elements.iter().filter(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of("Hash"), [hash.to_lowercase()], "{said}");
    assert_eq!(of("URI"), ["spiffe://example.org/a"], "{said}");
    assert_eq!(of("DNS"), ["one.test", "two.test"], "{said}");
    let [subject] = of("Subject")[..] else { panic!("no subject in {said}") };
    assert!(subject.contains("quoted"), "{said}");
    assert_eq!(elements.len(), 5, "a hostile subject adds no element: {said}");
    drop(client);
    gateway.terminate().assert_clean();
}

/// Keys and values of one element of the field, as Envoy quotes them.
fn elements(text: &str) -> Vec<(String, String)> {
    let (mut elements, mut key, mut value) = (Vec::new(), String::new(), String::new());
    let (mut in_value, mut quoted, mut escaped) = (false, false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => {
                value.push(letter);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => panic!("a second element: {text}"),
            ';' if !quoted => {
                elements.push((std::mem::take(&mut key), std::mem::take(&mut value)));
                in_value = false;
            }
            '=' if !in_value => in_value = true,
            _ if in_value => value.push(letter),
            _ => key.push(letter),
        }
    }
    assert!(!quoted, "a quote that does not end: {text}");
    elements.push((key, value));
    elements
}

#[test]
fn a_client_without_certificate_is_nobody() {
    let site = Site::ok();
    let gateway = Setup::http(site.address())
        .listener("client_auth = \"optional\"")
        .http_keys("identity_headers = [\"client-cert\", \"client-cert-chain\", \"xfcc\"]")
        .start();
    let anonymous = crate::harness::ClientOptions::anonymous();
    let mut client = HttpClient::connect_with(&anonymous, gateway.address());
    client.ask("GET", "/", &forged());
    let asked = site.only();
    for (name, value) in &asked.fields {
        let name = name.to_lowercase();
        assert!(!name.contains("cert") && !name.contains("identity"), "{name}: {value}");
    }
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_resumed_session_tells_of_the_same_client() {
    let site = Site::ok();
    let keys = "identity_headers = [\"client-cert\", \"client-cert-chain\", \"xfcc\"]";
    let gateway =
        Setup::http(site.address()).listener("resumption = \"cache\"").http_keys(keys).start();
    let said = crate::harness::programs::curl(
        gateway.address(),
        Some(&pki().client),
        &[
            "--http1.1",
            // Two connections: the second resumes the session of the first.
            "--header",
            "Connection: close",
            &crate::harness::programs::url(gateway.address(), "/[1-3]"),
        ],
    );
    assert!(said.status.success(), "{said:?}");
    let seen = site.seen();
    assert_eq!(seen.len(), 3);
    for name in ["client-cert", "client-cert-chain", "x-forwarded-client-cert"] {
        let first = seen[0].request.value(name);
        assert!(first.is_some(), "{name}");
        assert!(seen.iter().all(|seen| seen.request.value(name) == first), "{name}: {seen:#?}");
    }
    let stopped = gateway.terminate();
    assert!(stopped.counter("resumptions") > 0, "{}", stopped.event);
    stopped.assert_clean();
}
