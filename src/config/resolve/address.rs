//! Addresses as the configuration writes them.
//!
//! Text in, a parsed address or the complaint out; nothing is asked of a resolver or a socket.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Complaint;
use crate::config::snapshot::Target;
use crate::limits::{CPUS_MAX, DNS_LABEL_BYTES_MAX, DNS_NAME_BYTES_MAX, UNIX_PATH_BYTES_MAX};

const LISTEN_EXPECTED: &str = "an address and a port: \"127.0.0.1:8443\", \"[::1]:8443\", or \
                               \":8443\" for every address of both families";
const TARGET_EXPECTED: &str =
    "\"127.0.0.1:9000\", \"[::1]:9000\", \"app.internal:9000\" or \"unix:/run/app.sock\"";

/// An address to listen on, and whether it takes IPv4 clients on an IPv6 socket.
pub(super) fn listen(text: &str) -> Result<(SocketAddr, bool), Complaint> {
    let complaint = |fix: &str| Complaint::new("is not one to listen on", LISTEN_EXPECTED, fix);
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(complaint("put the IPv6 address in brackets and add a port"));
    }
    if let Some(port) = text.strip_prefix(':') {
        let port = port_number(port).ok_or_else(|| complaint("write a port from 1 to 65535"))?;
        return Ok((SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port), true));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(complaint("write a port from 1 to 65535")),
        Ok(address) => Ok((address, false)),
        Err(_) => Err(complaint("write an IP address, not a name, and a port")),
    }
}

/// Whether two listening addresses claim the same port of the same addresses.
pub(super) fn collide(one: (SocketAddr, bool), other: (SocketAddr, bool)) -> bool {
    let wildcard = |(address, _): (SocketAddr, bool)| address.ip().is_unspecified();
    let dual_stack = one.1 || other.1;
    one.0.port() == other.0.port()
        && (one.0.ip() == other.0.ip() || (dual_stack && wildcard(one) && wildcard(other)))
}

/// An entry of `endpoints`; `folder` is where a relative socket path starts.
pub(super) fn target(text: &str, folder: &Path) -> Result<Target, Complaint> {
    let complaint = |fix: &str| Complaint::new("is not an endpoint", TARGET_EXPECTED, fix);
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() || path.contains('\0') {
            return Err(complaint("write the path of the socket after `unix:`"));
        }
        let path = folder.join(path);
        let bytes = path.as_os_str().len();
        if bytes > UNIX_PATH_BYTES_MAX {
            return Err(Complaint::new(
                format!("stands for the path {} of {bytes} bytes", path.display()),
                format!("at most {UNIX_PATH_BYTES_MAX} bytes, the kernel's bound for sockets"),
                "move the socket to a shorter path",
            ));
        }
        return Ok(Target::Unix(path));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            return Err(complaint("write a port from 1 to 65535"));
        }
        return Ok(Target::Socket(address));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(complaint("add a port; an IPv6 address stands in brackets"));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(complaint("add a port: `:9000`"));
    };
    let port = port_number(port).ok_or_else(|| complaint("write a port from 1 to 65535"))?;
    if !is_host(host) {
        return Err(complaint("write a host name or an IP address before the port"));
    }
    Ok(Target::Name { host: host.to_ascii_lowercase(), port })
}

fn port_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// RFC 1123, 2.1, and the underscore that service names of containers have; a final dot makes the
/// name absolute. A last label of digits is a mistyped IPv4 address.
fn is_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=DNS_LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last_is_number =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= DNS_NAME_BYTES_MAX && host.split('.').all(is_label) && !last_is_number
}

/// A list of CPUs: `"0-3,8"`; ascending, each once.
pub(super) fn cpus(text: &str) -> Result<Vec<usize>, Complaint> {
    let complaint = |part: &str, fix: &str| {
        Complaint::new(
            format!("has the part `{part}`"),
            format!("CPU numbers below {CPUS_MAX} and ascending ranges of them: \"0-3,8\""),
            fix,
        )
    };
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<usize>().ok().filter(|cpu| digits && *cpu < CPUS_MAX)
        };
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(complaint(part, "write a number or a range"));
        };
        if first > last {
            return Err(complaint(part, "put the smaller number first"));
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(complaint(part, &format!("list CPU {cpu} once")));
            }
            cpus.push(cpu);
        }
    }
    cpus.sort_unstable();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_listens_on_both_families() {
        let (address, dual_stack) = listen(":8443").expect("a port");
        assert_eq!((address.to_string().as_str(), dual_stack), ("[::]:8443", true));
        let (address, dual_stack) = listen("[::1]:8443").expect("an address");
        assert_eq!((address.to_string().as_str(), dual_stack), ("[::1]:8443", false));
    }

    #[test]
    fn what_is_no_listening_address_says_why() {
        for (text, fix) in [
            ("", "write an IP address, not a name, and a port"),
            (":", "write a port from 1 to 65535"),
            (":+80", "write a port from 1 to 65535"),
            ("127.0.0.1:0", "write a port from 1 to 65535"),
            ("::1", "put the IPv6 address in brackets and add a port"),
            ("localhost:8443", "write an IP address, not a name, and a port"),
            (":65536", "write a port from 1 to 65535"),
        ] {
            assert_eq!(listen(text).expect_err(text).fix, fix, "{text}");
        }
    }

    #[test]
    fn the_dual_stack_wildcard_collides_with_both_wildcards_and_not_with_one_address() {
        let at = |text| listen(text).expect("an address");
        assert!(collide(at(":1"), at("0.0.0.0:1")));
        assert!(collide(at("[::]:1"), at(":1")));
        assert!(collide(at("127.0.0.1:1"), at("127.0.0.1:1")));
        assert!(!collide(at("[::]:1"), at("0.0.0.0:1")));
        assert!(!collide(at(":1"), at("127.0.0.1:1")));
        assert!(!collide(at(":1"), at(":2")));
    }

    #[test]
    fn targets_are_addresses_names_and_unix_sockets() {
        let folder = Path::new("/etc/ringfort");
        let parsed = |text| target(text, folder).expect(text);
        assert_eq!(parsed("[::1]:9000"), Target::Socket("[::1]:9000".parse().expect("an address")));
        assert_eq!(parsed("unix:app.sock"), Target::Unix("/etc/ringfort/app.sock".into()));
        assert_eq!(
            parsed("App_1.internal.:9000"),
            Target::Name { host: "app_1.internal.".into(), port: 9000 }
        );
        let long = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX));
        for text in [
            "",
            "app",
            "app:",
            "app:0",
            "app:x",
            ":9000",
            "-a:1",
            "a..b:1",
            "127.0.0.256:1",
            "127.0.0.1",
            "::1",
            "unix:",
            "http://a:1",
            &long,
            "127.0.0.1:0",
        ] {
            assert!(target(text, folder).is_err(), "{text}");
        }
    }

    #[test]
    fn cpu_lists_are_sorted_and_have_no_duplicates() {
        assert_eq!(cpus("8, 0-3").expect("a list"), [0, 1, 2, 3, 8]);
        for text in ["", "1,", "3-1", "1,0-2", "x", "-1", "1024", "0-9999999999"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }
}
