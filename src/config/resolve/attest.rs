//! `[identity]` -> [`Signer`], and `[admin]` -> an address.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Complaint, Context, Resolver, address, pem};
use crate::attest::{Signer, SigningKey};
use crate::config::model::Text;
use crate::config::snapshot::Listener;
use crate::limits::{ISSUER_BYTES_MAX, PEM_BYTES_MAX};

/// The `iss` of signed identities where none is written.
const ISSUER: &str = "ringfort";

/// What signs where nothing is written.
pub(super) fn signer_of_process(context: &Context<'_>) -> Arc<Signer> {
    Arc::new(Signer::new(Arc::clone(&context.signing_key), ISSUER))
}

impl Resolver<'_> {
    /// What signs identities. Where what is written is refused, the key of the process, so that
    /// the other checks can go on.
    pub(super) fn read_signer(&mut self) {
        let identity = &self.model.identity;
        let key = identity.key.as_ref().and_then(|text| self.signing_key(text));
        let key = key.unwrap_or_else(|| Arc::clone(&self.context.signing_key));
        let issuer = identity.issuer.as_ref();
        if let Some(text) = issuer {
            self.check_issuer(text);
        }
        let issuer = issuer.map_or(ISSUER, |text| text.get_ref());
        self.signer = Arc::new(Signer::new(key, issuer));
    }

    fn signing_key(&mut self, text: &Text) -> Option<Arc<SigningKey>> {
        let bytes = self.read("key", text, PEM_BYTES_MAX)?;
        let key = pem::private_key(&bytes).and_then(|key| {
            SigningKey::from_der(&key).map_err(|_| {
                Complaint::new(
                    "holds a private key of another kind",
                    "an unencrypted Ed25519 key in PKCS#8",
                    "make one: openssl genpkey -algorithm ed25519 -out FILE; chmod 600 FILE",
                )
            })
        });
        key.map(Arc::new).map_err(|complaint| self.complain("key", text, complaint)).ok()
    }

    fn check_issuer(&mut self, text: &Text) {
        let issuer = text.get_ref();
        let fits = (1..=ISSUER_BYTES_MAX).contains(&issuer.len());
        if !fits || !issuer.bytes().all(|byte| byte.is_ascii_graphic()) {
            let complaint = Complaint::new(
                "is not the name of an issuer",
                format!("1 to {ISSUER_BYTES_MAX} bytes of printable ASCII without spaces"),
                "write a URL or a name, such as \"https://gateway.example.org\"",
            );
            self.complain("issuer", text, complaint);
        }
    }

    /// Where the admin listener is; `None`: there is none.
    pub(super) fn admin(&mut self, listeners: &[Arc<Listener>]) -> Option<SocketAddr> {
        let written = self.model.admin.as_ref()?;
        let text = written.get_ref().address.as_ref();
        let text = self.required(text, &written.span(), "[admin]", "address", "127.0.0.1:9901")?;
        let (address, dual_stack) = address::listen(text.get_ref())
            .map_err(|complaint| self.complain("address", text, complaint))
            .ok()?;
        let taken = listeners.iter().find(|listener| {
            let other = (listener.address, listener.socket.dual_stack);
            address::collide((address, dual_stack), other)
        });
        if let Some(listener) = taken {
            self.refuse(
                &text.span(),
                &format!("address = {:?} is taken by listener {:?}", text.get_ref(), listener.name),
                "an address of its own for the admin listener",
                "change its port",
            );
        }
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::kit::{RIGHT, resolved, resolved_with};
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn refused(tables: &str) -> String {
        resolved(&format!("{tables}\n{RIGHT}")).expect_err("it is wrong").join("\n")
    }

    #[test]
    fn an_admin_listener_is_there_where_it_is_configured() {
        assert_eq!(resolved(RIGHT).expect("right").admin, None);
        let with = resolved(&format!("[admin]\naddress = \"127.0.0.1:9901\"\n{RIGHT}"));
        assert_eq!(with.expect("right").admin, Some(([127, 0, 0, 1], 9901).into()));
        for (tables, expected) in [
            ("[admin]", "address"),
            ("[admin]\naddress = \"localhost:1\"", "r.toml:2:11: address = \"localhost:1\" is not"),
            ("[admin]\naddress = \"127.0.0.1:0\"", "write a port from 1 to 65535"),
            ("[admin]\naddress = \":8443\"", "is taken by listener \"main\""),
            ("[admin]\nport = 1", "port"),
        ] {
            let errors = refused(tables);
            assert!(errors.contains(expected), "{errors}");
        }
    }

    #[test]
    fn identities_are_signed_with_the_key_of_the_file_or_with_one_of_the_process() {
        let mut files = crate::config::kit::files();
        let der = Ed25519KeyPair::generate().and_then(|it| it.to_pkcs8v1()).expect("a key");
        let body = STANDARD.encode(der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        files.0.insert("identity.key".into(), pem.into_bytes());
        let text =
            format!("[identity]\nkey = \"identity.key\"\nissuer = \"https://g.test\"\n{RIGHT}");
        let of_file = resolved_with(&text, &files, 65_536).expect("right");
        let again = resolved_with(&text, &files, 65_536).expect("right");
        assert_eq!(of_file.signer.key().id(), again.signer.key().id());
        let (one, other) = (resolved(RIGHT).expect("right"), resolved(RIGHT).expect("right"));
        assert_eq!(one.signer.key().id(), other.signer.key().id(), "a reload changes nothing");
        assert_ne!(one.signer.key().id(), of_file.signer.key().id());
    }

    #[test]
    fn what_cannot_sign_is_refused_with_what_to_do() {
        for (tables, expected) in [
            ("[identity]\nkey = \"none.key\"", "none.key"),
            ("[identity]\nkey = \"text.pem\"", "holds no PEM section"),
            ("[identity]\nkey = \"server.key\"", "openssl genpkey -algorithm ed25519"),
            ("[identity]\nissuer = \"\"", "is not the name of an issuer"),
            ("[identity]\nissuer = \"a b\"", "1 to 256 bytes"),
        ] {
            let errors = refused(tables);
            assert!(errors.contains(expected), "{errors}");
        }
    }
}
