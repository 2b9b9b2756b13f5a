//! Every way in which a chain can be wrong has its code in the log and its alert for the client,
//! and nothing of it reaches the upstream; what only looks wrong passes.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, NameConstraints, SanType,
};
use ringfort::Refusal;
use rustls::pki_types::CertificateDer;

use crate::harness::chaos::{Ca, SERIAL, SPKI, SUBJECT, file, from_now, rsa_1024, spiffe, tlv};
use crate::harness::programs::openssl_alert;
use crate::harness::{ClientOptions, Credentials, Gateway, Origin, Setup};

/// A root in force, an intermediate below it, and a gateway that knows the root.
struct Stage {
    root: Ca,
    middle: Ca,
    origin: Origin,
    setup: Setup,
}

impl Stage {
    fn new() -> Self {
        let root = Ca::root("chaos root", |_| {});
        let middle = root.below("chaos intermediate", |params| {
            params.serial_number = Some(100_u64.into());
        });
        let origin = Origin::echo();
        let setup = Setup::to(origin.address()).client_ca(Some(&root.file()));
        Self { root, middle, origin, setup }
    }

    /// `cases` are refused one after the other by one gateway.
    #[track_caller]
    fn refuses(&self, lines: &str, cases: &[(&str, &Credentials)]) {
        let before = self.reached();
        let mut gateway = self.setup.clone().listener(lines).start();
        for (refusal, credentials) in cases {
            for version in ["-tls1_3", "-tls1_2"] {
                let alert = openssl_alert(gateway.address(), credentials, version);
                assert_refused(&mut gateway, refusal, alert);
            }
        }
        assert_nothing_done(gateway, 2 * cases.len() as u64);
        assert_eq!(self.reached(), before, "nothing reaches the upstream");
    }

    /// The same with a client that looks at nothing before it sends it.
    #[track_caller]
    fn refuses_unread(&self, lines: &str, cases: &[(&str, &Credentials)]) {
        let before = self.reached();
        let mut gateway = self.setup.clone().listener(lines).start();
        for (refusal, credentials) in cases {
            let client = ClientOptions::with(credentials);
            for client in [client.clone().tls13(), client.tls12()] {
                let (_, alert) = client.refused(gateway.address());
                assert_refused(&mut gateway, refusal, alert.into());
            }
        }
        assert_nothing_done(gateway, 2 * cases.len() as u64);
        assert_eq!(self.reached(), before, "nothing reaches the upstream");
    }

    /// Connections to the upstream so far, and bytes.
    fn reached(&self) -> (u64, u64) {
        (self.origin.accepted(), self.origin.received())
    }

    /// The chain is in order, and the certificate names its owner in a way that no rule may be
    /// applied to: the client is denied with this detail.
    #[track_caller]
    fn denies(&self, detail: &str, credentials: &Credentials) {
        let mut gateway = self.setup.clone().start();
        let client = ClientOptions::with(credentials);
        for client in [client.clone().tls13(), client.tls12()] {
            let (peer, alert) = client.refused(gateway.address());
            assert_eq!(u8::from(alert), 49);
            let record = gateway.record_of(peer);
            assert_eq!(record["close_reason"], "denied", "{record}");
            let said = record["detail"].as_str().expect("a detail");
            assert!(said.contains(detail), "{detail} in {record}");
            assert!(record["identity"].is_null(), "{record}");
        }
        let stopped = gateway.terminate();
        stopped.assert_clean();
        assert_eq!((stopped.counter("denied"), stopped.counter("upstream_connects")), (2, 0));
        assert_eq!(self.reached(), (0, 0));
    }

    /// A gateway with these lines lets `credentials` in, under both versions.
    #[track_caller]
    fn passes(&self, lines: &str, credentials: &Credentials) {
        let gateway = self.setup.clone().listener(lines).start();
        let client = ClientOptions::with(credentials);
        for client in [client.clone().tls13(), client.tls12()] {
            let mut client = client.connect(gateway.address()).expect("let in");
            client.echo(b"hello");
            client.end();
        }
        gateway.terminate().assert_clean();
    }
}

#[track_caller]
fn assert_nothing_done(gateway: Gateway, refused: u64) {
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("handshakes_failed"), refused);
    assert_eq!(stopped.counter("handshakes_done"), 0);
    assert_eq!(stopped.counter("upstream_connects"), 0);
}

#[track_caller]
fn assert_refused(gateway: &mut Gateway, refusal: &str, alert: u8) {
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["close_reason"], "certificate_refused", "{record}");
    assert_eq!(record["refusal"], refusal, "{record}");
    assert!(record["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{record}");
    for absent in ["identity", "upstream", "handshake_us"] {
        assert!(record[absent].is_null(), "{absent} in {record}");
    }
    let listed = Refusal::ALL.into_iter().find(|listed| listed.as_str() == refusal);
    assert_eq!(Some(alert), listed.map(Refusal::alert), "docs/refusals.md says so of {record}");
}

