//! A root, a server, a client for each group, and lists of revocation.

use std::path::PathBuf;
use std::time::SystemTime;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Groups of clients that are revoked one after the other; one more stays.
pub const GROUPS: usize = 5;

/// See the module's description.
pub struct Pki {
    pub folder: PathBuf,
    root: Authority,
    /// Of the groups, in their order.
    serials: Vec<Vec<u8>>,
}

impl Pki {
    pub fn issue() -> Self {
        let folder = std::env::temp_dir().join(format!("ringfort-leases-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let profile = |name: &str| Profile {
            common_name: name.into(),
            key: KeyChoice::P256,
            validity: Validity::days(SystemTime::now(), 30).expect("30 days"),
        };
        let root = Authority::root(&profile("root")).expect("a root");
        std::fs::write(folder.join("root.pem"), root.chain_pem()).expect("a temporary file");
        let write = |name: &str, issued: &Issued| {
            for (kind, text) in [("pem", issued.chain_pem()), ("key", issued.key_pem())] {
                std::fs::write(folder.join(format!("{name}.{kind}")), text).expect("a file");
            }
        };
        let names = Names { dns: vec!["localhost".into()], ..Names::default() };
        write("server", &root.issue_server(&profile("server"), &names).expect("a server"));
        let mut serials = Vec::new();
        for group in 0..=GROUPS {
            let name = format!("client-{group}");
            let names = Names { dns: vec![name.clone()], ..Names::default() };
            let client = root.issue_client(&profile(&name), &names).expect("a client");
            write(&name, &client);
            let leaf = X509Certificate::from_der(&client.chain[0]).expect("a certificate").1;
            serials.push(leaf.raw_serial().to_vec());
        }
        Self { folder, root, serials }
    }

    /// A list with the first `groups` groups, and others that nobody has.
    pub fn write_list(&self, name: &str, groups: usize, others: u64) {
        let now = OffsetDateTime::now_utc();
        let key = KeyPair::from_pem(&self.root.key_pem()).expect("its key");
        let issuer = Issuer::from_ca_cert_der(self.root.certificate(), key).expect("an authority");
        let groups = self.serials[..groups].iter().map(|serial| SerialNumber::from_slice(serial));
        let others = (1..=others).map(|number| SerialNumber::from(number << 8));
        let revoked = |serial_number| RevokedCertParams {
            serial_number,
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::days(7),
            crl_number: SerialNumber::from(now.unix_timestamp().unsigned_abs()),
            issuing_distribution_point: None,
            revoked_certs: groups.chain(others).map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer).expect("a list");
        std::fs::write(self.folder.join(name), list.pem().expect("text")).expect("a file");
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("our own folder");
    }
}
