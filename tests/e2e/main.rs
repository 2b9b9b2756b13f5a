//! End-to-end tests: the gateway as a process, between real clients and real upstreams.
//!
//! One file per requirement; its name is the requirement.

mod harness;

mod clients_with_a_bad_certificate_are_refused;
mod clients_with_a_certificate_reach_the_upstream;
mod only_allowed_identities_pass;
mod orderly_ends_are_told_from_truncation;
mod what_is_not_tls_is_refused;
