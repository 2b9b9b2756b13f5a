//! Host, path, method, fields and identity choose a route, in the order of the file, and the route
//! says where a request goes and what becomes of it.

use crate::harness::http::request;
use crate::harness::live::Live;
use crate::harness::{
    ClientOptions, Gateway, HttpClient, Reply, Setup, Site, free_local, pki, wait_until,
};

/// The sites `main`, `a` and `b`, which say their names, and a gateway before them.
struct World {
    main: Site,
    a: Site,
    b: Site,
}

impl World {
    fn new() -> Self {
        Self { main: Site::named("main"), a: Site::named("a"), b: Site::named("b") }
    }

    fn setup(&self, routes: &[&str]) -> Setup {
        let setup = Setup::http(self.main.address()).more(&format!(
            "[[upstream]]\nname = \"a\"\nendpoints = [\"{}\"]\n\
             [[upstream]]\nname = \"b\"\nendpoints = [\"{}\"]\n",
            self.a.address(),
            self.b.address()
        ));
        routes.iter().enumerate().fold(setup, |setup, (index, keys)| {
            setup.route(&format!("name = \"route{index}\"\n{keys}"))
        })
    }
}

/// Asks for a target of a host.
fn asked(client: &mut HttpClient, host: &str, target: &str) -> String {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let response = client.answer("GET");
    match response.status() {
        200 => response.text().to_string(),
        status => status.to_string(),
    }
}

