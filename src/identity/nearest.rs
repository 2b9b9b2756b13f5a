//! Why no path led from a client's chain to a trust anchor, as far as names and keys tell it.
//!
//! It must not verify anything: it is asked after a chain was refused, and its answer is a sentence
//! for a person, never a decision. What it reads may be hostile. The invariants: a hint says only
//! what the certificates say; its text is printable ASCII and fits into a record's detail.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use super::dn;
use super::presented::{cut, escape, hex, is_authority, key_ids, parse};
use crate::limits::{
    CHAIN_CERTIFICATES_MAX, HINT_KEY_ID_BYTES_MAX, HINT_NAME_BYTES_MAX, NEAREST_NAME_BYTES_MAX,
    NEAREST_NAMES_MAX,
};

/// Characters by which two common names may differ to be similar: `Root G1` and `Root G2`.
const CHARACTERS_OTHER_MAX: usize = 2;

/// What is known of a trust anchor. Subject and key may have the header of their SEQUENCE or be its
/// content only, as in rustls' `TrustAnchor`.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The DER of the subject.
    pub subject: &'a [u8],
    /// The DER of the SubjectPublicKeyInfo.
    pub spki: &'a [u8],
    /// The subject key identifier, where it is known.
    pub key_id: Option<&'a [u8]>,
    /// What the operator calls it, such as `clients.pem, certificate 2`.
    pub label: &'a str,
}

/// In what way the name of an anchor is nearly the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// The characters are the same, and their encoding (RFC 5280, 4.1.2.4) is not.
    Encoding,
    /// They differ in case, or in spaces.
    Case,
    /// One part of several is another one.
    OneRdn,
}

/// An anchor whose name is nearly the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Similar {
    label: Box<str>,
    name: Box<str>,
    similarity: Similarity,
}

/// Why a chain does not lead to an anchor. Its [`fmt::Display`] is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// The client's own certificate is not the first: it is the one at `position`, counted from 1.
    LeafNotFirst {
        /// Where it is.
        position: usize,
    },
    /// The client sent the certificate of an authority, and none that this authority issued.
    AuthorityOnly {
        /// The subject of the first certificate.
        subject: Box<str>,
    },
    /// The client's certificate was issued by itself.
    SelfSigned {
        /// Its subject.
        subject: Box<str>,
    },
    /// A certificate of the chain has the name of the next one's issuer and another key.
    OtherIntermediate {
        /// The name.
        issuer: Box<str>,
        /// The identifier of the key that is wanted.
        wanted: Box<str>,
        /// The identifier of the key that was presented.
        presented: Box<str>,
    },
    /// An anchor has the name of the chain's last issuer and another key: it was rotated.
    OtherKey {
        /// The anchor.
        label: Box<str>,
        /// The name.
        issuer: Box<str>,
        /// The identifier of the key that is wanted, where the chain tells.
        wanted: Option<Box<str>>,
        /// The identifier of the anchor's key, where it is known.
        found: Option<Box<str>>,
    },
    /// An anchor has the name that is wanted, and by its identifier the key: it is not the key that
    /// signed, or the path was refused for another cause.
    NotSignedBy {
        /// The anchor.
        label: Box<str>,
    },
    /// An anchor has the key that is wanted, and another name.
    OtherName {
        /// The anchor.
        label: Box<str>,
        /// The name that is wanted.
        issuer: Box<str>,
    },
    /// The client sent its root along, and that is no anchor.
    RootUnknown {
        /// The name of the root.
        root: Box<str>,
        /// The anchor with nearly that name.
        similar: Option<Similar>,
    },
    /// The client sent more certificates, and none is the issuer that is wanted.
    Unrelated {
        /// The name of the issuer that is wanted.
        issuer: Box<str>,
        /// The subject of the first that does not belong.
        unrelated: Box<str>,
    },
    /// Nobody has the issuer: neither did the client send it, nor is it an anchor.
    IssuerMissing {
        /// Its name.
        issuer: Box<str>,
        /// The identifier of its key, where the chain tells.
        wanted: Option<Box<str>>,
        /// The anchor with nearly that name.
        similar: Option<Similar>,
    },
}

/// One presented certificate that could be read.
struct Link<'a> {
    certificate: X509Certificate<'a>,
    subject_key_id: Option<&'a [u8]>,
    authority_key_id: Option<&'a [u8]>,
}

