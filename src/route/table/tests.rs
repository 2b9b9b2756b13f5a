//! Tests of the table of routes, against a walk along all of them.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::http1::fields::{Class, Span};
use crate::identity::Pattern;
use crate::route::conditions::{FieldCondition, PathCondition};
use crate::route::rate::Rate;

fn route(name: &str) -> Arc<Route> {
    Arc::new(Route {
        name: name.into(),
        rules: Rules::unrestricted(),
        cluster: 0,
        timeouts: Timeouts { first_byte: None, body: Duration::ZERO, stream: None, total: None },
        retries: Retries { max: 0, budget_percent: 0 },
        rewrite: None,
        request_fields: FieldChanges::default(),
        response_fields: FieldChanges::default(),
        request_body_bytes_max: None,
        request_head_bytes_max: 1,
        rate_per_identity: None,
        rate_per_source: None,
    })
}

/// Routes that are named by their place.
fn table(conditions: &[Conditions]) -> Table {
    let named = |(index, it): (usize, &Conditions)| (it.clone(), route(&index.to_string()));
    Table::new(conditions.iter().enumerate().map(named).collect())
}

fn boxed(texts: &[&str]) -> Box<[Box<str>]> {
    texts.iter().map(|text| Box::from(*text)).collect()
}

/// A request of a host, a method, a path, and of fields of which each is `name: value`.
#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    method: &'static str,
    path: &'static str,
    bytes: String,
    fields: Vec<Field>,
}

impl Request {
    fn new(
        host: &'static str,
        method: &'static str,
        path: &'static str,
        lines: &[&'static str],
    ) -> Self {
        let (mut bytes, mut fields) = (String::new(), Vec::new());
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a colon");
            let start = bytes.len() as u32;
            let (name, end) = (start + name.len() as u32, start + line.len() as u32);
            bytes += &format!("{line}\r\n");
            fields.push(Field {
                name: Span { start, end: name },
                value: Span { start: end - value.len() as u32, end },
                line: Span { start, end: end + 2 },
                class: Class::EndToEnd,
            });
        }
        Self { host, method, path, bytes, fields }
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            host: self.host.as_bytes(),
            method: self.method.as_bytes(),
            path: self.path.as_bytes(),
            fields: &self.fields,
            bytes: self.bytes.as_bytes(),
            identity: None,
        }
    }
}

fn chosen(table: &Table, request: &Request) -> Option<usize> {
    table.select(&request.asked()).map(|at| table.route(at).name.parse().expect("a number"))
}

fn get(table: &Table, host: &'static str, path: &'static str) -> Option<usize> {
    chosen(table, &Request::new(host, "GET", path, &[]))
}

#[test]
fn the_first_in_the_order_of_the_file_wins_whichever_way_it_asks_for_the_host() {
    let hosts = |hosts: &[&str]| Conditions { hosts: boxed(hosts), ..Conditions::default() };
    let wildcard_first = [hosts(&["*.a.test"]), hosts(&["x.a.test"]), Conditions::default()];
    let routes = table(&wildcard_first);
    assert_eq!(get(&routes, "x.a.test", "/"), Some(0));
    assert_eq!(get(&routes, "a.test", "/"), Some(2));
    assert_eq!(get(&routes, "y.x.a.test", "/"), Some(2), "one label");
    assert_eq!(get(&routes, "", "/"), Some(2), "HTTP/1.0 without Host");
    let exact_first = [hosts(&["x.a.test", "*.a.test"]), hosts(&["*.a.test", "b.test"])];
    let routes = table(&exact_first);
    assert_eq!(get(&routes, "x.a.test", "/"), Some(0));
    assert_eq!(get(&routes, "b.test", "/"), Some(1));
    assert_eq!(get(&routes, "c.test", "/"), None);
    assert_eq!(get(&routes, ".a.test", "/"), None);
    assert_eq!(get(&table(&[]), "c.test", "/"), None);
}

