//! A request that the gateway answers by itself gets the status for it and no detail that it was
//! not meant to have; the log and the counters tell what it was.

use serde_json::Value;

use crate::harness::http::{Message, request, request_with};
use crate::harness::origin::{Origin, Refusing};
use crate::harness::programs::{curl, url};
use crate::harness::{ClientOptions, Gateway, HttpClient, Setup, Site, pki};

/// The line of the next request.
fn line(gateway: &mut Gateway) -> Value {
    gateway.wait_for("a request", |line| line["event"] == "request" && line["seen"].is_null())
}

#[track_caller]
fn assert_line(line: &Value, status: u16, answered: &str, path: &str) {
    assert_eq!(line["status"], status, "{line}");
    assert_eq!(line["answered"], answered, "{line}");
    assert_eq!(line["path"], path, "{line}");
    assert_eq!(line["method"], "GET", "{line}");
    assert_eq!(line["authority"], "gateway.test", "{line}");
    assert_eq!(line["protocol"], "http/1.1", "{line}");
    assert_eq!(line["identity"], "client.test", "{line}");
    assert!(line["total_us"].as_u64().is_some(), "{line}");
}

#[test]
fn a_request_that_is_served_has_a_line_with_all_of_it() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request_with("POST", "/a/b?secret=1", "", "seven b"));
    client.answer("POST");
    let line = line(&mut gateway);
    let peer = client.stream.local_address();
    drop(client);
    let record = gateway.record_of(peer);
    assert_eq!(line["connection"], record["connection"], "{line} {record}");
    assert_eq!(line["peer"], record["peer"]);
    for (key, value) in [
        ("listener", Value::from("main")),
        ("identity", "client.test".into()),
        ("protocol", "http/1.1".into()),
        ("method", "POST".into()),
        ("authority", "gateway.test".into()),
        ("path", "/a/b".into()),
        ("status", 200.into()),
        ("route", "default".into()),
        ("upstream", site.address().to_string().into()),
        ("retries", 0.into()),
        ("bytes_up", 7.into()),
        ("bytes_down", 2.into()),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    for key in ["answered", "failure"] {
        assert!(line.get(key).is_none(), "{key} in {line}");
    }
    let (upstream, total) = (line["upstream_us"].as_u64(), line["total_us"].as_u64());
    assert!(upstream.is_some() && upstream <= total, "{line}");
    assert!(!line.to_string().contains("secret"), "{line}");
    gateway.terminate().assert_clean();
}

#[test]
fn forbidden_says_nothing_unless_it_is_asked_to() {
    for details in [false, true] {
        let site = Site::ok();
        let mut gateway = Setup::http(site.address())
            .http_keys(&format!("problem_details = {details}"))
            .route(
                "name = \"other\"\npath_prefix = \"/secret\"\nupstream = \"app\"\n\
                 allow = [\"dns:other.test\"]",
            )
            .start();
        let mut client = HttpClient::connect(gateway.address());
        let answer = client.get("/secret/a");
        assert_eq!(answer.status(), 403);
        let line = line(&mut gateway);
        assert_line(&line, 403, "no_rule_matches", "/secret/a");
        assert_eq!(line["route"], "other", "{line}");
        assert!(!answer.text().contains("other.test"), "{answer:?}");
        if details {
            assert_eq!(answer.value("content-type"), Some("application/problem+json"));
            let problem: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(problem["status"], 403, "{problem}");
            assert_eq!(problem["title"], "Forbidden", "{problem}");
            assert_eq!(problem["code"], line["answered"], "{problem}");
        } else {
            assert_eq!(answer.text(), "403 Forbidden\n");
            assert_eq!(answer.value("content-type"), Some("text/plain"));
        }
        // To HEAD the same without a body, and the connection goes on.
        let head = client.ask("HEAD", "/secret/a", "");
        assert_eq!(head.value("content-length"), answer.value("content-length"));
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(site.seen().len(), 1);
        drop(client);
        let stopped = gateway.terminate();
        assert_eq!((stopped.counter("requests"), stopped.counter("requests_answered")), (3, 2));
        stopped.assert_clean();
    }
}

#[test]
fn bodies_beyond_the_limit_get_413() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address())
        .without_upstream()
        .route("name = \"small\"\nupstream = \"app\"\nrequest_body_bytes_max = 1000")
        .start();
    let body = "x".repeat(1000);
    let mut client = HttpClient::connect(gateway.address());
    client.send(request_with("POST", "/fits", "", &body));
    assert_eq!(client.answer("POST").text(), "ok");
    // By its length nothing of it reaches the upstream.
    client.send(request("POST", "/length", "Content-Length: 1001\r\n"));
    assert_eq!(client.answer("POST").status(), 413);
    // In chunks it is noticed on the way.
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/chunked", "Transfer-Encoding: chunked\r\n"));
    client.send(format!("3e8\r\n{body}\r\n"));
    client.send("1\r\nx\r\n");
    let answer = client.answer("POST");
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.value("connection"), Some("close"), "{answer:?}");
    assert_eq!(client.rest(), b"");
    assert_eq!(site.only().target(), "/fits");
    for answered in [Value::Null, "body_too_large".into(), "body_too_large".into()] {
        let line = line(&mut gateway);
        assert_eq!(line.get("answered").unwrap_or(&Value::Null), &answered, "{line}");
    }
    gateway.terminate().assert_nothing_left();
}

