//! Tests of what needs no peer; see `tests/upstream_tls` for those that do.