#[test]
fn a_prefix_is_whole_segments() {
    let prefix = |it: &str| Conditions { path: PathCondition::Prefix(it.into()), ..hostless() };
    let exact = |it: &str| Conditions { path: PathCondition::Exact(it.into()), ..hostless() };
    let routes = table(&[exact("/api/x"), prefix("/api"), prefix("/dir/"), prefix("/")]);
    for (path, index) in [
        ("/api/x", Some(0)),
        ("/api/x/", Some(1)),
        ("/api", Some(1)),
        ("/api/", Some(1)),
        ("/apix", Some(3)),
        ("/dir", Some(3)),
        ("/dir/", Some(2)),
        ("/dir/a", Some(2)),
        ("*", None),
    ] {
        assert_eq!(get(&routes, "a.test", path), index, "{path}");
    }
}

fn hostless() -> Conditions {
    Conditions::default()
}

#[test]
fn methods_fields_and_identity_all_have_to_hold() {
    let field = |name: &str, value: Option<&str>| FieldCondition {
        name: name.into(),
        value: value.map(Into::into),
    };
    let fields = Box::new([field("x-a", Some("1")), field("x-b", None)]);
    let any: Pattern = "any".parse().expect("a pattern");
    let routes = table(&[
        Conditions { identity: Box::new([any]), ..hostless() },
        Conditions { methods: boxed(&["GET", "HEAD"]), fields, ..hostless() },
    ]);
    for (method, lines, index) in [
        ("GET", &["X-A: 1", "x-b: "][..], Some(1)),
        ("HEAD", &["x-a: 2", "x-a: 1", "X-B: c"], Some(1)),
        ("get", &["x-a: 1", "x-b: c"], None),
        ("POST", &["x-a: 1", "x-b: c"], None),
        ("GET", &["x-a: 1"], None),
        ("GET", &["x-a: 1, 1", "x-b: c"], None),
        ("GET", &["x-a: 2", "x-b: 1"], None),
    ] {
        let request = Request::new("a.test", method, "/", lines);
        assert_eq!(chosen(&routes, &request), index, "{method} {lines:?}");
    }
}

#[test]
fn a_thousand_hosts_are_found_by_their_name() {
    let hosts = |index: usize| [Box::from(format!("h{index}.test"))];
    let conditions: Vec<_> =
        (0..1000).map(|index| Conditions { hosts: Box::new(hosts(index)), ..hostless() }).collect();
    let routes = table(&conditions);
    assert_eq!(get(&routes, "h999.test", "/"), Some(999));
    assert!(routes.by_host.values().all(|list| list.len() == 1) && routes.of_any_host.is_empty());
}

#[test]
fn rates_go_on_where_name_and_rate_are_the_same() {
    let with = |name: &str, rate: &str| {
        let rate: Rate = rate.parse().expect("a rate");
        let limiter = Some(Arc::new(RateLimiter::new(rate, 1000)));
        let route = Route { rate_per_source: limiter, ..Route::clone(&route(name)) };
        Table::one(route)
    };
    let take = |table: &Table| {
        let limiter = table.routes[0].rate_per_source.as_ref().expect("a limit");
        limiter.take(&[1; 32], crate::time::Instant::ORIGIN).is_ok()
    };
    let before = with("a", "1/m");
    assert!(take(&before) && !take(&before));
    for (name, rate, has_more) in [("a", "1/m", false), ("b", "1/m", true), ("a", "2/m", true)] {
        let mut after = with(name, rate);
        after.carry_rates(&before);
        assert_eq!(take(&after), has_more, "{name} {rate}");
    }
}

#[test]
fn conditions_are_told_in_words() {
    assert_eq!(Conditions::default().to_string(), "everything");
    let fields = [
        FieldCondition { name: "x-a".into(), value: Some("1".into()) },
        FieldCondition { name: "x-b".into(), value: None },
    ];
    let all = Conditions {
        hosts: boxed(&["a.test", "*.b.test"]),
        path: PathCondition::Prefix("/x".into()),
        methods: boxed(&["GET"]),
        fields: Box::new(fields),
        identity: Box::new(["dns:c.test".parse().expect("a pattern")]),
    };
    assert_eq!(
        all.to_string(),
        "host a.test or *.b.test, path /x/*, method GET, header x-a: 1, header x-b, \
         identity dns:c.test"
    );
}

const HOSTS: [&str; 6] = ["a.test", "x.a.test", "*.a.test", "*.test", "b.test", "y.x.a.test"];
const PATHS: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/ab", "/c", "*"];
const LINES: [&str; 4] = ["x-a: 1", "x-a: 2", "x-b: 1", "x-c: "];

