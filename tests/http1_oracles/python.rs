//! `readers.py`: one process for all conversations, a line of hexadecimal digits for each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, process};

use crate::Conversation;
use crate::through::Message;

/// What the reader of this name, see `readers.py`, reads of each conversation.
pub(crate) fn read(reader: &str, conversations: &[Conversation]) -> Vec<Vec<Message>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http1_oracles/readers.py");
    let lines: String = conversations.iter().map(|it| hex(&it.written) + "\n").collect();
    let name = format!("ringfort-oracle-{reader}-{}", process::id());
    let input = std::env::temp_dir().join(name);
    fs::write(&input, lines).expect("the input can be written");
    let output = Command::new(interpreter())
        .arg(script)
        .arg(reader)
        .stdin(fs::File::open(&input).expect("the input is there"))
        .stderr(Stdio::piped())
        .output()
        .expect("it starts");
    fs::remove_file(&input).expect("the input was there");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{reader}: {}\n{stderr}", output.status);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let found: Vec<Vec<Message>> = stdout.lines().map(messages).collect();
    assert_eq!(found.len(), conversations.len(), "{reader}: {stderr}");
    found
}

/// The interpreter that has h11: that of the environment which `scripts/test` makes.
fn interpreter() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("below the target folder");
    let python = target.join("python/bin/python");
    assert!(python.exists(), "{python:?} is missing: scripts/test makes it");
    python
}

/// `METHOD TARGET FIELDS BODY|` for each message.
fn messages(line: &str) -> Vec<Message> {
    let message = |text: &str| {
        let parts: Vec<&str> = text.split(' ').collect();
        let [method, target, fields, body] = parts[..] else {
            panic!("{line}");
        };
        Message {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: fields.parse().expect("a number"),
            body: bytes(body),
            is_chunked: false,
        }
    };
    line.split_terminator('|').map(message).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let text = digits.map(|pair| std::str::from_utf8(pair).expect("digits"));
    text.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect()
}
