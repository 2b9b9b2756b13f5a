//! Tests of `explain` within the process; `tests/e2e` holds it against a gateway.