/// Keys of a listener with these lists of revocation.
fn crls(lists: &[String], more: &str) -> String {
    let files: Vec<_> = lists.iter().map(|list| file("list.pem", list)).collect();
    format!("client_crl = {files:?}\n{more}")
}

fn serial(number: u64) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.serial_number = Some(number.into())
}

#[test]
fn a_good_chain_of_the_same_authorities_passes() {
    let stage = Stage::new();
    stage.passes("", &stage.middle.client(|_| {}));
}

#[test]
fn times_purposes_and_extensions() {
    let stage = Stage::new();
    let at = |from_s: i64, until_s: i64| {
        move |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (from_now(from_s), from_now(until_s));
        }
    };
    let expired = stage.middle.client(at(-600, -60));
    let early = stage.middle.client(at(600, 1200));
    let late_issuer = stage.root.below("expired intermediate", at(-600, -60)).client(|_| {});
    let early_issuer = stage.root.below("early intermediate", at(600, 1200)).client(|_| {});
    let server = stage.middle.client(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let odd = stage.middle.client(|params| params.custom_extensions = vec![critical()]);
    let odd_issuer = stage.root.below("odd intermediate", |params| {
        params.custom_extensions = vec![critical()];
    });
    let odd_issuer = odd_issuer.client(|_| {});
    stage.refuses(
        "",
        &[
            ("expired", &expired),
            ("not_yet_valid", &early),
            ("expired", &late_issuer),
            ("not_yet_valid", &early_issuer),
            ("eku_lacks_client_auth", &server),
            ("unknown_critical_extension", &odd),
            ("unknown_critical_extension", &odd_issuer),
        ],
    );
}

/// One that nobody knows.
fn critical() -> CustomExtension {
    let mut extension =
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
    extension.set_criticality(true);
    extension
}

#[test]
fn what_an_issuer_may_vouch_for() {
    let stage = Stage::new();
    let permits = |name: &str| NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(name.into())],
        excluded_subtrees: Vec::new(),
    };
    let narrow = |name: &'static str| {
        move |params: &mut CertificateParams| params.name_constraints = Some(permits(name))
    };
    let elsewhere = stage.root.below("narrow", narrow("elsewhere.test")).client(|_| {});
    let here = stage.root.below("fitting", narrow("client.test")).client(|_| {});
    let short = stage.root.below("short", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let deep = short.below("below short", |_| {}).client(|_| {});
    let issuing_leaf = stage.middle.below("a leaf", |params| params.is_ca = IsCa::ExplicitNoCa);
    let of_leaf = issuing_leaf.client(|_| {});
    stage.refuses(
        "",
        &[
            ("name_constraint", &elsewhere),
            ("path_length", &deep),
            ("leaf_as_ca", &of_leaf),
            ("ca_as_leaf", &stage.middle.as_client()),
        ],
    );
    stage.passes("", &here);
    stage.passes("", &short.client(|_| {}));
}

