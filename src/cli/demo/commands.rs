//! The commands that a person copies into a shell to try the gateway.
//!
//! The invariant: a command means the same in any POSIX shell, whatever characters the paths have.

use std::net::SocketAddr;

use super::Names;

/// The lines to copy: each entry is one command, over several lines.
pub(super) fn lines(address: SocketAddr, names: &Names<'_>) -> [String; 3] {
    let url = quote(&format!("https://{address}/"));
    let connect = quote(&address.to_string());
    let [ca, certificate, key] = [names.ca, names.certificate, names.key].map(quote);
    let curl_certificate = quote(&curl_escape(names.certificate));
    [
        format!(
            "  curl --cacert {ca} \\\n    --cert {curl_certificate} \\\n    \
             --key {key} \\\n    {url}\n"
        ),
        format!(
            "  printf 'GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n' |\n    \
             openssl s_client -quiet -connect {connect} -servername {host} \\\n    \
             -verify_return_error -CAfile {ca} \\\n    \
             -cert {certificate} \\\n    -key {key}\n",
            host = super::SERVER_NAME,
        ),
        format!("  curl --cacert {ca} {url}\n"),
    ]
}

/// What a POSIX shell reads as one word with exactly this text.
fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// curl takes what follows a colon in `--cert` for a password.
fn curl_escape(path: &str) -> String {
    path.replace('\\', r"\\").replace(':', r"\:")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_text_as_it_is() {
        for text in
            ["/tmp/a", "", "a b", "it's", "$HOME `id` \"x\" \\ *", "[::1]:8443", "~", "a\nb"]
        {
            let echo = format!("printf %s {}", quote(text));
            let output = Command::new("sh").args(["-c", &echo]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{echo}");
        }
        assert_eq!(quote("/tmp/ringfort-demo-1/ca.pem"), "/tmp/ringfort-demo-1/ca.pem");
    }
}
