//! What `Ringfort-Identity` says can be verified by the key set of the admin listener, with
//! somebody else's library; what a client claims there never gets through.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::harness::pki::CLIENT_NAME;
use crate::harness::programs::{content, python_command};
use crate::harness::{ClientOptions, Gateway, HttpClient, Setup, Site, chaos, free_local, pki};

const ISSUER: &str = "https://gateway.test";

fn start(site: &Site) -> (Gateway, SocketAddr) {
    let admin = free_local();
    let gateway = Setup::http(site.address())
        .table(&format!("[admin]\naddress = \"{admin}\"\n[identity]\nissuer = \"{ISSUER}\""))
        .listener("client_auth = \"optional\"")
        .http_keys("identity_headers = [\"signed\"]")
        .start();
    (gateway, admin)
}

/// What PyJWT says to a token, by the keys of the admin listener.
fn verified(admin: SocketAddr, audience: &str, token: &str) -> String {
    let url = format!("http://{admin}/.well-known/jwks.json");
    let mut verify = python_command("verify_identity.py");
    content(verify.args([url.as_str(), ISSUER, audience, token])).trim().to_owned()
}

#[test]
fn a_signed_identity_is_verified_by_the_published_key() {
    let site = Site::ok();
    let (gateway, admin) = start(&site);
    let mut client = HttpClient::connect(gateway.address());
    client.ask("GET", "/", "Ringfort-Identity: forged\r\nringfort_identity: forged\r\n");
    let asked = site.only();
    let token = asked.value("ringfort-identity").expect("a token");
    assert_eq!(asked.value("ringfort_identity"), None);
    let claims: Value = serde_json::from_str(&verified(admin, "app", token)).expect("claims");
    assert_eq!(claims["sub"], format!("dns:{CLIENT_NAME}"), "{claims}");
    assert_eq!(claims["route"], "default", "{claims}");
    let leaf = pki().client.leaf_file.display().to_string();
    let der = chaos::openssl(&["x509", "-in", &leaf, "-outform", "DER"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    assert_eq!(claims["cnf"]["x5t#S256"], URL_SAFE_NO_PAD.encode(digest), "{claims}");
    let (issued, expires) = (claims["iat"].as_i64(), claims["exp"].as_i64());
    assert_eq!(expires.zip(issued).map(|(until, from)| until - from), Some(60), "{claims}");

    // Another upstream, or a single other byte, and it is worth nothing.
    assert_eq!(verified(admin, "other", token), "refused InvalidAudienceError");
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    let swapped = if signature.starts_with('A') { "B" } else { "A" };
    let broken = format!("{signed}.{swapped}{}", &signature[1..]);
    assert_eq!(verified(admin, "app", &broken), "refused InvalidSignatureError");

    // The same request again has the same token: it is kept with the connection.
    let token = token.to_owned();
    client.get("/again");
    assert_eq!(site.last().value("ringfort-identity"), Some(&*token));
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn who_has_no_certificate_has_no_signed_identity_either() {
    let site = Site::ok();
    let (gateway, _) = start(&site);
    let mut client = HttpClient::connect_with(&ClientOptions::anonymous(), gateway.address());
    client.ask("GET", "/", "Ringfort-Identity: forged\r\n");
    assert_eq!(site.only().value("ringfort-identity"), None);
    drop(client);
    gateway.terminate().assert_clean();
}