impl<'a> Link<'a> {
    fn read(der: &'a CertificateDer<'_>) -> Option<Self> {
        let certificate = parse(der)?;
        let ids = key_ids(&certificate).unwrap_or_default();
        let (subject_key_id, authority_key_id) = (ids.subject, ids.authority);
        Some(Self { certificate, subject_key_id, authority_key_id })
    }

    fn subject(&self) -> &'a [u8] {
        self.certificate.subject.as_raw()
    }

    fn issuer(&self) -> &'a [u8] {
        self.certificate.issuer.as_raw()
    }

    /// Whether it names itself as its issuer.
    fn is_self_issued(&self) -> bool {
        self.subject() == self.issuer()
    }
}

/// Why no path leads from `chain`, which was refused, to one of the anchors. `None` where the
/// client's certificate cannot be read, or names and keys give no reason.
///
/// Of the chain it looks at the first `CHAIN_CERTIFICATES_MAX` certificates.
pub fn nearest(chain: &[CertificateDer<'_>], anchors: &[Candidate<'_>]) -> Option<Hint> {
    let shown = &chain[..chain.len().min(CHAIN_CERTIFICATES_MAX)];
    let links: Vec<Option<Link<'_>>> = shown.iter().map(Link::read).collect();
    let leaf = links.first()?.as_ref()?;
    if is_authority(&leaf.certificate)
        && let Some(hint) = authority_first(leaf, &links)
    {
        return Some(hint);
    }
    let path = match follow(&links) {
        Ok(path) => path,
        Err(hint) => return Some(hint),
    };
    let last = links[*path.last()?].as_ref()?;
    if let Some(anchor) = anchors.iter().find(|anchor| is_content(last.issuer(), anchor.subject)) {
        // Of several anchors of that name one may have the key.
        let mut named = anchors.iter().filter(|it| is_content(last.issuer(), it.subject));
        return same_name(last, named.find(|it| has_key(last, it)).unwrap_or(anchor));
    }
    let issuer = shown_name(last.issuer());
    if let Some(wanted) = last.authority_key_id
        && let Some(anchor) = anchors.iter().find(|anchor| anchor.key_id == Some(wanted))
    {
        return Some(Hint::OtherName { label: label(anchor), issuer });
    }
    if path.len() == 1 && last.is_self_issued() {
        return Some(Hint::SelfSigned { subject: issuer });
    }
    let similar = similar(last.issuer(), anchors);
    if last.is_self_issued() {
        return Some(Hint::RootUnknown { root: issuer, similar });
    }
    let rest = links.iter().enumerate().filter(|(index, _)| !path.contains(index));
    if let Some(unrelated) = rest.filter_map(|(_, link)| link.as_ref()).next()
        && similar.is_none()
    {
        return Some(Hint::Unrelated { issuer, unrelated: shown_name(unrelated.subject()) });
    }
    let wanted = last.authority_key_id.map(key_id);
    Some(Hint::IssuerMissing { issuer, wanted, similar })
}

/// The first certificate is an authority's: the client's own comes later, or not at all. A
/// self-issued one, as `openssl req -x509` makes it for a client too, is left to the others.
fn authority_first(first: &Link<'_>, links: &[Option<Link<'_>>]) -> Option<Hint> {
    let is_own = |link: &Link<'_>| !is_authority(&link.certificate);
    let position = links.iter().position(|link| link.as_ref().is_some_and(is_own));
    match position {
        Some(index) => Some(Hint::LeafNotFirst { position: index + 1 }),
        None if first.is_self_issued() => None,
        None => Some(Hint::AuthorityOnly { subject: shown_name(first.subject()) }),
    }
}

