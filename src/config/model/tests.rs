//! Tests of the schema: what is taken, and how what is not is told.

use super::*;

fn refusal(text: &str) -> String {
    parse(text, "ringfort.toml").expect_err("the text must be refused").to_string()
}

#[test]
fn an_empty_text_is_an_empty_model() {
    let model = parse("", "ringfort.toml").expect("nothing is required by the schema");
    assert!(model.listener.is_empty() && model.upstream.is_empty());
}

#[test]
fn a_value_remembers_where_it_was_written() {
    let text = "workers = 2\n[[listener]]\nname = \"a\"\nclient_ca = [\"x\", \"y\"]\n";
    let model = parse(text, "r.toml").expect("the text is right");
    let place = |span: std::ops::Range<usize>| model.source.place(&span).to_string();
    assert_eq!(place(model.workers.as_ref().expect("workers").span()), "r.toml:1:11");
    assert_eq!(place(model.listener[0].span()), "r.toml:2:1");
    let listener = model.listener[0].get_ref();
    assert_eq!(place(listener.name.as_ref().expect("name").span()), "r.toml:3:8");
    let client_ca = listener.client_ca.as_ref().expect("client_ca");
    let OneOrMore::More(files) = client_ca.get_ref() else {
        panic!("a list was written");
    };
    assert_eq!(place(files[1].span()), "r.toml:4:19");
}

#[test]
fn one_root_bundle_needs_no_list() {
    let model = parse("[[listener]]\nclient_ca = \"x\"\n", "r.toml").expect("a string");
    let client_ca = model.listener[0].get_ref().client_ca.as_ref().expect("client_ca");
    assert!(matches!(client_ca.get_ref(), OneOrMore::One(file) if file == "x"));
    assert_eq!(model.source.place(&client_ca.span()).to_string(), "r.toml:2:13");
}

#[test]
fn an_unknown_key_names_the_nearest_and_all_known() {
    assert_eq!(
        refusal("workers = 1\n[[upstream]]\nname = \"a\"\nendpoint = [\"b\"]\n"),
        "ringfort.toml:4:1: unknown key `endpoint`; expected one of name, endpoints, balance, \
         connect_timeout_ms, resolve_interval_ms, protocol, tls, tls_ca, tls_server_name, \
         tls_chain, tls_key, tls_crypto, idle_connections_max, idle_timeout_ms, requests_max, \
         connection_age_max_ms; fix: write `endpoints`, or remove the key"
    );
    assert_eq!(
        refusal("[log]\ncolour = true\n"),
        "ringfort.toml:2:1: unknown key `colour`; expected one of target; \
         fix: remove the key"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown() {
    assert_eq!(
        refusal("\nworkers = \"two\"\n"),
        "ringfort.toml:2:11: invalid type: string \"two\" in `workers = \"two\"`; \
         expected an integer; \
         fix: correct this line (text stands in quotes); \
         docs/configuration.md lists every key and its type"
    );
    assert_eq!(
        refusal("[[listener]]\nclient_ca = 7\n"),
        "ringfort.toml:2:13: invalid type: integer `7` in `client_ca = 7`; \
         expected a string or a list of strings; \
         fix: correct this line (text stands in quotes); \
         docs/configuration.md lists every key and its type"
    );
    assert_eq!(
        refusal("[[listener]]\nallow = \"CN=a\"\n"),
        "ringfort.toml:2:9: invalid type: string \"CN=a\" in `allow = \"CN=a\"`; \
         expected a list: [\"...\", \"...\"]; \
         fix: correct this line (text stands in quotes); \
         docs/configuration.md lists every key and its type"
    );
}

#[test]
fn a_text_that_is_not_toml_is_shown() {
    for (text, found) in [
        ("workers = 1\ncpus = 0-3\n", "ringfort.toml:2:8: invalid date in `cpus = 0-3`; expected "),
        (
            "workers = 1\nworkers = 2\n",
            "ringfort.toml:2:1: duplicate key in `workers = 2`; expected each key once; ",
        ),
        (
            "[[listener\n",
            "ringfort.toml:1:11: unclosed array table in `[[listener`; expected `]]`; ",
        ),
        (
            "\n[log]\ntarget = \"off\n",
            "ringfort.toml:3:14: invalid basic string in `target = \"off`; expected `\"`; ",
        ),
        ("workers 2\n", "ringfort.toml:1:9: key with no value in `workers 2`; expected `=`; fix: "),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(found), "{error}");
    }
}

#[test]
fn a_table_of_a_list_needs_two_pairs_of_brackets() {
    assert_eq!(
        refusal("workers = 1\n[listener]\nname = \"a\"\n"),
        "ringfort.toml:2:1: one table where a list of tables stands, `[listener]`; \
         expected `[[listener]]`; fix: double the brackets"
    );
}
