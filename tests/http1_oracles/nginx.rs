//! nginx as an upstream that answers each request with its method and target.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, process};

/// A process of nginx on a port of its own; killed on drop.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("ringfort-oracle-nginx-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(address)).expect("a file");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .args(["-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self { child, address, folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }

    /// Method and target of each request that nginx reads in `input`, on one connection.
    pub(crate) fn read(&self, input: &[u8]) -> Vec<(String, String)> {
        let mut stream = TcpStream::connect(self.address).expect("nginx listens");
        let timeout = Some(Duration::from_secs(10));
        stream.set_read_timeout(timeout).expect("a socket takes a timeout");
        stream.write_all(input).expect("nginx reads");
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).expect("nginx closes after the last request");
        let answers = String::from_utf8_lossy(&answers).into_owned();
        let seen = answers.split("X-Seen: ").skip(1);
        seen.map(|answer| {
            let line = answer.lines().next().unwrap_or_default();
            let (method, target) = line.split_once(' ').unwrap_or_default();
            (method.to_owned(), target.to_owned())
        })
        .collect()
    }
}

fn configuration(address: SocketAddr) -> String {
    format!(
        "daemon off; pid nginx.pid; worker_processes 1;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n\
         access_log off; client_body_temp_path body; proxy_temp_path proxy;\n\
         fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         server {{\n\
         listen {address};\n\
         add_header X-Seen \"$request_method $request_uri\" always;\n\
         location / {{ return 200; }}\n\
         }} }}\n"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
