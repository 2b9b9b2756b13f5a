//! TLS towards upstreams: who they must be, and who ringfort is to them.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// How an upstream is spoken to in TLS.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// What is offered, and whom it trusts.
    pub config: Arc<ClientConfig>,
    /// The name that the upstream's certificate must have.
    pub server_name: ServerName<'static>,
}

/// Of the same configuration: what two hold cannot be compared.
impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl Eq for UpstreamTls {}
