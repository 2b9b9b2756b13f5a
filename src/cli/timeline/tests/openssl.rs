//! Recordings of `openssl s_server`, a server of another make.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

/// `openssl s_server`, ended with the test.
struct OpenSsl {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
    /// Its output, held open so that it can go on writing.
    _said: BufReader<ChildStdout>,
}

impl OpenSsl {
    fn start(pki: &Pki, test: &str, arguments: &[&str]) -> Self {
        let unique = format!("ringfort-timeline-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("the temporary directory is writable");
            path
        };
        let mut process = Command::new("openssl")
            .args(["s_server", "-www", "-accept", "127.0.0.1:0"])
            .arg("-cert")
            .arg(file("cert.pem", &pki.server_pem.0))
            .arg("-key")
            .arg(file("key.pem", &pki.server_pem.1))
            .arg("-CAfile")
            .arg(file("ca.pem", &pki.ca_pem))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let mut said = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.starts_with("ACCEPT ") {
            line.clear();
            let bytes = said.read_line(&mut line).expect("text");
            assert!(bytes > 0, "openssl s_server ended before it accepted");
        }
        let address = line["ACCEPT ".len()..].trim().parse();
        Self {
            process,
            directory,
            address: address.expect("openssl s_server says where it accepts"),
            _said: said,
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn openssl_s_server_is_recorded_in_full() {
    let pki = Pki::new();
    for (version, code) in [("-tls1_3", 0x0304), ("-tls1_2", 0x0303)] {
        let test = format!("full{version}");
        let server = OpenSsl::start(&pki, &test, &["-Verify", "1", version]);
        let mut options = pki.options(server.address);
        options.alpn.clear();
        let recording = record(&options).expect("the server answers");
        assert!(recording.response().starts_with(b"HTTP/1.0 200"));
        let decoded = check_bytes_and_times(&recording);
        assert_eq!(hello(&decoded).version, code);
        if code == 0x0304 {
            assert_eq!(names(&decoded, CLIENT), CLIENT_13);
            assert_eq!(names(&decoded, SERVER)[..7], SERVER_13[..7]);
        } else {
            assert_eq!(names(&decoded, SERVER)[..2], ["ServerHello", "Certificate"]);
            assert!(names(&decoded, CLIENT).contains(&"Finished"));
        }
        assert!(!names(&decoded, SERVER).contains(&"?"));
    }
}

#[test]
fn openssl_s_server_refuses_a_client_without_a_certificate() {
    let pki = Pki::new();
    let server = OpenSsl::start(&pki, "refused", &["-Verify", "1", "-verify_return_error"]);
    let mut options = pki.options(server.address);
    options.client_cert = None;
    options.alpn.clear();
    let error = record(&options).expect_err("a certificate is required");
    assert!(error.to_string().contains("certificate_required"), "{error}");
    let recording = error.recording.expect("much was recorded");
    assert_eq!(names(&check_bytes_and_times(&recording), SERVER).last(), Some(&"Alert"));
}