fn some_conditions() -> impl Strategy<Value = Conditions> {
    let path = (0..3, select(PATHS[..6].to_vec())).prop_map(|(kind, path)| match kind {
        0 => PathCondition::Any,
        1 => PathCondition::Exact(path.into()),
        _ => PathCondition::Prefix(path.into()),
    });
    let hosts = prop_oneof![Just(vec![]), subsequence(HOSTS.to_vec(), 1..3)];
    let methods = prop_oneof![Just(vec![]), subsequence(vec!["GET", "POST"], 1..2)];
    let field = (select(vec!["x-a", "x-b"]), prop::option::of(select(vec!["1", "2"])));
    let fields = prop::collection::vec(field, 0..2);
    (hosts, path, methods, fields).prop_map(|(hosts, path, methods, fields)| Conditions {
        hosts: boxed(&hosts),
        path,
        methods: boxed(&methods),
        fields: fields
            .into_iter()
            .map(|(name, value)| FieldCondition { name: name.into(), value: value.map(Into::into) })
            .collect(),
        identity: Box::default(),
    })
}

fn some_request() -> impl Strategy<Value = Request> {
    let lines = subsequence(LINES.to_vec(), 0..4);
    let host = select(vec!["a.test", "x.a.test", "b.test", "y.x.a.test", "z.test", "", "test"]);
    (host, select(vec!["GET", "POST"]), select(PATHS.to_vec()), lines)
        .prop_map(|(host, method, path, lines)| Request::new(host, method, path, &lines))
}

/// What the reference says, word by word.
fn holds_slowly(conditions: &Conditions, request: &Request) -> bool {
    let host = conditions.hosts.is_empty()
        || conditions.hosts.iter().any(|host| match host.strip_prefix('*') {
            Some(rest) => request
                .host
                .strip_suffix(rest)
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            None => &**host == request.host,
        });
    let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let path = match &conditions.path {
        PathCondition::Any => true,
        PathCondition::Exact(path) => &**path == request.path,
        PathCondition::Prefix(prefix) if prefix.ends_with('/') => {
            let (mut prefix, path) = (segments(prefix), segments(request.path));
            prefix.pop();
            path.len() > prefix.len() && path.starts_with(&prefix)
        }
        PathCondition::Prefix(prefix) => segments(request.path).starts_with(&segments(prefix)),
    };
    let methods = &conditions.methods;
    let method = methods.is_empty() || methods.iter().any(|it| &**it == request.method);
    let fields = conditions.fields.iter().all(|field| {
        request.bytes.lines().filter_map(|line| line.split_once(": ")).any(|(name, value)| {
            name == &*field.name && field.value.as_ref().is_none_or(|it| &**it == value)
        })
    });
    host && path && method && fields
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_index_chooses_what_a_walk_would_choose(
        conditions in prop::collection::vec(some_conditions(), 0..12),
        request in some_request(),
    ) {
        let walked = conditions.iter().position(|it| holds_slowly(it, &request));
        prop_assert_eq!(chosen(&table(&conditions), &request), walked);
    }

    #[test]
    fn what_is_covered_is_never_chosen(
        first in some_conditions(),
        second in some_conditions(),
        requests in prop::collection::vec(some_request(), 16),
    ) {
        if first.cover(&second) {
            let both = table(&[first.clone(), second.clone()]);
            for request in requests {
                prop_assert_ne!(chosen(&both, &request), Some(1));
            }
        }
        prop_assert!(first.cover(&first) && Conditions::default().cover(&first));
    }
}

#[test]
fn a_field_is_left_out_in_every_spelling_that_an_upstream_takes_for_it() {
    let changes = FieldChanges {
        remove: [&b"x-team"[..], b"x_remote_user"].map(Into::into).into(),
        lines: Box::default(),
    };
    for name in ["X-Team", "x_team", "X.TEAM", "x~team", "x-remote-user", "X.Remote_User"] {
        assert!(changes.removes(name.as_bytes()), "{name}");
    }
    for name in ["xteam", "x-teams", "x-tea", "x-tean", ""] {
        assert!(!changes.removes(name.as_bytes()), "{name}");
    }
}
