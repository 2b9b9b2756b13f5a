//! Tests of signed identities: what they say, for whom, for how long.

use std::io::Write as _;
use std::process::{Command, Stdio};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

use super::super::kit::{Names, identity};
use super::super::signer::{KeyRing, SigningKey};
use super::*;

const NOON: i64 = 1_800_000_000;

fn signer() -> Arc<Signer> {
    Arc::new(Signer::new(Arc::new(SigningKey::generate()), "gateway"))
}

fn spiffe() -> Identity {
    identity(&Names { common_name: "client", uris: &["spiffe://example.org/a"], dns: &["a.b"] })
}

fn line(tokens: &mut Tokens, signer: &Arc<Signer>, route: &str, now_unix_s: i64) -> Arc<[u8]> {
    let (route, upstream) = (Arc::from(route), Arc::from("app"));
    let listener = Arc::from("api");
    let purpose =
        Purpose { listener: &listener, route: &route, upstream: &upstream, connection: u64::MAX };
    tokens.line(signer, &spiffe(), purpose, now_unix_s).expect("a token")
}

fn token(line: &[u8]) -> &str {
    let line = std::str::from_utf8(line).expect("ASCII");
    line.strip_prefix("ringfort-identity: ")
        .and_then(|it| it.strip_suffix("\r\n"))
        .expect("one line")
}