#[test]
fn authorities_that_nobody_knows() {
    let stage = Stage::new();
    let other = Ca::root("another root", |_| {});
    let forger = Ca::root("chaos root", |_| {});
    let self_signed = Ca::root("self-signed", |params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let alone = self_signed.as_client();
    stage.refuses(
        "",
        &[
            ("unknown_anchor", &other.client(|_| {})),
            ("unknown_anchor", &other.below("below another", |_| {}).client(|_| {})),
            ("bad_signature", &forger.client(|_| {})),
            ("self_signed", &alone),
        ],
    );
}

#[test]
fn seventeen_certificates_are_too_many_and_sixteen_are_not() {
    let stage = Stage::new();
    let names: Vec<String> = (1..=16).map(|depth| format!("depth {depth}")).collect();
    let mut cas = vec![stage.root.below(&names[0], |_| {})];
    for name in &names[1..] {
        let above = cas.last().expect("one is there");
        cas.push(above.below(name, |_| {}));
    }
    let (sixteen, seventeen) = (cas[14].client(|_| {}), cas[15].client(|_| {}));
    assert_eq!((sixteen.chain.len(), seventeen.chain.len()), (16, 17));
    let most = "chain_certificates_max = 16";
    stage.refuses(most, &[("chain_too_long", &seventeen)]);
    stage.refuses("", &[("chain_too_long", &sixteen)]);
}

#[test]
fn weak_keys_and_signatures() {
    let stage = Stage::new();
    let (spki, key) = rsa_1024();
    let strong = stage.middle.client(|_| {});
    let leaf = stage.middle.resign(&strong.chain[0], |children| children[SPKI] = spki);
    let weak = Credentials::new([&[leaf], &strong.chain[1..]].concat(), key);
    let sha1 = stage.middle.client_with(
        KeyPair::generate().expect("a key"),
        |_| {},
        |middle, leaf| middle.resign_sha1(&leaf),
    );
    stage.refuses("", &[("key_too_small", &weak), ("signature_algorithm_refused", &sha1)]);
}

/// A client of the intermediate whose TBSCertificate is changed.
fn cut(stage: &Stage, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Credentials {
    let key = KeyPair::generate().expect("a key");
    stage.middle.client_with(key, |_| {}, |middle, leaf| middle.resign(&leaf, change))
}

#[test]
fn serials_and_lengths_that_der_or_the_profile_forbid() {
    let stage = Stage::new();
    let negative = cut(&stage, |children| children[SERIAL] = tlv(2, &[0x80, 1]));
    let long = cut(&stage, |children| children[SERIAL] = tlv(2, &[0x11; 21]));
    let padded = cut(&stage, |children| children[SERIAL] = tlv(2, &[0, 0, 1]));
    let empty = cut(&stage, |children| children[SERIAL] = tlv(2, &[]));
    let good = stage.middle.client(|_| {});
    let with_leaf = |leaf: Vec<u8>| {
        let chain = [&[CertificateDer::from(leaf)], &good.chain[1..]].concat();
        Credentials::new(chain, good.key.clone_key())
    };
    let trailing = with_leaf([&good.chain[0][..], &[0]].concat());
    let truncated = with_leaf(good.chain[0][..good.chain[0].len() - 1].to_vec());
    let inside = cut(&stage, |children| children.push(tlv(4, &[1])));
    stage.refuses_unread(
        "",
        &[
            ("malformed", &negative),
            ("malformed", &long),
            ("malformed", &padded),
            ("malformed", &empty),
            ("malformed", &trailing),
            ("malformed", &truncated),
            ("malformed", &inside),
        ],
    );
}

#[test]
fn names_that_cannot_be_read_without_doubt_are_denied() {
    let stage = Stage::new();
    let subject = |value: Vec<u8>| {
        let attribute = tlv(0x30, &[&[6, 3, 0x55, 4, 3], &value[..]].concat());
        tlv(0x30, &tlv(0x31, &attribute))
    };
    let nul = cut(&stage, |children| children[SUBJECT] = subject(tlv(0x1e, &[0, b'a', 0, 0])));
    stage.denies("NUL", &nul);
    let half = cut(&stage, |children| children[SUBJECT] = subject(tlv(0x1e, &[0, b'a', 0])));
    stage.denies("subject", &half);
    let dns_nul = stage.middle.client(|params| {
        params.subject_alt_names =
            vec![SanType::DnsName("client.test\0.evil.test".try_into().expect("ASCII"))];
    });
    stage.denies("DNS", &dns_nul);
    let many = stage.middle.client(|params| {
        let name = |number| SanType::DnsName(format!("n{number}.test").try_into().expect("ASCII"));
        params.subject_alt_names = (0..1000).map(name).collect();
    });
    stage.denies("names", &many);
}

#[test]
fn names_that_are_only_unusual_pass() {
    let stage = Stage::new();
    let attribute = tlv(0x30, &[&[6, 3, 0x55, 4, 3], &tlv(0x1e, &[0, b'a', 0, 0xe9])[..]].concat());
    let bmp = cut(&stage, |children| children[SUBJECT] = tlv(0x30, &tlv(0x31, &attribute)));
    stage.passes("", &bmp);
    let twice = stage.middle.client(|params| {
        let name = params.subject_alt_names[0].clone();
        params.subject_alt_names.push(name);
        params.distinguished_name.push(DnType::OrganizationName, "twice");
    });
    stage.passes(r#"allow = ["dns:client.test"]"#, &twice);
}

#[test]
fn revoked_missing_and_stale() {
    let stage = Stage::new();
    // There can be lists only of authorities that are in the configuration.
    let known = format!("client_intermediates = {:?}", stage.middle.file());
    let stage = Stage { setup: stage.setup.clone().listener(&known), ..stage };
    let (revoked, other) = (stage.middle.client(serial(7)), stage.middle.client(serial(8)));
    let root_list = |serials: &[u64]| stage.root.crl(serials, -60, 600);
    let leaf_revoked = crls(&[root_list(&[]), stage.middle.crl(&[7], -60, 600)], "");
    stage.refuses(&leaf_revoked, &[("revoked", &revoked)]);
    stage.passes(&leaf_revoked, &other);
    let issuer_revoked = [root_list(&[100]), stage.middle.crl(&[], -60, 600)];
    stage.refuses(&crls(&issuer_revoked, ""), &[("revoked", &other)]);
    stage.passes(&crls(&issuer_revoked, "crl_check = \"leaf\""), &other);
    stage.refuses(&crls(&[root_list(&[])], ""), &[("crl_missing", &other)]);
    stage.passes(&crls(&[root_list(&[])], "crl_missing = \"accept\""), &other);
    let stale = |mode: &str| crls(&[root_list(&[]), stage.middle.crl(&[7], -120, -60)], mode);
    stage.refuses(&stale(""), &[("crl_stale", &other), ("revoked", &revoked)]);
    stage.refuses(&stale("crl_stale = \"grace 30s\""), &[("crl_stale", &other)]);
    stage.passes(&stale("crl_stale = \"grace 1h\""), &other);
    stage.passes(&stale("crl_stale = \"accept\""), &other);
    stage.refuses(&stale("crl_stale = \"accept\""), &[("revoked", &revoked)]);
}

#[test]
fn a_trust_domain_belongs_to_its_roots_and_they_to_it() {
    let stage = Stage::new();
    let bound = Ca::root("bound root", |_| {});
    let table = format!(
        "[[listener.trust_domain]]\nname = \"bound.test\"\nclient_ca = {:?}\n",
        bound.file()
    );
    let stage = Stage { setup: stage.setup.clone().more(&table), ..stage };
    let id = |domain: &str| format!("spiffe://{domain}/client");
    let of = |ca: &Ca, domain: &str| ca.client(|params| spiffe(params, &id(domain)));
    stage.refuses(
        "",
        &[
            ("trust_domain_mismatch", &of(&stage.root, "bound.test")),
            ("trust_domain_mismatch", &of(&bound, "other.test")),
            ("trust_domain_mismatch", &bound.client(|_| {})),
        ],
    );
    stage.passes("", &of(&bound, "bound.test"));
    stage.passes("", &of(&stage.root, "other.test"));
}

/// An intermediate that two roots certified, and a client of it.
struct Crossed {
    stage: Stage,
    other: Ca,
    by_root: Ca,
    by_other: Ca,
}

impl Crossed {
    fn new(by_root: impl FnOnce(&mut CertificateParams)) -> Self {
        let stage = Stage::new();
        let other = Ca::root("other chaos root", |_| {});
        let files = format!("client_ca = [{:?}, {:?}]", stage.root.file(), other.file());
        let stage = Stage { setup: stage.setup.client_ca(None).listener(&files), ..stage };
        let middle = stage.root.below("crossed", |params| {
            params.serial_number = Some(20_u64.into());
        });
        let by_other = other.cross(&middle, serial(30));
        let by_root = stage.root.cross(&middle, by_root);
        Self { stage, other, by_root, by_other }
    }

    /// The chain with the two certificates of the intermediate in both orders.
    fn clients(&self) -> [Credentials; 2] {
        let client = self.by_root.client(serial(5));
        let leaf = &client.chain[0];
        let (one, two) = (&self.by_root.certificate, &self.by_other.certificate);
        let chain = |chain: [&CertificateDer<'static>; 3]| {
            Credentials::new(chain.map(Clone::clone).to_vec(), client.key.clone_key())
        };
        [chain([leaf, one, two]), chain([leaf, two, one])]
    }

    fn lists(&self, of_root: &[u64], of_other: &[u64]) -> String {
        let lists = [
            self.stage.root.crl(of_root, -60, 600),
            self.other.crl(of_other, -60, 600),
            self.by_root.crl(&[], -60, 600),
        ];
        // So that the authority of the third list is known.
        let known = format!("client_intermediates = {:?}", self.by_other.file());
        crls(&lists, &known)
    }
}

#[test]
fn a_cross_signed_chain_passes_by_the_path_that_is_in_order() {
    let crossed = Crossed::new(|_| {});
    for client in &crossed.clients() {
        crossed.stage.passes("", client);
        crossed.stage.passes(&crossed.lists(&[20], &[]), client);
        crossed.stage.passes(&crossed.lists(&[], &[30]), client);
    }
    let [one, two] = &crossed.clients();
    let both = crossed.lists(&[20], &[30]);
    crossed.stage.refuses(&both, &[("revoked", one), ("revoked", two)]);
}

#[test]
fn a_cross_signed_chain_passes_though_one_path_has_expired() {
    let crossed = Crossed::new(|params| {
        (params.not_before, params.not_after) = (from_now(-600), from_now(-60));
    });
    let clients = crossed.clients();
    for client in &clients {
        crossed.stage.passes("", client);
    }
    let revoked = crossed.lists(&[], &[30]);
    let mut gateway = crossed.stage.setup.clone().listener(&revoked).start();
    for client in &clients {
        let (_, alert) = ClientOptions::with(client).tls13().refused(gateway.address());
        assert_eq!(u8::from(alert), 44, "the path that is not expired is revoked");
        let record = gateway.wait_for_record(|_| true);
        assert_eq!(record["refusal"], "revoked", "{record}");
    }
}
