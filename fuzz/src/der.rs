//! Certificates made of parts that a fuzzer chose, with lengths that are right.
//!
//! Nothing here signs: an identity is read without regard to who vouches for it. So a certificate
//! costs nothing, and the same parts make the same bytes in every run.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;

/// id-Ed25519 as an AlgorithmIdentifier (RFC 8410, 3).
const ED25519: [u8; 7] = [SEQUENCE, 5, OID, 3, 0x2b, 0x65, 0x70];
/// 2020 to 2049 as UTCTime.
const VALIDITY: &[u8] = b"\x30\x1e\x17\x0d200101000000Z\x17\x0d490101000000Z";
/// id-ce-subjectAltName.
const SUBJECT_ALT_NAME: [u8; 5] = [OID, 3, 0x55, 0x1d, 0x11];

/// What differs between certificates; each part is a whole DER value, or meant to be one.
pub(crate) struct Parts<'a> {
    /// Content bytes of the serial number.
    pub(crate) serial: &'a [u8],
    /// The issuer, a Name.
    pub(crate) issuer: &'a [u8],
    /// The subject, a Name.
    pub(crate) subject: &'a [u8],
    /// The content of the extension with the alternative names; `None` leaves it out.
    pub(crate) names: Option<&'a [u8]>,
}

/// An attribute of a Name: content of its OID, tag and content of its value.
pub(crate) type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// A tag, a length in its shortest form, and the content.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|&&byte| byte == 0).count()..];
    let mut out = vec![tag];
    match content.len() {
        0..=0x7f => out.push(content.len() as u8),
        _ => {
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// GeneralNames (RFC 5280, 4.2.1.6) of context tag and content each.
pub(crate) fn general_names<'a>(names: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let names: Vec<Vec<u8>> =
        names.into_iter().map(|(tag, content)| tlv(0x80 | tag, content)).collect();
    tlv(SEQUENCE, &names.concat())
}

/// A Name of relative distinguished names.
pub(crate) fn name<'a, Rdn>(rdns: impl IntoIterator<Item = Rdn>) -> Vec<u8>
where
    Rdn: IntoIterator<Item = Attribute<'a>>,
{
    let attribute = |(oid, tag, value): Attribute<'_>| {
        tlv(SEQUENCE, &[tlv(OID, oid), tlv(tag, value)].concat())
    };
    let rdns: Vec<Vec<u8>> = rdns
        .into_iter()
        .map(|rdn| tlv(SET, &rdn.into_iter().map(attribute).collect::<Vec<_>>().concat()))
        .collect();
    tlv(SEQUENCE, &rdns.concat())
}

/// A certificate of version 3 (RFC 5280, 4.1) with an Ed25519 key of zeros, and so the
/// signature.
pub(crate) fn certificate(parts: &Parts<'_>) -> Vec<u8> {
    certificate_with_key(parts, &[0; 32])
}

/// The same with this key.
pub(crate) fn certificate_with_key(parts: &Parts<'_>, key: &[u8]) -> Vec<u8> {
    let bits = |bytes: &[u8]| tlv(BIT_STRING, &[&[0], bytes].concat());
    let extensions = parts.names.map(|names| {
        let extension = [SUBJECT_ALT_NAME.to_vec(), tlv(OCTET_STRING, names)].concat();
        tlv(0xa3, &tlv(SEQUENCE, &tlv(SEQUENCE, &extension)))
    });
    let body = [
        tlv(0xa0, &tlv(INTEGER, &[2])),
        tlv(INTEGER, parts.serial),
        ED25519.to_vec(),
        parts.issuer.to_vec(),
        VALIDITY.to_vec(),
        parts.subject.to_vec(),
        tlv(SEQUENCE, &[ED25519.to_vec(), bits(key)].concat()),
        extensions.unwrap_or_default(),
    ];
    tlv(SEQUENCE, &[tlv(SEQUENCE, &body.concat()), ED25519.to_vec(), bits(&[0; 64])].concat())
}