/// The certificates that lead on from the first one by name, in their order; a hint where the only
/// one that has the name has another key.
fn follow(links: &[Option<Link<'_>>]) -> Result<Vec<usize>, Hint> {
    let mut path = vec![0];
    while let Some(last) = path.last().and_then(|index| links[*index].as_ref())
        && !last.is_self_issued()
    {
        let fits = |index: &usize| {
            let link = links[*index].as_ref();
            !path.contains(index) && link.is_some_and(|link| link.subject() == last.issuer())
        };
        let named: Vec<usize> = (1..links.len()).filter(fits).collect();
        let other_key = |index: &usize| {
            let presented = links[*index].as_ref().and_then(|link| link.subject_key_id)?;
            let wanted = last.authority_key_id?;
            (presented != wanted).then_some((wanted, presented))
        };
        match named.iter().find(|index| other_key(index).is_none()) {
            Some(index) => path.push(*index),
            None => match named.first().and_then(other_key) {
                Some((wanted, presented)) => {
                    return Err(Hint::OtherIntermediate {
                        issuer: shown_name(last.issuer()),
                        wanted: key_id(wanted),
                        presented: key_id(presented),
                    });
                }
                None => break,
            },
        }
    }
    Ok(path)
}

/// Whether an anchor has, as far as can be told, the key that signed `last`.
fn has_key(last: &Link<'_>, anchor: &Candidate<'_>) -> bool {
    if last.is_self_issued() {
        return is_content(last.certificate.subject_pki.raw, anchor.spki);
    }
    last.authority_key_id.is_some() && last.authority_key_id == anchor.key_id
}

/// What to say of an anchor that has the name which is wanted.
fn same_name(last: &Link<'_>, anchor: &Candidate<'_>) -> Option<Hint> {
    let label = label(anchor);
    if has_key(last, anchor) {
        // The anchor itself was presented: what was wrong is not told by names and keys.
        return (!last.is_self_issued()).then_some(Hint::NotSignedBy { label });
    }
    let wanted = if last.is_self_issued() { last.subject_key_id } else { last.authority_key_id };
    Some(Hint::OtherKey {
        label,
        issuer: shown_name(last.issuer()),
        wanted: wanted.map(key_id),
        found: anchor.key_id.map(key_id),
    })
}

/// The anchor whose name is most nearly `wanted`, among the first [`NEAREST_NAMES_MAX`].
fn similar(wanted: &[u8], anchors: &[Candidate<'_>]) -> Option<Similar> {
    // It is the peer's, and is compared with each anchor's.
    if wanted.len() > NEAREST_NAME_BYTES_MAX {
        return None;
    }
    let wanted = Compared::new(dn::from_der(wanted).ok()?);
    let looked_at = anchors.iter().take(NEAREST_NAMES_MAX);
    let alike = looked_at.filter_map(|anchor| {
        let name = dn::from_der(&with_header(anchor.subject)?).ok()?;
        let similarity = similarity(&wanted, &name)?;
        Some(Similar { label: label(anchor), name: cut(&name, HINT_NAME_BYTES_MAX), similarity })
    });
    alike.min_by_key(|similar| similar.similarity as u8)
}

/// A name in canonical spelling that is compared with many.
struct Compared {
    name: String,
    plain: String,
}

impl Compared {
    fn new(name: String) -> Self {
        Self { plain: plain(&name), name }
    }
}

/// Without what case and spaces say.
fn plain(name: &str) -> String {
    name.replace("\\ ", " ").replace(' ', "").to_ascii_lowercase()
}

/// How a name in canonical spelling is like the one that is wanted.
fn similarity(wanted: &Compared, name: &str) -> Option<Similarity> {
    if wanted.name == name {
        return Some(Similarity::Encoding);
    }
    if wanted.plain == plain(name) {
        return Some(Similarity::Case);
    }
    let wanted: Vec<&str> = dn::parts(&wanted.name).collect();
    let name: Vec<&str> = dn::parts(name).collect();
    let mut others = wanted.iter().zip(&name).filter(|(wanted, name)| wanted != name);
    let (Some((first, second)), None) = (others.next(), others.next()) else { return None };
    let is_one = wanted.len() == name.len() && is_similar(first, second, wanted.len());
    is_one.then_some(Similarity::OneRdn)
}

/// Whether a name of so many parts is similar to one that has `name` in place of `wanted`. All
/// authorities of a company have the rest in common, so a common name must be nearly the same.
fn is_similar(wanted: &str, name: &str, parts: usize) -> bool {
    let is_common_name = |part: &str| part.starts_with("CN=");
    if !is_common_name(wanted) && !is_common_name(name) {
        return parts > 1;
    }
    let (wanted, name) = (wanted.as_bytes(), name.as_bytes());
    let start = wanted.iter().zip(name).take_while(|(a, b)| a == b).count();
    let (wanted, name) = (&wanted[start..], &name[start..]);
    let end = wanted.iter().rev().zip(name.iter().rev()).take_while(|(a, b)| a == b).count();
    wanted.len().max(name.len()) - end <= CHARACTERS_OTHER_MAX
}

/// Whether two DER SEQUENCEs have the same content, where `either` may lack the header.
fn is_content(whole: &[u8], either: &[u8]) -> bool {
    if whole == either {
        return true;
    }
    let header_bytes = whole.len().checked_sub(either.len());
    header_bytes.is_some_and(|bytes| (2..=4).contains(&bytes))
        && whole.ends_with(either)
        && with_header(either).is_some_and(|with| *with == *whole)
}

/// `content` as a SEQUENCE; itself where it is a whole one already. `None` beyond 64 KiB.
fn with_header(content: &[u8]) -> Option<Vec<u8>> {
    let is_whole = |header: &[u8], length: usize| {
        content.starts_with(header) && content.len() == header.len() + length
    };
    let header = |length: usize| -> Option<Vec<u8>> {
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        Some(match length {
            0..=0x7f => vec![0x30, low],
            0x80..=0xff => vec![0x30, 0x81, low],
            _ => vec![0x30, 0x82, high, low],
        })
    };
    for header_bytes in 2..=4 {
        if let Some(length) = content.len().checked_sub(header_bytes)
            && header(length).is_some_and(|header| is_whole(&header, length))
        {
            return Some(content.to_vec());
        }
    }
    let mut whole = header(content.len())?;
    whole.extend_from_slice(content);
    Some(whole)
}

fn shown_name(der: &[u8]) -> Box<str> {
    match dn::from_der(der) {
        Ok(name) if name.is_empty() => "(empty)".into(),
        Ok(name) => cut(&name, HINT_NAME_BYTES_MAX),
        Err(_) => "(unreadable)".into(),
    }
}

/// The operator wrote it, but perhaps longer than fits.
fn label(anchor: &Candidate<'_>) -> Box<str> {
    escape("", anchor.label.as_bytes(), HINT_NAME_BYTES_MAX)
}

fn key_id(bytes: &[u8]) -> Box<str> {
    hex(bytes, HINT_KEY_ID_BYTES_MAX)
}

impl fmt::Display for Similar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, name, similarity } = self;
        match similarity {
            Similarity::Encoding => {
                write!(f, "{label} has that name in another encoding")
            }
            Similarity::Case => write!(f, "{label} differs in case or spaces: {name}"),
            Similarity::OneRdn => write!(f, "{label} has a similar name: {name}"),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeafNotFirst { position } => write!(
                f,
                "the client's own certificate is number {position} of its chain, and must be first"
            ),
            Self::AuthorityOnly { subject } => {
                write!(f, "the client sent only the certificate of the authority {subject}")
            }
            Self::SelfSigned { subject } => write!(f, "{subject} was issued by itself"),
            Self::OtherIntermediate { issuer, wanted, presented } => write!(
                f,
                "the chain needs {issuer} with key {wanted}; the one that was sent has {presented}"
            ),
            Self::OtherKey { label, issuer, wanted, found } => {
                write!(f, "{label} has the name {issuer} and another key")?;
                match (wanted, found) {
                    (Some(wanted), Some(found)) => write!(f, ": {found}; wanted is {wanted}"),
                    (Some(wanted), None) => write!(f, "; wanted is {wanted}"),
                    (None, _) => Ok(()),
                }
            }
            Self::NotSignedBy { label } => {
                write!(f, "{label} has the name and key that are wanted, but the path is refused")
            }
            Self::OtherName { label, issuer } => {
                write!(f, "{label} has the key of the issuer {issuer}, and another name")
            }
            Self::RootUnknown { root, similar } => {
                write!(f, "the client's root {root} is no anchor")?;
                similar.iter().try_for_each(|similar| write!(f, "; {similar}"))
            }
            Self::Unrelated { issuer, unrelated } => {
                write!(f, "the issuer {issuer} is missing; the client sent {unrelated} instead")
            }
            Self::IssuerMissing { issuer, wanted, similar } => {
                write!(f, "the issuer {issuer} is neither in the chain nor an anchor")?;
                match (similar, wanted) {
                    (Some(similar), _) => write!(f, "; {similar}"),
                    (None, Some(wanted)) => write!(f, "; its key is {wanted}"),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
