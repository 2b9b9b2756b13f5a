//! Requests by HTTP/2 come through, to upstreams of HTTP/1.1 and of HTTP/2, and from clients of
//! HTTP/1.1 to upstreams of HTTP/2.

use crate::harness::programs::{self, Nginx};
use crate::harness::{Setup, pki};

/// The upstream, and what its table says of it.
fn upstreams() -> [(Nginx, &'static str); 2] {
    [(Nginx::start(), "protocol = \"http1\""), (Nginx::start_http2(), "protocol = \"http2\"")]
}

#[test]
fn curl_gets_files_by_either_version_from_either() {
    for (nginx, upstream) in upstreams() {
        let body: Vec<u8> = (0..3_000_001_u32).map(|index| (index % 251) as u8).collect();
        nginx.file("body", &body);
        nginx.file("empty", b"");
        let setup = Setup::to(nginx.address).listener("protocol = \"http\"").upstream(upstream);
        let gateway = setup.start();
        let client = &pki().client;
        let at = |path: &str| programs::url(gateway.address(), path);
        for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            let (first, second) = (at("/body"), at("/body"));
            let got = programs::curl(gateway.address(), Some(client), &[flag, &first, &second]);
            assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
            assert!(got.stdout == [&body[..], &body].concat(), "{} bytes came", got.stdout.len());
            let told = |arguments: &[&str]| {
                let format = "%{http_version} %{http_code} %{size_download}";
                let fixed = [flag, "--output", "/dev/null", "--write-out", format];
                let all = [&fixed[..], arguments].concat();
                let said = programs::curl(gateway.address(), Some(client), &all);
                String::from_utf8(said.stdout).expect("text")
            };
            assert_eq!(told(&[&at("/empty")]), format!("{version} 200 0"), "{upstream}");
            assert_eq!(told(&[&at("/absent")])[..version.len() + 4], format!("{version} 404"));
            assert_eq!(told(&["--head", &at("/body")]), format!("{version} 200 0"));
            let range = ["--range", "10-19", &at("/body")];
            assert_eq!(told(&range), format!("{version} 206 10"));
            let dated = ["--header", "if-none-match: *", &at("/body")];
            assert_eq!(told(&dated), format!("{version} 304 0"));
        }
        gateway.terminate().assert_clean();
    }
}

#[test]
fn many_streams_of_one_connection_are_answered_each_with_its_own() {
    for (nginx, upstream) in upstreams() {
        let setup = Setup::to(nginx.address).listener("protocol = \"http\"").upstream(upstream);
        let mut gateway = setup.start();
        let folder = crate::harness::temp_dir();
        let mut arguments = vec!["--http2".to_owned(), "--parallel".into()];
        for number in 0..40 {
            let body = vec![number as u8; 10_000 + number];
            nginx.file(&format!("file{number}"), &body);
            let out = folder.join(number.to_string()).display().to_string();
            let url = programs::url(gateway.address(), &format!("/file{number}"));
            arguments.extend(["--output".into(), out, url]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let got = programs::curl(gateway.address(), Some(&pki().client), &arguments);
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        for number in 0..40 {
            let came = std::fs::read(folder.join(number.to_string())).expect("curl wrote it");
            assert!(came == vec![number as u8; 10_000 + number], "file{number} by {upstream}");
        }
        let record = gateway.wait_for_record(|record| record["alpn"] == "h2");
        assert_eq!(record["close_reason"], "finished", "{record}");
        gateway.terminate().assert_clean();
    }
}