#[test]
fn heads_beyond_the_limit_get_431_and_long_targets_414() {
    let site = Site::ok();
    let keys = "head_bytes_max = 4096\nhead_fields_max = 20";
    let gateway = Setup::http(site.address())
        .http_keys(keys)
        .route(
            "name = \"short\"\npath = \"/short\"\nupstream = \"app\"\n\
             request_head_bytes_max = 1024",
        )
        .start();
    let many: String = (0..30).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = |bytes: usize| format!("X-Long: {}\r\n", "y".repeat(bytes));
    for (target, lines, status, closes) in [
        ("/", long(2000), 200, false),
        ("/", long(5000), 431, true),
        ("/", many, 431, true),
        (&*format!("/{}", "z".repeat(5000)), String::new(), 414, true),
        ("/short", long(500), 200, false),
        ("/short", long(2000), 431, false),
        ("/", long(200_000), 431, true),
    ] {
        let mut client = HttpClient::connect(gateway.address());
        // The answer may come, and the end, while it is still being sent.
        let _ = client.try_send(request("GET", target, &lines));
        let answer = client.answer("GET");
        let what = format!("{} bytes for {}", lines.len(), &target[..target.len().min(9)]);
        assert_eq!(answer.status(), status, "{what}");
        assert_eq!(answer.value("connection").is_some(), closes, "{what}: {answer:?}");
    }
    assert_eq!(site.seen().len(), 2);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_host_of_another_trust_scope_gets_421() {
    let site = Site::ok();
    let other = crate::harness::chaos::Ca::root("other root", |_| {});
    let strict = format!(
        "[[listener.server_name]]\nnames = [\"strict.test\", \"*.strict.test\"]\n\
         client_ca = {:?}\n",
        other.file()
    );
    let mut gateway = Setup::http(site.address()).http_keys("").more(&strict).start();
    let mut client = HttpClient::connect(gateway.address());
    for (host, status) in [
        ("gateway.test", 200),
        ("unknown.test", 200),
        ("strict.test", 421),
        ("STRICT.test:443", 421),
        ("strict.test.", 421),
        ("a.strict.test", 421),
        ("notstrict.test", 200),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer("GET").status(), status, "{host}");
    }
    let line = gateway.wait_for("a refusal", |line| line["status"] == 421);
    assert_eq!(line["answered"], "misdirected", "{line}");
    // The other way round: who is in the strict scope asks for what is outside of it.
    let member = other.client(|_| {});
    let options = ClientOptions::with(&member).server_name("strict.test").any_server();
    let mut client = HttpClient::connect_with(&options, gateway.address());
    for (host, status) in [("strict.test", 200), ("x.strict.test", 200), ("gateway.test", 421)] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.answer("GET").status(), status, "{host} from within");
    }
    assert_eq!(site.seen().len(), 5);
    gateway.terminate().assert_nothing_left();
}

/// Statuses of so many requests, one after the other.
fn statuses(client: &mut HttpClient, target: &str, count: usize) -> Vec<Message> {
    (0..count).map(|_| client.get(target)).collect()
}

#[test]
fn rates_are_per_identity_and_per_source_and_say_when_to_come_back() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address())
        .route(
            "name = \"each\"\npath = \"/each\"\nupstream = \"app\"\n\
             rate_per_identity = \"6/m burst 3\"",
        )
        .route(
            "name = \"all\"\npath = \"/all\"\nupstream = \"app\"\n\
             rate_per_source = \"6/m burst 4\"",
        )
        .start();
    let connect = |name: &str| {
        let options = ClientOptions::with(&pki().client_named(name));
        HttpClient::connect_with(&options, gateway.address())
    };
    let (mut one, mut again, mut other) =
        (connect("one.test"), connect("one.test"), connect("other.test"));
    for client in [&mut one, &mut other] {
        let answers = statuses(client, "/each", 5);
        let found: Vec<_> = answers.iter().map(Message::status).collect();
        assert_eq!(found, [200, 200, 200, 429, 429]);
        let wait: u64 =
            answers[4].value("retry-after").expect("the field").parse().expect("seconds");
        assert!((1..=10).contains(&wait), "{wait}: one comes back every ten seconds");
    }
    // Another connection, and another certificate, of the same identity are the same client.
    assert_eq!(again.get("/each").status(), 429);
    let found: Vec<_> = (0..2)
        .flat_map(|_| [&mut one, &mut again, &mut other].map(|it| it.get("/all").status()))
        .collect();
    assert_eq!(found, [200, 200, 200, 200, 429, 429], "they come from one address");
    assert_eq!(one.get("/").status(), 200, "elsewhere there is no rate");
    let line = gateway.wait_for("a refusal", |line| line["status"] == 429);
    assert_eq!((&line["answered"], &line["route"]), (&"rate_of_identity".into(), &"each".into()));
    let line =
        gateway.wait_for("a refusal", |line| line["route"] == "all" && line["status"] == 429);
    assert_eq!(line["answered"], "rate_of_source", "{line}");
    drop((one, again, other));
    gateway.terminate().assert_clean();
}

