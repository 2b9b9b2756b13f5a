//! Lists of openssl, which also writes version 1 and knows every algorithm.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use super::kit::{algorithms, serial};
use crate::trust::crl::{Issuer, RevocationList, Scope};

const CONFIG: &str = "[ca]
default_ca = trial
[trial]
database = index.txt
crlnumber = number
default_md = sha256
default_crl_days = 7
[v2]
authorityKeyIdentifier = keyid:always
[users]
issuingDistributionPoint = critical, @point
[point]
onlyuser = TRUE
";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ringfort-crl-{}-{name}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).expect("a fresh folder");
        fs::write(folder.0.join("openssl.cnf"), CONFIG).expect("the configuration");
        fs::write(folder.0.join("number"), "0A\n").expect("the number");
        let revoked = "R\t350101000000Z\t250601000000Z,keyCompromise\t1234\tunknown\t/CN=c\n";
        fs::write(folder.0.join("index.txt"), revoked).expect("the index");
        folder
    }

    fn openssl(&self, line: &str) {
        let output = Command::new("openssl")
            .args(line.split_ascii_whitespace())
            .current_dir(&self.0)
            .output()
            .expect("openssl is installed");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {line}: {text}");
    }

    fn list(&self) -> RevocationList {
        let certificate = CertificateDer::from_pem_file(self.0.join("ca.pem")).expect("a root");
        let issuer = Issuer::from_der(&certificate).expect("an authority");
        let list = CertificateRevocationListDer::from_pem_file(self.0.join("ca.crl"));
        let list = list.expect("a list in PEM");
        RevocationList::parse(&list, &[issuer], &algorithms()).expect("a good list")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[test]
fn lists_of_openssl_are_read_for_each_type_of_key_and_both_versions() {
    for (name, key, with) in [
        ("rsa", "rsa:2048", ""),
        ("pss", "rsa:2048", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest"),
        ("p256", "ec -pkeyopt ec_paramgen_curve:P-256", ""),
        ("p384", "ec -pkeyopt ec_paramgen_curve:P-384", "-md sha384"),
        ("ed25519", "ed25519", ""),
    ] {
        let folder = Folder::new(name);
        folder.openssl(&format!(
            "req -x509 -newkey {key} -nodes -keyout ca.key -out ca.pem -subj /O=Example/CN=ca \
             -days 2"
        ));
        let make = format!(
            "ca -config openssl.cnf -gencrl -cert ca.pem -keyfile ca.key -out ca.crl {with}"
        );
        folder.openssl(&format!("{make} -crlexts v2"));
        let list = folder.list();
        assert_eq!(list.label(), "CN=ca,O=Example");
        assert_eq!(list.revoked_at(&serial(0x1234)), Some(1_748_736_000), "{name}");
        assert_eq!((list.len(), list.number()), (1, Some(serial(10))));
        assert_eq!(list.next_update() - list.this_update(), 7 * 86_400);

        folder.openssl(&format!("{make} -crlexts users"));
        assert_eq!(folder.list().scope(), Scope::Users);
    }
}

#[test]
fn a_list_of_openssl_of_version_1_is_read() {
    let folder = Folder::new("v1");
    let config = CONFIG.replace("crlnumber = number\n", "");
    fs::write(folder.0.join("openssl.cnf"), config).expect("the configuration");
    let revoked = "R\t350101000000Z\t250601000000Z\t1234\tunknown\t/CN=c\n";
    fs::write(folder.0.join("index.txt"), revoked).expect("the index");
    folder.openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca");
    folder.openssl("ca -config openssl.cnf -gencrl -cert ca.pem -keyfile ca.key -out ca.crl");
    let list = folder.list();
    assert_eq!((list.number(), list.len()), (None, 1));
    assert_eq!(list.revoked_at(&serial(0x1234)), Some(1_748_736_000));
}