fn ended(gateway: Gateway, client: HttpClient) {
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn hosts_exact_and_wildcard() {
    let world = World::new();
    let gateway = world
        .setup(&[
            "host = [\"a.test\", \"also-a.test\"]\nupstream = \"a\"",
            "host = [\"*.b.test\"]\nupstream = \"b\"",
        ])
        .start();
    let mut client = HttpClient::connect(gateway.address());
    for (host, site) in [
        ("a.test", "a"),
        ("A.TEST", "a"),
        ("a.test:8443", "a"),
        ("a.test.", "a"),
        ("also-a.test", "a"),
        ("x.b.test", "b"),
        ("X.B.test:1", "b"),
        ("b.test", "main"),
        ("xa.test", "main"),
        ("a.test.evil.test", "main"),
        ("gateway.test", "main"),
        ("127.0.0.1", "main"),
        ("[::1]:8443", "main"),
    ] {
        assert_eq!(asked(&mut client, host, "/"), site, "{host}");
    }
    ended(gateway, client);
}

#[test]
fn paths_exact_and_by_whole_segments() {
    let world = World::new();
    let gateway = world
        .setup(&["path = \"/exact\"\nupstream = \"a\"", "path_prefix = \"/api\"\nupstream = \"b\""])
        .start();
    let mut client = HttpClient::connect(gateway.address());
    for (target, site) in [
        ("/exact", "a"),
        ("/exact?query=/api", "a"),
        ("/exact/", "main"),
        ("/exact/more", "main"),
        ("/Exact", "main"),
        ("/e%78act", "a"),
        ("//exact", "a"),
        ("/api", "b"),
        ("/api/", "b"),
        ("/api/v1?x", "b"),
        ("//api///v1", "b"),
        ("/%61pi/v1", "b"),
        ("/apis", "main"),
        ("/api-internal", "main"),
        ("/v1/api", "main"),
        // What is another path for one server and the same for another gets no route at all.
        ("/public/../api", "400"),
        ("/public/%2e%2e/api", "400"),
        ("/public/..%2fapi", "400"),
        ("/api/./v1", "400"),
        ("/api%2fv1", "400"),
        ("/api%5cv1", "400"),
        ("/api%c0%afv1", "400"),
        // Parameters are no part of a segment's name.
        ("/api;a=1/v1", "b"),
        ("/api;/v1", "b"),
        ("/;/api/v1", "b"),
        ("/api%3Ba=1", "b"),
        ("/exact;a=1", "a"),
        ("/apis;/api", "main"),
    ] {
        assert_eq!(asked(&mut client, "gateway.test", target), site, "{target}");
        if site == "400" {
            // The head was good: the connection may go on, or a new one is made.
            client = HttpClient::connect(gateway.address());
        }
    }
    ended(gateway, client);
}

#[test]
fn methods_and_fields() {
    let world = World::new();
    let gateway = world
        .setup(&[
            "method = [\"PUT\", \"POST\"]\nheader = [\"x-tenant: blue\"]\nupstream = \"a\"",
            "header = [\"X-Beta\"]\nupstream = \"b\"",
        ])
        .start();
    let mut client = HttpClient::connect(gateway.address());
    for (method, lines, site) in [
        ("PUT", "X-Tenant: blue\r\n", "a"),
        ("POST", "x-TENANT:blue\r\n", "a"),
        ("GET", "X-Tenant: blue\r\n", "main"),
        ("put", "X-Tenant: blue\r\n", "main"),
        ("PUT", "X-Tenant: bluest\r\n", "main"),
        ("PUT", "X-Tenant: red\r\nX-Beta: 1\r\n", "b"),
        ("GET", "x-beta:\r\n", "b"),
        ("GET", "X-Beta2: 1\r\n", "main"),
        ("GET", "X_Beta: 1\r\n", "b"),
        ("PUT", "x.tenant: blue\r\n", "a"),
    ] {
        let response = client.ask(method, "/", lines);
        assert_eq!(response.text(), site, "{method} {lines}");
    }
    ended(gateway, client);
}

#[test]
fn the_identity_selects_and_is_judged() {
    let world = World::new();
    let mut gateway = world
        .setup(&[
            "identity = [\"dns:*.a.test\"]\nupstream = \"a\"",
            "path_prefix = \"/b\"\nallow = [\"dns:client.test\"]\nupstream = \"b\"",
            "path_prefix = \"/not\"\ndeny = [\"dns:client.test\"]\nupstream = \"b\"",
        ])
        .start();
    let connect = |name: &str| {
        let options = ClientOptions::with(&pki().client_named(name));
        HttpClient::connect_with(&options, gateway.address())
    };
    let (mut usual, mut of_a, mut other) =
        (connect("client.test"), connect("x.a.test"), connect("other.test"));
    for (path, expected) in
        [("/", ["main", "a", "main"]), ("/b", ["b", "a", "403"]), ("/not", ["403", "a", "b"])]
    {
        for (client, expected) in [&mut usual, &mut of_a, &mut other].into_iter().zip(expected) {
            assert_eq!(asked(client, "gateway.test", path), expected, "{path}");
        }
    }
    let line = gateway.wait_for("a refusal", |line| line["path"] == "/b" && line["status"] == 403);
    assert_eq!((&line["route"], &line["upstream"]), (&"route1".into(), &serde_json::Value::Null));
    assert!(line["answered"].is_string() && line["detail"].is_string(), "{line}");
    drop((usual, of_a, other));
    gateway.terminate().assert_clean();
}

#[test]
fn the_first_that_matches_is_chosen() {
    let world = World::new();
    let gateway = world
        .setup(&[
            "path_prefix = \"/x/y\"\nupstream = \"a\"",
            "host = [\"gateway.test\"]\npath_prefix = \"/x\"\nupstream = \"b\"",
            "path = \"/x/z\"\nupstream = \"a\"",
        ])
        .start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(asked(&mut client, "gateway.test", "/x/y"), "a");
    assert_eq!(asked(&mut client, "gateway.test", "/x/z"), "b", "before the exact one");
    assert_eq!(asked(&mut client, "other.test", "/x/z"), "a");
    assert_eq!(asked(&mut client, "other.test", "/x"), "main");
    ended(gateway, client);
}

#[test]
fn without_a_last_resort_there_is_404() {
    let world = World::new();
    let setup = world.setup(&["path_prefix = \"/a\"\nupstream = \"a\""]);
    let mut gateway = setup.without_upstream().start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(asked(&mut client, "gateway.test", "/a"), "a");
    assert_eq!(asked(&mut client, "gateway.test", "/b"), "404");
    assert_eq!(asked(&mut client, "gateway.test", "/a"), "a", "the connection goes on");
    let line = gateway.wait_for("a refusal", |line| line["status"] == 404);
    assert_eq!(line["answered"], "no_route", "{line}");
    assert!(line["route"].is_null(), "{line}");
    ended(gateway, client);
}

#[test]
fn fields_are_set_added_and_removed_on_both_ways() {
    let site = Site::new(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nServer: origin\r\nX-Set: theirs\r\nX-Gone: 1\r\n\
             Content-Length: 0\r\n\
             \r\n",
        )
    });
    let gateway = Setup::http(site.address())
        .without_upstream()
        .route(
            "name = \"only\"\nupstream = \"app\"\n\
             request_headers_set = [\"X-Set: ours\"]\nrequest_headers_add = [\"X-More: 1\"]\n\
             request_headers_remove = [\"cookie\"]\n\
             response_headers_set = [\"X-Set: ours\", \"Strict-Transport-Security: max-age=1\"]\n\
             response_headers_add = [\"X-Gone: 2\"]\nresponse_headers_remove = [\"server\"]",
        )
        .start();
    let mut client = HttpClient::connect(gateway.address());
    let lines = "X-SET: theirs\r\nx-set: again\r\nX-More: 0\r\nCookie: a=b\r\ncookie: c=d\r\n";
    let response = client.ask("GET", "/", lines);
    let asked = site.only();
    assert_eq!(asked.values("x-set"), ["ours"]);
    assert_eq!(asked.values("x-more"), ["0", "1"]);
    assert!(asked.values("cookie").is_empty(), "{asked:?}");
    assert_eq!(response.values("x-set"), ["ours"]);
    assert_eq!(response.values("x-gone"), ["1", "2"]);
    assert_eq!(response.value("strict-transport-security"), Some("max-age=1"));
    assert!(response.values("server").is_empty(), "{response:?}");
    ended(gateway, client);
}

