//! End-to-end tests: the gateway as a process, between real clients and real upstreams.
//!
//! One file per requirement; its name is the requirement.

mod harness;

mod a_bad_file_changes_nothing;
mod a_changed_file_is_picked_up;
mod a_gateway_stops_as_it_is_told;
mod a_session_resumes_only_into_what_its_handshake_would_get;
mod clients_with_a_bad_certificate_are_refused;
mod clients_with_a_certificate_reach_the_upstream;
mod each_bad_chain_is_refused_with_its_code;
mod every_crypto_backend_serves;
mod every_option_has_its_effect;
mod explain_says_what_the_gateway_does;
mod handshakes_beyond_a_limit_take_their_turn;
mod it_refuses_to_start_without_io_uring;
mod many_bytes_and_many_connections_arrive;
mod only_allowed_identities_pass;
mod orderly_ends_are_told_from_truncation;
mod probe_outlives_hostile_servers;
mod probe_tells_what_a_tls_server_does;
mod sighup_loads_and_opens_the_log_anew;
mod sigusr1_writes_what_was_counted;
mod the_admin_listener_publishes_keys_and_health;
mod upstreams_that_fail_are_survived;
mod what_is_not_tls_is_refused;
mod what_waits_for_a_limit_is_served_later;
mod who_may_not_stay_is_cut_off;
