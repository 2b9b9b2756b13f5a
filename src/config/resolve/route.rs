//! `[[listener.route]]` -> [`Table`].

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::client::IDENTITY;
use super::{Complaint, Resolver, bounds};
use crate::config::model::{self, ClientKeys, Text, Texts};
use crate::http1::request::HeadLimits;
use crate::limits::{
    HTTP_METHOD_BYTES_MAX, RATE_COUNT_MAX, RATE_KEYS_MAX, RATE_KEYS_MIN, RATE_KEYS_OF_ALL_MAX,
    ROUTE_PATH_BYTES_MAX, ROUTE_VALUES_MAX, ROUTES_MAX,
};
use crate::route::conditions::{Conditions, PathCondition};
use crate::route::host::host_of;
use crate::route::path::{self, EncodedSlashes, PathError};
use crate::route::rate::{Rate, RateLimiter};
use crate::route::table::{Retries, Rewrite, Route, Table, Timeouts};

/// The name of the route to the listener's own upstream.
const DEFAULT_ROUTE: &str = "default";

const ROUTE: &str = "[[listener.route]]";

/// What of a listener bounds its routes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfListener {
    pub(super) head: HeadLimits,
    pub(super) slashes: EncodedSlashes,
}

/// Methods of RFC 9110, 9.3 and RFC 5789: written in lower case they are others, which nobody uses.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