#[test]
fn upstreams_that_fail_have_each_their_status() {
    let refusing = Refusing::new();
    let resetting = Origin::resetting(true);
    let garbage = Site::new(|_| crate::harness::Reply::raw("\0\x01\x02garbage\r\n\r\n"));
    let silent = Origin::sink();
    let upstreams: String = [
        ("refusing", refusing.address.to_string()),
        ("resetting", resetting.address().to_string()),
        ("garbage", garbage.address().to_string()),
        ("silent", silent.address().to_string()),
        ("nowhere", "no-such-name.invalid:80".into()),
    ]
    .iter()
    .map(|(name, address)| format!("[[upstream]]\nname = {name:?}\nendpoints = [{address:?}]\n"))
    .collect();
    let route = |name: &str| {
        format!(
            "name = {name:?}\npath = \"/{name}\"\nupstream = {name:?}\n\
             first_byte_timeout_ms = 400\n\
             retries = 0"
        )
    };
    let mut setup = Setup::http(refusing.address).more(&upstreams);
    let cases = [
        ("refusing", 502, "connect_refused"),
        ("resetting", 502, "upstream_closed"),
        ("garbage", 502, "bad_response"),
        ("silent", 504, "first_byte_timeout"),
        ("nowhere", 503, "no_endpoint"),
    ];
    for (name, ..) in cases {
        setup = setup.route(&route(name));
    }
    let mut gateway = setup.start();
    let mut client = HttpClient::connect(gateway.address());
    for (name, status, answered) in cases {
        let answer = client.get(&format!("/{name}"));
        assert_eq!(answer.status(), status, "{name}");
        assert!(answer.text().starts_with(&status.to_string()), "no detail: {answer:?}");
        let line = line(&mut gateway);
        assert_line(&line, status, answered, &format!("/{name}"));
        assert_eq!(line["route"], name, "{line}");
    }
    drop(client);
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("requests_answered"), 5);
    stopped.assert_nothing_left();
}

#[test]
fn what_is_no_request_is_in_the_log_as_far_as_it_came() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address()).http_keys("head_bytes_max = 4096").start();
    let long = |bytes: usize| format!("X-Long: {}\r\n", "y".repeat(bytes));
    let target = format!("/{}", "z".repeat(5000));
    for (head, status, answered, path) in [
        (request("GET", "/a?secret", &long(5000)), 431, "head_too_large", "/a"),
        (request("GET", "/b", "X Y: z\r\n"), 400, "field_name", "/b"),
        (request("GET", &target, ""), 414, "target_too_long", &target[..1024]),
    ] {
        let mut client = HttpClient::connect(gateway.address());
        let _ = client.try_send(head);
        assert_eq!(client.answer("GET").status(), status, "{answered}");
        let line = line(&mut gateway);
        assert_eq!((&line["status"], &line["answered"]), (&status.into(), &answered.into()));
        assert_eq!((&line["method"], &line["path"]), (&"GET".into(), &path.into()), "{line}");
        if status != 414 {
            assert_eq!(line["authority"], "gateway.test", "{line}");
        }
    }
    // By HTTP/2, and one that h2 answers by itself.
    let small = url(gateway.address(), "/c?secret");
    let statuses = |arguments: &[&str]| {
        let mut all = vec!["--http2", "--output", "/dev/null", "--write-out", "%{http_code}"];
        all.extend(arguments);
        let output = curl(gateway.address(), Some(&pki().client), &all);
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(statuses(&["-Hhost: a@b", &small]), "400");
    let fields = (0..200).map(|n| format!("-Hx-{n}: y")).collect::<Vec<_>>();
    let fields: Vec<&str> = fields.iter().map(String::as_str).chain([&*small]).collect();
    assert_eq!(statuses(&fields), "431");
    let line = line(&mut gateway);
    assert_eq!((&line["protocol"], &line["status"]), (&"h2".into(), &400.into()), "{line}");
    assert_eq!((&line["method"], &line["path"]), (&"GET".into(), &"/c".into()), "{line}");
    assert_eq!(line["authority"], "a@b", "{line}");
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("http2_requests_refused"), 1, "{}", stopped.event);
    let counted = ["answered_400", "answered_414", "answered_431", "responses_4xx", "requests"];
    assert_eq!(counted.map(|name| stopped.counter(name)), [2, 1, 1, 4, 4]);
}
