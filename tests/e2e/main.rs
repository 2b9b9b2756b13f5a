//! End-to-end tests: the gateway as a process, between real clients and real upstreams.
//!
//! One file per requirement; its name is the requirement.

mod harness;

mod a_gateway_stops_as_it_is_told;
mod clients_with_a_bad_certificate_are_refused;
mod clients_with_a_certificate_reach_the_upstream;
mod every_crypto_backend_serves;
mod every_option_has_its_effect;
mod handshakes_beyond_a_limit_take_their_turn;
mod it_refuses_to_start_without_io_uring;
mod many_bytes_and_many_connections_arrive;
mod only_allowed_identities_pass;
mod orderly_ends_are_told_from_truncation;
mod sigusr1_writes_what_was_counted;
mod upstreams_that_fail_are_survived;
mod what_is_not_tls_is_refused;
mod what_waits_for_a_limit_is_served_later;