#[test]
fn a_prefix_is_rewritten_and_the_query_stays() {
    let site = Site::new(|seen| Reply::ok(seen.request.target()));
    let gateway = Setup::http(site.address())
        .route(
            "name = \"one\"\nupstream = \"app\"\npath_prefix = \"/old\"\n\
             prefix_rewrite = \"/new/v2\"",
        )
        .route(
            "name = \"two\"\nupstream = \"app\"\npath_prefix = \"/root\"\n\
             prefix_rewrite = \"/\"",
        )
        .start();
    let mut client = HttpClient::connect(gateway.address());
    for (target, expected) in [
        ("/old", "/new/v2"),
        ("/old/", "/new/v2/"),
        ("/old/a%20b?q=/old&x=%2e%2e", "/new/v2/a%20b?q=/old&x=%2e%2e"),
        ("/o%6cd//a", "/new/v2/a"),
        ("/older", "/older"),
        ("/root/a", "/a"),
        ("/root", "/"),
        ("/root?x", "/?x"),
        ("/old;a=1/b;c=2?d", "/new/v2/b;c=2?d"),
        ("/other;a=1/b", "/other;a=1/b"),
        ("http://gateway.test?x", "/?x"),
        ("https://gateway.test:?x", "/?x"),
        ("/other//a", "/other//a"),
    ] {
        assert_eq!(asked(&mut client, "gateway.test", target), expected, "{target}");
    }
    ended(gateway, client);
}

#[test]
fn a_reload_changes_routes_for_connections_that_are_there() {
    let world = World::new();
    let address = free_local();
    let with = |upstream: &str| {
        let route = format!("path_prefix = \"/x\"\nupstream = {upstream:?}");
        world.setup(&[&route]).at(address)
    };
    let mut live = Live::start(&with("a"));
    let mut client = HttpClient::connect(live.address());
    assert_eq!(asked(&mut client, "gateway.test", "/x"), "a");
    live.publish(&with("b"));
    wait_until("the new route", || asked(&mut client, "gateway.test", "/x") == "b");
    let denied = "path_prefix = \"/x\"\nupstream = \"a\"\ndeny = [\"dns:client.test\"]";
    live.publish(&world.setup(&[denied]).at(address));
    wait_until("the new rule", || asked(&mut client, "gateway.test", "/x") == "403");
    assert_eq!(asked(&mut client, "gateway.test", "/"), "main", "the connection goes on");
    client.send(request("GET", "/", "Connection: close\r\n"));
    client.answer("GET");
    client.assert_ended();
}

#[test]
fn what_is_set_or_removed_has_no_other_spelling() {
    let site = Site::new(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nX_Gone: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
             0\r\nX-Gone: 2\r\nx.gone: 3\r\nX-Sum: 4\r\n\r\n",
        )
    });
    let gateway = Setup::http(site.address())
        .without_upstream()
        .route(
            "name = \"only\"\nupstream = \"app\"\nrequest_headers_set = [\"X-Team: ours\"]\n\
             request_headers_remove = [\"x-remote-user\"]\n\
             response_headers_remove = [\"x-gone\"]",
        )
        .start();
    let mut client = HttpClient::connect(gateway.address());
    let forged = "X_Team: evil\r\nx.team: evil\r\nX~Remote_User: evil\r\nx-remote-user: evil\r\n";
    let head = request("POST", "/", &format!("{forged}Transfer-Encoding: chunked\r\n"));
    client.send(format!("{head}1\r\nx\r\n0\r\n{forged}X-Team: evil\r\nX-Kept: 1\r\n\r\n"));
    let response = client.answer("POST");
    let asked = site.only();
    assert_eq!(asked.value("x-team"), Some("ours"));
    assert!(!asked.fields.iter().any(|(_, value)| value == "evil"), "{asked:#?}");
    assert_eq!(asked.trailers, [("X-Kept".into(), "1".into())]);
    assert!(!response.fields.iter().any(|(name, _)| name == "X_Gone"), "{response:#?}");
    assert_eq!(response.trailers, [("X-Sum".into(), "4".into())]);
    ended(gateway, client);
}

#[test]
fn encoded_slashes_pass_where_the_listener_says_so() {
    let site = Site::new(|seen| Reply::ok(seen.request.target()));
    let gateway = Setup::http(site.address()).http_keys("encoded_slashes = true").start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(asked(&mut client, "gateway.test", "/a%2fb"), "/a%2fb");
    assert_eq!(asked(&mut client, "gateway.test", "/a%5cb"), "400");
    ended(gateway, client);
}
