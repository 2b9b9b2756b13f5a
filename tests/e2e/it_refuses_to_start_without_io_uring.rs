//! Where the kernel or a container's profile has no io_uring for it, the gateway does not start,
//! and one sentence says why and what to do. There is no slower way to run that nobody notices.

use crate::harness::Setup;
use crate::harness::programs::script;

/// What a gateway says to which io_uring_setup(2) fails with this errno.
fn said_with(errno: &str) -> String {
    let filter = script("without_io_uring.py");
    let setup = Setup::to("127.0.0.1:1").under(&["python3", &filter, errno]);
    let said = setup.refused();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("io_uring cannot be used on kernel "), "{said}");
    assert!(std::net::TcpStream::connect(setup.address).is_err(), "it left nothing behind");
    said
}

#[test]
fn where_it_is_forbidden() {
    let said = said_with("EPERM");
    assert!(said.contains("set the sysctl kernel.io_uring_disabled to 0"), "{said}");
}

#[test]
fn where_there_is_none() {
    let said = said_with("ENOSYS");
    assert!(said.contains("allow io_uring_setup, io_uring_enter and io_uring_register"), "{said}");
}

#[test]
fn where_memory_is_short() {
    let said = said_with("ENOMEM");
    assert!(said.contains("raise RLIMIT_MEMLOCK"), "{said}");
}