fn key_set(signer: &Signer) -> Value {
    let mut ring = KeyRing::default();
    ring.publish(signer.key(), NOON);
    serde_json::from_str(&ring.to_json(NOON)).expect("JSON")
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

#[test]
fn a_token_says_who_for_whom_and_for_how_long() {
    let signer = signer();
    let line = line(&mut Tokens::default(), &signer, "orders", NOON);
    let token = token(&line);
    assert_eq!(part(token, 0), json!({ "alg": "EdDSA", "typ": "JWT", "kid": signer.key.id() }));
    let mut claims = part(token, 1);
    let thumbprint = claims["cnf"]["x5t#S256"].take();
    assert_eq!(URL_SAFE_NO_PAD.decode(thumbprint.as_str().expect("text")).expect("it").len(), 32);
    claims.as_object_mut().expect("an object").remove("cnf");
    assert_eq!(
        claims,
        json!({
            "iss": "gateway", "sub": "spiffe://example.org/a", "aud": "app",
            "iat": NOON, "exp": NOON + 60, "listener": "api", "route": "orders",
            "certificate_issuer": "CN=client",
            "connection": "18446744073709551615",
        })
    );
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let key = key_set(&signer)["keys"][0]["x"].as_str().map(|x| URL_SAFE_NO_PAD.decode(x));
    let key = UnparsedPublicKey::new(&ED25519, key.expect("a key").expect("base64url"));
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    key.verify(signed.as_bytes(), &signature).expect("its signature");
    key.verify(signed.replace('.', "..").as_bytes(), &signature).expect_err("another text");
}

#[test]
fn a_token_is_used_for_half_its_life_and_not_after_the_clock_was_set_back() {
    let (signer, mut tokens) = (signer(), Tokens::default());
    let first = line(&mut tokens, &signer, "a", NOON);
    assert!(Arc::ptr_eq(&first, &line(&mut tokens, &signer, "a", NOON + 29)));
    let second = line(&mut tokens, &signer, "a", NOON + 30);
    assert_eq!(part(token(&second), 1)["exp"], NOON + 90);
    let third = line(&mut tokens, &signer, "a", NOON - 1);
    assert_eq!(part(token(&third), 1)["iat"], NOON - 1);
    assert_eq!(tokens.0.len(), 1);
}

#[test]
fn another_key_or_issuer_signs_from_the_next_request_on() {
    let (old, mut tokens) = (signer(), Tokens::default());
    let first = line(&mut tokens, &old, "a", NOON);
    let new = signer();
    let second = line(&mut tokens, &new, "a", NOON + 1);
    assert_eq!(part(token(&second), 0)["kid"], new.key.id());
    let renamed = Arc::new(Signer::new(Arc::clone(&new.key), "another"));
    let third = line(&mut tokens, &renamed, "a", NOON + 2);
    assert_eq!(part(token(&third), 1)["iss"], "another");
    // The same key and issuer, of a configuration that was loaded again, sign nothing new.
    let again = Arc::new(Signer::new(Arc::clone(&old.key), "gateway"));
    assert!(Arc::ptr_eq(&first, &line(&mut tokens, &again, "a", NOON + 3)));
}

#[test]
fn a_token_does_not_outlive_the_certificate() {
    let identity = spiffe();
    let end = identity.not_after_unix_s();
    let name = Arc::from("a");
    let purpose = Purpose { listener: &name, route: &name, upstream: &name, connection: 1 };
    for (now, expected) in [(end - 60, end), (end - 59, end), (end - 61, end - 1)] {
        let line = Tokens::default().line(&signer(), &identity, purpose, now).expect("a token");
        assert_eq!(part(token(&line), 1)["exp"], expected);
    }
}

#[test]
fn the_route_that_was_not_used_for_longest_makes_room() {
    let (signer, mut tokens) = (signer(), Tokens::default());
    let first = line(&mut tokens, &signer, "0", NOON);
    let names: Vec<String> = (1..TOKENS_PER_CONNECTION_MAX).map(|it| it.to_string()).collect();
    let second = line(&mut tokens, &signer, &names[0], NOON);
    names.iter().for_each(|name| drop(line(&mut tokens, &signer, name, NOON)));
    assert!(Arc::ptr_eq(&first, &line(&mut tokens, &signer, "0", NOON)), "all fit");
    line(&mut tokens, &signer, "one more", NOON);
    assert_eq!(tokens.0.len(), TOKENS_PER_CONNECTION_MAX);
    assert!(Arc::ptr_eq(&first, &line(&mut tokens, &signer, "0", NOON)), "it was used");
    assert!(!Arc::ptr_eq(&second, &line(&mut tokens, &signer, &names[0], NOON)), "it was not");
}

#[test]
fn no_name_is_taken_for_one_of_another_kind() {
    let hostile = "a spiffe://example.org/b?#%\"";
    for (names, expected) in [
        (Names { dns: &["*.a.b"], ..Names::default() }, "dns:*.a.b"),
        (
            Names { uris: &["spiffe://example.org/admin", "urn:b"], ..Names::default() },
            "uri:spiffe://example.org/admin",
        ),
        (
            Names { common_name: hostile, ..Names::default() },
            "subject:CN=a%20spiffe:%2F%2Fexample.org%2Fb%3F%23%25%5C%22",
        ),
    ] {
        assert_eq!(subject(&identity(&names)), expected);
    }
    let long = format!("urn:{}", "a".repeat(TOKEN_NAME_BYTES_MAX));
    for names in [Names { uris: &[long.as_str()], ..Names::default() }, Names::default()] {
        let identity = identity(&names);
        let name = subject(&identity);
        assert!(name.starts_with("sha256:") && name.len() == 7 + 64, "{name}");
    }
}

/// OpenSSL verifies what was signed, by the key of the key set.
#[test]
fn openssl_takes_the_signature_for_one_of_the_published_key() {
    let signer = signer();
    let line = line(&mut Tokens::default(), &signer, "orders", NOON);
    let (signed, signature) = token(&line).rsplit_once('.').expect("a signature");
    let x = key_set(&signer)["keys"][0]["x"].as_str().map(|x| URL_SAFE_NO_PAD.decode(x));
    // SubjectPublicKeyInfo (RFC 8410, 4) has a fixed head before the 32 bytes.
    let head = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    let key = [&head[..], &x.expect("a key").expect("base64url")].concat();
    let folder = std::env::temp_dir().join(format!("ringfort-token-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(bytes).expect("room");
        path
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let (key, signature) = (file("key", &key), file("signature", &signature));
    for (text, expected) in [(signed.to_owned(), true), (format!("{signed}x"), false)] {
        let text = file("text", text.as_bytes());
        let mut openssl = Command::new("openssl");
        openssl.args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]);
        openssl.arg("-inkey").arg(&key).arg("-sigfile").arg(&signature).arg("-in").arg(&text);
        let output = openssl.output().expect("openssl is installed");
        assert_eq!(output.status.success(), expected, "{output:?}");
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}

/// PyJWT, which shares nothing with ringfort, takes the token by the key set as it is published,
/// and refuses it for another upstream, after its time, and with a byte changed.
#[test]
fn pyjwt_takes_a_token_and_refuses_what_is_not_one() {
    const SCRIPT: &str = r#"
import json, sys, jwt
said = json.load(sys.stdin)
keys = jwt.PyJWKSet.from_dict(said["keys"])
header = jwt.get_unverified_header(said["token"])
key = next(key for key in keys.keys if key.key_id == header["kid"])
def read(token, audience="app", **options):
    return jwt.decode(token, key.key, algorithms=["EdDSA"], audience=audience, issuer="gateway",
                      options={"require": ["exp", "iat", "sub", "aud", "iss"], **options})
claims = read(said["token"])
assert claims["sub"] == "spiffe://example.org/a" and claims["exp"] == claims["iat"] + 60, claims
head, body, tail = said["token"].split(".")
other = ".".join([head, body[:-1] + ("A" if body[-1] != "A" else "B"), tail])
for token, audience, error in [(said["token"], "other", jwt.InvalidAudienceError),
                               (said["old"], "app", jwt.ExpiredSignatureError),
                               (other, "app", jwt.InvalidTokenError)]:
    try:
        read(token, audience)
    except error:
        continue
    sys.exit(f"it was taken: {error}")
print("good")
"#;
    let signer = signer();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_unix_s = now.expect("after 1970").as_secs().cast_signed();
    let fresh = line(&mut Tokens::default(), &signer, "orders", now_unix_s);
    let old = line(&mut Tokens::default(), &signer, "orders", now_unix_s - 61);
    let said = json!({ "keys": key_set(&signer), "token": token(&fresh), "old": token(&old) });
    // Beside the folder of the profile: what scripts/test makes.
    let test = std::env::current_exe().expect("the test is a file");
    let target = test.ancestors().nth(3).expect("below the target folder");
    let interpreter = target.join("python/bin/python");
    assert!(interpreter.exists(), "{interpreter:?} is missing: scripts/test makes it");
    let mut python = Command::new(interpreter);
    python.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("it starts");
    let mut stdin = python.stdin.take().expect("piped");
    stdin.write_all(said.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stdout == b"good\n", "{output:?}");
}
