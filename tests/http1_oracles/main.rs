//! What ringfort accepts and writes, read by others: hyper, Python's `http.server`, h11, and nginx.
//!
//! Conversations of random requests go through the codec as a gateway has them: taken apart, and
//! written anew. Each reader must then see the messages that ringfort saw, with the same methods,
//! targets, numbers of fields and bodies, and behind them the one that closes the connection, at
//! its place. What readers may refuse of their own (letters of methods, slashes) is not generated.

mod hyper_reader;
mod made;
mod nginx;
mod python;
mod through;

use made::conversations;
use through::{Message, through};

/// Conversations that each reader is given.
const CONVERSATIONS: usize = 600;

/// A conversation as it is written, and what ringfort read of it.
struct Conversation {
    written: Vec<u8>,
    messages: Vec<Message>,
}

/// Those that ringfort accepts; others are not written at all.
fn accepted() -> Vec<Conversation> {
    let all = conversations(CONVERSATIONS);
    let accepted: Vec<Conversation> = all
        .iter()
        .filter_map(|input| through(input))
        .map(|(written, messages)| Conversation { written, messages })
        .collect();
    let (accepted_count, all) = (accepted.len(), all.len());
    assert!(accepted_count * 3 > all, "only {accepted_count} of {all} were accepted");
    assert!(accepted_count < all, "nothing that ringfort refuses was among them");
    accepted
}

fn assert_same(reader: &str, conversation: &Conversation, found: &[Message]) {
    let text = conversation.written.escape_ascii();
    assert_eq!(found, conversation.messages, "{reader} reads otherwise: {text}");
}

#[test]
fn hyper_reads_the_same_messages() {
    for conversation in accepted() {
        let found = hyper_reader::read(&conversation.written);
        assert_same("hyper", &conversation, &found);
    }
}

#[test]
fn pythons_server_reads_the_same_messages() {
    let mut plain = accepted();
    // http.server leaves bodies in chunks to others.
    plain.retain(|it| it.messages.iter().all(|message| !message.is_chunked));
    assert!(plain.len() > CONVERSATIONS / 8, "too few: {}", plain.len());
    let found = python::read("http.server", &plain);
    for (conversation, found) in plain.iter().zip(&found) {
        assert_same("http.server", conversation, found);
    }
}

#[test]
fn h11_reads_the_same_messages() {
    let all = accepted();
    let found = python::read("h11", &all);
    for (conversation, found) in all.iter().zip(&found) {
        assert_same("h11", conversation, found);
    }
}

#[test]
fn nginx_reads_the_same_messages() {
    let nginx = nginx::Nginx::start();
    for conversation in accepted().iter().take(CONVERSATIONS / 3) {
        let found = nginx.read(&conversation.written);
        let text = conversation.written.escape_ascii();
        let expected: Vec<(String, String)> = conversation
            .messages
            .iter()
            .map(|message| (message.method.clone(), message.target.clone()))
            .collect();
        assert_eq!(found, expected, "nginx reads otherwise: {text}");
    }
}
