//! The subject alternative names of a certificate (RFC 5280, 4.2.1.6) while they are read.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;

use super::name::{self, NameProblem};
use super::peer::{IdentityError, NameKind};
use super::spiffe::SpiffeId;
use crate::limits::IDENTITY_NAMES_MAX;

/// The subject alternative names while they are read.
#[derive(Default)]
pub(super) struct Names {
    pub(super) uris: Vec<Box<str>>,
    pub(super) dns_names: Vec<Box<str>>,
    pub(super) emails: Vec<Box<str>>,
    pub(super) ip_addresses: Vec<IpAddr>,
    pub(super) bytes: usize,
}

impl Names {
    pub(super) fn read(&mut self, certificate: &X509Certificate<'_>) -> Result<(), IdentityError> {
        let extension = certificate
            .get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME)
            .map_err(|_| IdentityError::Names)?;
        let Some(extension) = extension else {
            return Ok(());
        };
        let (rest, names) =
            SubjectAlternativeName::from_der(extension.value).map_err(|_| IdentityError::Names)?;
        if !rest.is_empty() {
            return Err(IdentityError::Names);
        }
        if names.general_names.len() > IDENTITY_NAMES_MAX {
            return Err(IdentityError::TooManyNames);
        }
        names.general_names.iter().try_for_each(|name| self.add(name))
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), IdentityError> {
        let refuse = |kind| move |problem| IdentityError::Name(kind, problem);
        match name {
            GeneralName::DNSName(text) => {
                let text = name::dns(text, true).map_err(refuse(NameKind::Dns))?;
                self.bytes += text.len();
                self.dns_names.push(text);
            }
            GeneralName::RFC822Name(text) => {
                let (local, host) = name::email(text).map_err(refuse(NameKind::Email))?;
                self.bytes += text.len();
                self.emails.push(format!("{local}@{host}").into_boxed_str());
            }
            GeneralName::URI(text) => {
                name::check_uri(text).map_err(refuse(NameKind::Uri))?;
                self.bytes += text.len();
                self.uris.push((*text).into());
            }
            GeneralName::IPAddress(bytes) => {
                let address = ip_address(bytes).ok_or(NameProblem::NotIp);
                self.bytes += bytes.len();
                self.ip_addresses.push(address.map_err(refuse(NameKind::Ip))?);
            }
            // The tags of the kinds that are kept: the parser could not read this one as UTF-8.
            GeneralName::Invalid(tag, _) => {
                return Err(match tag.0 {
                    1 => IdentityError::Name(NameKind::Email, NameProblem::NotAscii),
                    2 => IdentityError::Name(NameKind::Dns, NameProblem::NotAscii),
                    6 => IdentityError::Name(NameKind::Uri, NameProblem::NotAscii),
                    _ => IdentityError::Names,
                });
            }
            GeneralName::OtherName(..)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::RegisteredID(_) => {}
        }
        Ok(())
    }

    /// X509-SVID, section 2: "An X.509 SVID MUST contain exactly one URI SAN".
    pub(super) fn take_spiffe_id(&mut self) -> Result<Option<SpiffeId>, IdentityError> {
        let [uri] = self.uris.as_slice() else {
            return Ok(None);
        };
        if !name::is_spiffe(uri) {
            return Ok(None);
        }
        let id = SpiffeId::parse(uri).map_err(IdentityError::Spiffe)?;
        self.uris = Vec::new();
        Ok(Some(id))
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok()
}