impl Resolver<'_> {
    /// The routes of a listener, and behind them the one to its own upstream.
    pub(super) fn routes(
        &mut self,
        written: &Spanned<model::Listener>,
        upstream: Option<usize>,
        http: OfListener,
    ) -> Table {
        let tables = &written.get_ref().route;
        if tables.len() > ROUTES_MAX {
            self.refuse(
                &written.span(),
                &format!("a listener has {} tables {ROUTE}", tables.len()),
                &format!("at most {ROUTES_MAX}"),
                "join them, or add a listener",
            );
        }
        self.refuse_duplicates("name", tables.iter().filter_map(|it| it.get_ref().name.as_ref()));
        let mut routes: Vec<(Conditions, Arc<Route>)> = Vec::new();
        for table in tables.iter().take(ROUTES_MAX) {
            self.refuse_without_certificates(written.get_ref(), table.get_ref());
            let conditions = self.conditions(table.get_ref(), http.slashes);
            self.refuse_unreachable(&conditions, table, &routes, tables);
            let route = self.route(table, upstream, http);
            routes.push((conditions, Arc::new(route)));
        }
        if let Some(cluster) = upstream {
            self.refuse_useless_upstream(written.get_ref(), &routes);
            let silent = Spanned::new(0..0, model::Route::default());
            let route = Route { name: DEFAULT_ROUTE.into(), ..self.rest(&silent, cluster, http) };
            routes.push((Conditions::default(), Arc::new(route)));
        }
        Table::new(routes)
    }

    fn route(
        &mut self,
        table: &Spanned<model::Route>,
        upstream: Option<usize>,
        http: OfListener,
    ) -> Route {
        let written = table.get_ref();
        let name = self.name(written.name.as_ref(), table.span(), ROUTE);
        if name == DEFAULT_ROUTE && upstream.is_some() {
            let span = written.name.as_ref().map_or(table.span(), Spanned::span);
            self.refuse(
                &span,
                "name = \"default\", which is the route to the listener's own `upstream`",
                "another name",
                "rename it, or remove `upstream` from the listener",
            );
        }
        let cluster = match (&written.upstream, upstream) {
            (Some(text), _) => self.cluster_named(text),
            (None, Some(upstream)) => upstream,
            (None, None) => {
                self.refuse(
                    &table.span(),
                    &format!("{ROUTE} has no key `upstream`, and its listener has none"),
                    "it to be set",
                    "add `upstream = \"app\"`, here or to the listener",
                );
                0
            }
        };
        Route { name: name.into(), ..self.rest(table, cluster, http) }
    }

    /// All of a route but its name.
    fn rest(&mut self, table: &Spanned<model::Route>, cluster: usize, http: OfListener) -> Route {
        let written = table.get_ref();
        let keys = ClientKeys {
            allow: written.allow.clone(),
            deny: written.deny.clone(),
            ..ClientKeys::default()
        };
        let body = written.request_body_bytes_max.as_ref();
        let body = self.number(body, &bounds::REQUEST_BODY_BYTES_MAX).unsigned_abs();
        Route {
            name: Arc::default(),
            rules: self.rules(&keys),
            cluster,
            timeouts: self.timeouts(written),
            retries: self.retries(written),
            rewrite: self.rewrite(written, http.slashes),
            request_fields: self.field_changes([
                ("request_headers_set", written.request_headers_set.as_ref()),
                ("request_headers_add", written.request_headers_add.as_ref()),
                ("request_headers_remove", written.request_headers_remove.as_ref()),
            ]),
            response_fields: self.field_changes([
                ("response_headers_set", written.response_headers_set.as_ref()),
                ("response_headers_add", written.response_headers_add.as_ref()),
                ("response_headers_remove", written.response_headers_remove.as_ref()),
            ]),
            request_body_bytes_max: Some(body).filter(|bytes| *bytes > 0),
            request_head_bytes_max: self.request_head(written, http.head),
            rate_per_identity: self.rate("rate_per_identity", written.rate_per_identity.as_ref()),
            rate_per_source: self.rate("rate_per_source", written.rate_per_source.as_ref()),
        }
    }

    fn timeouts(&mut self, written: &model::Route) -> Timeouts {
        let first_byte = written.first_byte_timeout_ms.as_ref();
        let stream = written.stream_timeout_ms.as_ref();
        Timeouts {
            first_byte: self.optional_millis(first_byte, &bounds::FIRST_BYTE_TIMEOUT_MS),
            body: self.millis(written.body_timeout_ms.as_ref(), &bounds::BODY_TIMEOUT_MS),
            stream: self.optional_millis(stream, &bounds::STREAM_TIMEOUT_MS),
            total: self
                .optional_millis(written.total_timeout_ms.as_ref(), &bounds::TOTAL_TIMEOUT_MS),
        }
    }

    fn retries(&mut self, written: &model::Route) -> Retries {
        let max = self.count(written.retries.as_ref(), &bounds::RETRIES);
        let percent = written.retry_budget_percent.as_ref();
        if let (0, Some(percent)) = (max, percent) {
            self.refuse(
                &percent.span(),
                "retry_budget_percent is set, and retries = 0",
                "it only where requests are sent again",
                "remove it, or set `retries = 1`",
            );
        }
        Retries { max, budget_percent: self.count(percent, &bounds::RETRY_BUDGET_PERCENT) }
    }

    fn request_head(&mut self, written: &model::Route, head: HeadLimits) -> usize {
        let Some(number) = &written.request_head_bytes_max else {
            return head.bytes_max;
        };
        let bytes = self.count(Some(number), &bounds::REQUEST_HEAD_BYTES_MAX) as usize;
        let is_in_bounds = usize::try_from(*number.get_ref()) == Ok(bytes);
        if is_in_bounds && bytes > head.bytes_max {
            self.refuse(
                &number.span(),
                &format!("request_head_bytes_max = {bytes}"),
                &format!("at most head_bytes_max of the listener, which is {}", head.bytes_max),
                &format!("set it to {} or less, or raise head_bytes_max", head.bytes_max),
            );
        }
        bytes
    }

    fn rewrite(&mut self, written: &model::Route, slashes: EncodedSlashes) -> Option<Rewrite> {
        let text = written.prefix_rewrite.as_ref()?;
        let to = self.normal_path("prefix_rewrite", text, slashes)?;
        let Some(from) = written.path_prefix.as_ref().or(written.path.as_ref()) else {
            self.refuse(
                &text.span(),
                "prefix_rewrite is set, and the route has no `path_prefix`",
                "a prefix that it takes the place of",
                "add `path_prefix = \"/\"`, or remove `prefix_rewrite`",
            );
            return None;
        };
        Some(Rewrite { from: from.get_ref().as_str().into(), to })
    }

    fn rate(&mut self, key: &str, text: Option<&Text>) -> Option<Arc<RateLimiter>> {
        let text = text?;
        match text.get_ref().parse::<Rate>() {
            Ok(rate) => Some(Arc::new(RateLimiter::new(rate, self.rate_keys()))),
            Err(_) => {
                let complaint = Complaint::new(
                    "is no rate",
                    format!(
                        "a number from 1 to {RATE_COUNT_MAX} by second or minute, and perhaps \
                             a burst: \"100/s\", \"30/m burst 5\""
                    ),
                    "write it so",
                );
                self.complain(key, text, complaint);
                None
            }
        }
    }

    /// Keys that each limit of the configuration may remember.
    fn rate_keys(&self) -> usize {
        let routes = self.model.listener.iter().flat_map(|it| &it.get_ref().route);
        let of = |route: &Spanned<model::Route>| {
            let route = route.get_ref();
            usize::from(route.rate_per_identity.is_some())
                + usize::from(route.rate_per_source.is_some())
        };
        let limits: usize = routes.map(of).sum();
        (RATE_KEYS_OF_ALL_MAX / limits.max(1)).clamp(RATE_KEYS_MIN, RATE_KEYS_MAX)
    }

    fn conditions(&mut self, written: &model::Route, slashes: EncodedSlashes) -> Conditions {
        let path = match (&written.path, &written.path_prefix) {
            (None, None) => PathCondition::Any,
            (Some(text), None) => self
                .normal_path("path", text, slashes)
                .map_or(PathCondition::Any, PathCondition::Exact),
            (None, Some(text)) => self
                .normal_path("path_prefix", text, slashes)
                .map_or(PathCondition::Any, PathCondition::Prefix),
            (Some(_), Some(text)) => {
                self.refuse(
                    &text.span(),
                    "path_prefix is set, and so is `path`",
                    "one of them",
                    "remove one, or write two routes",
                );
                PathCondition::Any
            }
        };
        Conditions {
            hosts: self.values("host", written.host.as_ref(), Self::host),
            path,
            methods: self.values("method", written.method.as_ref(), Self::method),
            fields: self.values("header", written.header.as_ref(), Self::field_condition),
            identity: match &written.identity {
                Some(list) => self.patterns(list, &IDENTITY).into(),
                None => Box::default(),
            },
        }
    }

    /// A bounded list of what `parse` makes of each text, or refuses.
    pub(super) fn values<T>(
        &mut self,
        key: &str,
        written: Option<&Texts>,
        parse: fn(&mut Self, &str, &Text) -> Option<T>,
    ) -> Box<[T]> {
        let Some(written) = written else {
            return Box::default();
        };
        self.refuse_empty_list(written, key);
        self.refuse_duplicates(key, written.get_ref().iter());
        let count = written.get_ref().len();
        if count > ROUTE_VALUES_MAX {
            let found = format!("{key} lists {count}");
            let expected = format!("at most {ROUTE_VALUES_MAX}");
            self.refuse(&written.span(), &found, &expected, "write several routes");
        }
        let texts = written.get_ref().iter().take(ROUTE_VALUES_MAX);
        texts.filter_map(|text| parse(self, key, text)).collect()
    }

    fn host(&mut self, key: &str, text: &Text) -> Option<Box<str>> {
        let lower = text.get_ref().to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        let canonical = host_of(name.as_bytes());
        if canonical.as_deref() == Some(name.as_bytes()) {
            return Some(lower.into());
        }
        let fix = match canonical {
            Some(host) => format!("write {:?}", String::from_utf8_lossy(&host)),
            None => "correct it, such as \"api.example.org\" or \"*.example.org\"".to_string(),
        };
        let expected = "a host without a port; its first label may be `*`";
        self.complain(key, text, Complaint::new("is not one to choose by", expected, fix));
        None
    }

    fn method(&mut self, key: &str, text: &Text) -> Option<Box<str>> {
        let method = text.get_ref().as_str();
        let upper = method.to_ascii_uppercase();
        let is_misspelt = method != upper && METHODS.contains(&upper.as_str());
        let is_letters = method.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        if (1..=HTTP_METHOD_BYTES_MAX).contains(&method.len()) && is_letters && !is_misspelt {
            return Some(method.into());
        }
        let fix = if is_misspelt { format!("write {upper:?}") } else { "correct it".to_string() };
        let expected =
            format!("1 to {HTTP_METHOD_BYTES_MAX} letters and `-`, case counts: \"GET\"");
        self.complain(key, text, Complaint::new("is no method", expected, fix));
        None
    }

    /// A path that requests can have.
    fn normal_path(&mut self, key: &str, text: &Text, slashes: EncodedSlashes) -> Option<Box<str>> {
        let path = text.get_ref().as_str();
        let expected = format!(
            "a path from `/` on, of at most {ROUTE_PATH_BYTES_MAX} bytes, without query and dot \
             segments"
        );
        let complaint = match path::normal(path.as_bytes(), slashes) {
            _ if path.len() > ROUTE_PATH_BYTES_MAX => {
                let complaint = Complaint::new("", expected, "shorten it");
                let found = format!("{key} has {} bytes", path.len());
                self.refuse(&text.span(), &found, &complaint.expected, &complaint.fix);
                return None;
            }
            Ok(normal) if *path::without_parameters(&normal) != *normal => {
                let expected = "a path without `;`: routes are chosen by what is in front of it";
                Complaint::new("has a parameter", expected, "remove `;` and what follows it")
            }
            Ok(normal) if normal.starts_with(b"/") && *normal == *path.as_bytes() => {
                return Some(path.into());
            }
            Ok(normal) if normal.starts_with(b"/") => {
                let normal = String::from_utf8_lossy(&normal);
                Complaint::new("is no path as routes see it", expected, format!("write {normal:?}"))
            }
            Err(PathError::DotSegment) => {
                Complaint::new("has a dot segment", expected, "write where it leads to")
            }
            Ok(_) | Err(PathError::Encoding) => {
                Complaint::new("is no path of a request", expected, "correct it, such as \"/api\"")
            }
        };
        self.complain(key, text, complaint);
        None
    }

    /// What is said about identities where no certificate is asked for has no effect.
    fn refuse_without_certificates(&mut self, listener: &model::Listener, route: &model::Route) {
        let is_off = |text: &Text| text.get_ref() == "off";
        let tables = listener.server_name.iter().map(|it| it.get_ref().client_auth.as_ref());
        let is_never_asked =
            listener.client_auth.as_ref().is_some_and(is_off) && tables.flatten().all(is_off);
        let keys: [(&str, Option<Range<usize>>); 3] = [
            ("identity", route.identity.as_ref().map(Spanned::span)),
            ("allow", route.allow.as_ref().map(Spanned::span)),
            ("deny", route.deny.as_ref().map(Spanned::span)),
        ];
        for (key, span) in keys {
            if let (true, Some(span)) = (is_never_asked, span) {
                self.refuse(
                    &span,
                    &format!("{key} is set, and client_auth = \"off\" asks for no certificate"),
                    "it only with \"require\" or \"optional\"",
                    &format!("remove `{key}`, or set `client_auth = \"require\"`"),
                );
            }
        }
    }

    fn refuse_unreachable(
        &mut self,
        conditions: &Conditions,
        table: &Spanned<model::Route>,
        earlier: &[(Conditions, Arc<Route>)],
        tables: &[Spanned<model::Route>],
    ) {
        if let Some(index) = earlier.iter().position(|(other, _)| other.cover(conditions)) {
            let at = self.model.source.place(&tables[index].span());
            self.refuse(
                &table.span(),
                &format!("this route is never chosen: that at {at} takes all its requests"),
                "a route that takes less in front of one that takes more",
                "move it in front of that one, or remove it",
            );
        }
    }

    fn refuse_useless_upstream(
        &mut self,
        listener: &model::Listener,
        routes: &[(Conditions, Arc<Route>)],
    ) {
        let takes_all = routes.iter().any(|(it, _)| it.cover(&Conditions::default()));
        let is_inherited = listener.route.iter().any(|it| it.get_ref().upstream.is_none());
        if let (true, false, Some(text)) = (takes_all, is_inherited, &listener.upstream) {
            self.refuse(
                &text.span(),
                "upstream is set, and a route takes every request",
                "it only as the last resort, or for routes without one of their own",
                "remove it, or the route",
            );
        }
    }
}
