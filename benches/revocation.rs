//! What revocation lists cost: a list of many certificates is parsed and checked, and asked.
//!
//! `cargo bench --bench revocation`. The heap that a list takes is printed first: while it is
//! parsed, beside the bytes of the list themselves, and for as long as it is kept.

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use ringfort::tls::provider::{Backend, provider};
use ringfort::trust::crl::{
    self, CrlCheck, Link, Missing, Revocation, RevocationList, Serial, Stale,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use time::OffsetDateTime;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ENTRIES: [u32; 3] = [1_000, 100_000, 1_000_000];
const MIB: f64 = 1024.0 * 1024.0;
/// 2026-01-01 00:00 UTC.
const NOW_UNIX_S: i64 = 1_767_225_600;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(5))
        .sample_size(10)
        .configure_from_args();
    let authority = Authority::new();
    let algorithms = provider(Backend::ALL[0], &[], &[]).expect("all");
    let algorithms = algorithms.signature_verification_algorithms;
    for entries in ENTRIES {
        let der = authority.list(entries);
        heap(&authority, &der, &algorithms);
        parse(&mut criterion, &authority, &der, &algorithms);
        ask(&mut criterion, &authority, &der, &algorithms);
    }
    criterion.final_summary();
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    known: Vec<crl::Issuer>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let known = crl::Issuer::from_der(certificate.der()).expect("an authority");
        Self { issuer: Issuer::new(params, key), known: vec![known] }
    }

    /// A list of so many certificates: serial numbers of 20 bytes, a reason each.
    fn list(&self, entries: u32) -> Vec<u8> {
        let now = OffsetDateTime::from_unix_timestamp(NOW_UNIX_S).expect("a time");
        let entry = |number| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial(number)),
            revocation_time: now,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::from_secs(86_400),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: (0..entries).map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").der().to_vec()
    }
}

/// As if random, and each another one.
fn serial(number: u32) -> [u8; 20] {
    let mut serial = [0x41; 20];
    for (position, bytes) in serial[4..].chunks_exact_mut(4).enumerate() {
        let mixed = number.wrapping_mul(0x9e37_79b1).rotate_left(7 * position as u32);
        bytes.copy_from_slice(&mixed.to_be_bytes());
    }
    serial[16..].copy_from_slice(&number.to_be_bytes());
    serial
}

fn read(
    authority: &Authority,
    der: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) -> RevocationList {
    RevocationList::parse(der, &authority.known, algorithms).expect("a good list")
}

/// Prints the heap that a list takes.
fn heap(authority: &Authority, der: &[u8], algorithms: &WebPkiSupportedAlgorithms) {
    let region = Region::new(HEAP);
    let list = read(authority, der, algorithms);
    let stats = region.change();
    println!(
        "{} entries, {:.1} MiB of DER: {} allocations, {:.1} MiB allocated, {:.1} MiB kept",
        list.len(),
        der.len() as f64 / MIB,
        stats.allocations,
        stats.bytes_allocated as f64 / MIB,
        (stats.bytes_allocated - stats.bytes_deallocated) as f64 / MIB,
    );
}

fn parse(
    criterion: &mut Criterion,
    authority: &Authority,
    der: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) {
    let entries = read(authority, der, algorithms).len();
    let mut group = criterion.benchmark_group("revocation list");
    group.throughput(Throughput::Bytes(der.len() as u64));
    group.bench_function(format!("parse {entries} entries"), |bencher| {
        bencher.iter_with_large_drop(|| read(authority, black_box(der), algorithms));
    });
}

/// A path of one certificate that was not revoked, each time another one.
fn ask(
    criterion: &mut Criterion,
    authority: &Authority,
    der: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) {
    let list = Arc::new(read(authority, der, algorithms));
    let entries = list.len() as u32;
    let revocation = Revocation::new([list], CrlCheck::Chain, Missing::Reject, Stale::Reject);
    let link = |number| Link {
        issuer: authority.known[0].id(),
        serial: Serial::from_der_integer_content(&serial(number)).expect("a serial number"),
    };
    let good: Vec<_> = (entries..entries + 65_536).map(|number| [link(number)]).collect();
    let ends = Ok(Some(NOW_UNIX_S + 86_400));
    assert!(good.iter().all(|path| revocation.check(path, NOW_UNIX_S) == ends));
    assert!((0..entries).all(|number| revocation.check(&[link(number)], NOW_UNIX_S).is_err()));
    let mut paths = good.iter().cycle();
    criterion.bench_function(&format!("revocation, a path of one among {entries}"), |bencher| {
        bencher.iter(|| revocation.check(paths.next().expect("endless"), NOW_UNIX_S));
    });
}
