//! What a run shall do: the command line, checked. Nothing is left to refuse behind it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::application::Application;
use crate::cli::{Command, CommonArgs, Direction, Protocol, RequestOptions, Schedule};
use crate::http::request::{Asked, Request, Request2};
use crate::limits::{
    CONNECTIONS_MAX, IDENTITIES_MAX, MESSAGE_BYTES_MAX, RATE_PER_S_MAX, SOURCES_MAX, STREAMS_MAX,
    WORKERS_MAX,
};
use crate::multiplex::Streams;

/// An argument that cannot be: what was found, what was expected.
#[derive(Debug, PartialEq, Eq)]
pub struct BadArgument {
    /// The option.
    pub option: &'static str,
    /// What was found, and what was expected.
    pub problem: String,
}

impl fmt::Display for BadArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.problem)
    }
}

/// An argument that cannot be.
pub fn bad(option: &'static str, problem: impl Into<String>) -> BadArgument {
    BadArgument { option, problem: problem.into() }
}

/// What one connection does.
#[derive(Clone, Debug)]
pub enum Work {
    /// A new connection for each operation.
    Handshake {
        /// Bytes sent and read back.
        exchange_bytes: usize,
    },
    /// Requests of HTTP/1.1; a response that is not 2xx is a failure.
    Http(Request),
    /// Requests of HTTP/2, several at a time; the same holds.
    Http2(Box<Streams>),
    /// Bytes that come back.
    Echo {
        /// How many.
        bytes: usize,
    },
    /// A stream of bytes.
    Bulk {
        /// Which way.
        direction: Direction,
        /// Bytes of one operation.
        bytes: u64,
    },
    /// Nothing: the connection is held.
    Idle,
}

/// The bound of a ramp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RampPlan {
    /// Percentile, 0 to 100.
    pub percentile: f64,
    /// The latency there.
    pub latency_max: Duration,
    /// How long each rate is measured.
    pub step: Duration,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name of the mode.
    pub mode: &'static str,
    /// The target as it was given.
    pub target: String,
    /// Where it is.
    pub address: SocketAddr,
    /// For SNI and the server's certificate.
    pub server_name: ServerName<'static>,
    /// What connections do, with weights.
    pub works: Vec<(Work, u32)>,
    /// What is spoken.
    pub application: Application,
    /// Requests at a time on a connection; `None` where there are none.
    pub streams: Option<usize>,
    /// Application protocols to offer.
    pub alpn: Vec<String>,
    /// The share of resumed handshakes that is asked for.
    pub resume: f64,
    /// Connections at a time.
    pub connections: usize,
    /// Operations per second; `None` for a closed loop.
    pub rate_per_s: Option<f64>,
    /// How they are spread.
    pub schedule: Schedule,
    /// Whether and how the highest rate is looked for.
    pub ramp: Option<RampPlan>,
    /// What is not measured at the beginning.
    pub warmup: Duration,
    /// How long to measure; `None`: until the count is reached.
    pub duration: Option<Duration>,
    /// Operations to stop after.
    pub count: Option<u64>,
    /// The longest that a step of an operation may take.
    pub timeout: Duration,
    /// Addresses to connect from.
    pub sources: Vec<IpAddr>,
}

impl Plan {
    /// Checks what was typed; looks the target's name up.
    ///
    /// # Errors
    /// The first argument that cannot be.
    pub fn new(command: &Command) -> Result<(Self, &CommonArgs), BadArgument> {
        let (mode, common, works, resume) = match command {
            Command::Handshake(args) => {
                let exchange_bytes = message_bytes("--exchange", &args.exchange)?;
                if !(0.0..=1.0).contains(&args.resume) {
                    return Err(bad("--resume", format!("found {}, expected 0 to 1", args.resume)));
                }
                let works = vec![(Work::Handshake { exchange_bytes }, 1)];
                ("handshake", &args.common, works, args.resume)
            }
            Command::Request(args) => {
                let work = request(&args.request, &args.common)?;
                ("request", &args.common, vec![(work, 1)], 0.0)
            }
            Command::Bulk(args) => {
                let bytes = parse_bytes("--size", &args.size)?;
                if bytes == 0 {
                    return Err(bad("--size", "found 0, expected at least one byte"));
                }
                let http = Http::new(args.proto, args.streams, &args.common)?;
                let work = bulk(args.direction, http, bytes, args.path.as_deref())?;
                ("bulk", &args.common, vec![(work, 1)], 0.0)
            }
            Command::Idle(args) => ("idle", &args.common, vec![(Work::Idle, 1)], 0.0),
            Command::Mixed(args) => {
                ("mixed", &args.common, mix(&args.mix, &args.request, &args.common)?, 0.0)
            }
            Command::Merge(_) | Command::Origin(_) => {
                return Err(bad("the command", "merge and origin make no load"));
            }
        };
        Ok((Self::of(mode, common, works, resume)?, common))
    }

    fn of(
        mode: &'static str,
        args: &CommonArgs,
        works: Vec<(Work, u32)>,
        resume: f64,
    ) -> Result<Self, BadArgument> {
        let (host, address) = resolve(&args.target)?;
        within("--connections", args.connections, CONNECTIONS_MAX)?;
        if let Some(workers) = args.workers {
            within("--workers", workers, WORKERS_MAX)?;
        }
        if let Some(identities) = args.identities {
            within("--identities", identities, IDENTITIES_MAX)?;
        }
        if let Some(rate) = args.rate
            && !(rate > 0.0 && rate <= RATE_PER_S_MAX)
        {
            let problem =
                format!("found {rate}, expected more than 0 and at most {RATE_PER_S_MAX}");
            return Err(bad("--rate", problem));
        }
        if args.count == Some(0) {
            return Err(bad("--count", "found 0, expected at least 1"));
        }
        let name = args.sni.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| bad("--sni", format!("{name:?} is no DNS name and no IP address")))?;
        let time = |option, text: &Option<String>| {
            text.as_deref().map(|text| parse_time(option, text)).transpose()
        };
        let is_idle = matches!(works[..], [(Work::Idle, _)]);
        let warmup_default = Duration::from_secs(u64::from(args.count.is_none() && !is_idle));
        let duration_default = args.count.is_none().then_some(Duration::from_secs(10));
        let ramp = args.ramp.then(|| ramp(args)).transpose()?;
        let timeout = parse_time("--timeout", &args.timeout)?;
        if timeout.is_zero() {
            return Err(bad("--timeout", "found 0s, expected more"));
        }
        let application = application(&works);
        Ok(Self {
            mode,
            target: args.target.clone(),
            address,
            server_name,
            application,
            streams: streams(&works),
            alpn: application.offers(&args.alpn)?,
            works,
            resume,
            connections: args.connections,
            rate_per_s: args.rate,
            schedule: args.schedule,
            ramp,
            warmup: time("--warmup", &args.warmup)?.unwrap_or(warmup_default),
            duration: time("--duration", &args.duration)?.or(duration_default),
            count: args.count,
            timeout,
            sources: sources(&args.source, address)?,
        })
    }

    /// What each of the connections does, by the weights: the largest remainders round up.
    pub fn work_of_connections(&self) -> Vec<usize> {
        let weights: u32 = self.works.iter().map(|(_, weight)| weight).sum();
        let exact: Vec<f64> = self
            .works
            .iter()
            .map(|(_, weight)| self.connections as f64 * f64::from(*weight) / f64::from(weights))
            .collect();
        let mut counts: Vec<usize> = exact.iter().map(|count| *count as usize).collect();
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
        let missing = self.connections - counts.iter().sum::<usize>();
        order.iter().cycle().take(missing).for_each(|&index| counts[index] += 1);
        let each = counts.iter().enumerate();
        each.flat_map(|(index, &count)| std::iter::repeat_n(index, count)).collect()
    }
}

fn within(option: &'static str, found: usize, max: usize) -> Result<(), BadArgument> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(bad(option, format!("found {found}, expected 1 to {max}")))
}

fn resolve(target: &str) -> Result<(&str, SocketAddr), BadArgument> {
    let expected = "expected HOST:PORT, such as localhost:8443, 192.0.2.1:443 or [::1]:443";
    let (host, port) = target
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
        .ok_or_else(|| bad("--target", format!("found {target:?}, {expected}")))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().unwrap_or_default();
    let address = (host, port)
        .to_socket_addrs()
        .map_err(|error| bad("--target", format!("{host:?} cannot be looked up: {error}")))?
        .next()
        .ok_or_else(|| bad("--target", format!("{host:?} has no address")))?;
    Ok((host, address))
}

fn sources(texts: &[String], target: SocketAddr) -> Result<Vec<IpAddr>, BadArgument> {
    let parse = |text: &str| {
        text.parse::<IpAddr>().map_err(|_| {
            bad("--source", format!("found {text:?}, expected IP addresses or FIRST-LAST of IPv4"))
        })
    };
    let mut sources = Vec::new();
    for text in texts {
        match text.split_once('-') {
            None => sources.push(parse(text)?),
            Some((first, last)) => {
                let (IpAddr::V4(first), IpAddr::V4(last)) = (parse(first)?, parse(last)?) else {
                    return Err(bad("--source", format!("found {text:?}: ranges are of IPv4")));
                };
                let range = u32::from(first)..=u32::from(last);
                if range.is_empty() || range.clone().count() > SOURCES_MAX {
                    let problem =
                        format!("{text:?} is not a range of 1 to {SOURCES_MAX} addresses");
                    return Err(bad("--source", problem));
                }
                sources.extend(range.map(|address| IpAddr::V4(Ipv4Addr::from(address))));
            }
        }
    }
    if let Some(other) = sources.iter().find(|source| source.is_ipv4() != target.is_ipv4()) {
        let problem = format!("{other} and the target {target} are not of one IP version");
        return Err(bad("--source", problem));
    }
    Ok(sources)
}

/// What the connections speak; those of a mixed load speak one.
fn application(works: &[(Work, u32)]) -> Application {
    let of = |(work, _): &(Work, u32)| match work {
        Work::Http(_) => Application::Http1,
        Work::Http2(_) => Application::Http2,
        _ => Application::Bytes,
    };
    works.iter().map(of).find(|found| *found != Application::Bytes).unwrap_or(Application::Bytes)
}

fn streams(works: &[(Work, u32)]) -> Option<usize> {
    let of = |(work, _): &(Work, u32)| match work {
        Work::Http(_) => Some(1),
        Work::Http2(streams) => Some(streams.lanes),
        _ => None,
    };
    works.iter().filter_map(of).max()
}

/// How requests are made, if they are: HTTP/1.1 or HTTP/2, and to whom.
#[derive(Clone, Copy)]
struct Http<'a> {
    proto: Protocol,
    lanes: usize,
    host: &'a str,
}

impl<'a> Http<'a> {
    fn new(
        proto: Protocol,
        streams: Option<usize>,
        common: &'a CommonArgs,
    ) -> Result<Self, BadArgument> {
        if let Some(streams) = streams {
            within("--streams", streams, STREAMS_MAX)?;
            if proto != Protocol::H2 {
                return Err(bad("--streams", "one connection has several with --proto h2 only"));
            }
        }
        Ok(Self { proto, lanes: streams.unwrap_or(1), host: &common.target })
    }

    fn work(self, asked: &Asked<'_>) -> Result<Work, BadArgument> {
        let work = if self.proto == Protocol::H2 {
            let lanes = self.lanes;
            Request2::new(asked).map(|request| Work::Http2(Box::new(Streams { request, lanes })))
        } else {
            Request::new(asked).map(Work::Http)
        };
        work.map_err(|(option, problem)| bad(option, problem))
    }
}

fn request(options: &RequestOptions, common: &CommonArgs) -> Result<Work, BadArgument> {
    let http = Http::new(options.proto, options.streams, common)?;
    if options.proto == Protocol::Tcp {
        if options.expect.is_some() {
            return Err(bad("--expect", "an echo is as long as what was sent: leave it out"));
        }
        let bytes = message_bytes("--size", options.size.as_deref().unwrap_or("128"))?;
        if bytes == 0 {
            return Err(bad("--size", "found 0, expected at least one byte to be echoed"));
        }
        return Ok(Work::Echo { bytes });
    }
    let bytes = parse_bytes("--size", options.size.as_deref().unwrap_or("0"))?;
    let expected = options.expect.as_deref().map(|text| parse_bytes("--expect", text));
    http.work(&Asked {
        method: options.method.as_deref().unwrap_or(if bytes == 0 { "GET" } else { "POST" }),
        path: &options.path,
        host: http.host,
        fields: &options.header,
        body_bytes: bytes,
        answer_bytes: expected.transpose()?,
        is_echo: false,
    })
}

fn bulk(
    direction: Direction,
    http: Http<'_>,
    bytes: u64,
    path: Option<&str>,
) -> Result<Work, BadArgument> {
    if http.proto == Protocol::Tcp {
        return match path {
            None => Ok(Work::Bulk { direction, bytes }),
            Some(_) => Err(bad("--path", "there are paths with --proto http and h2 only")),
        };
    }
    let down = format!("/bytes/{bytes}");
    let (method, default, body_bytes, answer_bytes) = match direction {
        Direction::Down => ("GET", down.as_str(), 0, Some(bytes)),
        Direction::Up => ("POST", "/", bytes, None),
        Direction::Both => ("POST", "/echo", bytes, Some(bytes)),
    };
    http.work(&Asked {
        method,
        path: path.unwrap_or(default),
        host: http.host,
        fields: &[],
        body_bytes,
        answer_bytes,
        is_echo: direction == Direction::Both,
    })
}

fn mix(
    text: &str,
    options: &RequestOptions,
    common: &CommonArgs,
) -> Result<Vec<(Work, u32)>, BadArgument> {
    let mut works = Vec::new();
    for part in text.split(',') {
        let expected = "expected MODE=WEIGHT of handshake, request, bulk and idle";
        let found = || bad("--mix", format!("found {part:?}, {expected}"));
        let (mode, weight) = part.split_once('=').ok_or_else(found)?;
        let weight = weight.parse().ok().filter(|weight| (1..=1000).contains(weight));
        let work = match mode {
            "handshake" => Work::Handshake { exchange_bytes: 0 },
            "request" => request(options, common)?,
            "bulk" => {
                let http = Http::new(options.proto, options.streams, common)?;
                bulk(Direction::Both, http, 1 << 20, None)?
            }
            "idle" => Work::Idle,
            _ => return Err(found()),
        };
        works.push((work, weight.ok_or_else(found)?));
    }
    Ok(works)
}

fn ramp(args: &CommonArgs) -> Result<RampPlan, BadArgument> {
    let text = &args.latency_bound;
    let found = || bad("--latency-bound", format!("found {text:?}, expected such as p99=10ms"));
    let (percentile, time) = text.split_once('=').ok_or_else(found)?;
    let percentile = percentile.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
    let percentile = percentile.filter(|number| (0.0..=100.0).contains(number));
    let step = parse_time("--step", &args.step)?;
    if step < Duration::from_millis(100) {
        return Err(bad("--step", format!("found {:?}, expected at least 100ms", args.step)));
    }
    Ok(RampPlan {
        percentile: percentile.ok_or_else(found)?,
        latency_max: parse_time("--latency-bound", time)?,
        step,
    })
}

/// A time such as `10s`, `2.5m`, `500ms`.
fn parse_time(option: &'static str, text: &str) -> Result<Duration, BadArgument> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed.filter(|time| *time <= Duration::from_hours(24 * 7)).ok_or_else(|| {
        bad(option, format!("found {text:?}, expected a time up to a week: 10s, 500ms"))
    })
}

/// A number of bytes such as `128`, `16KiB`, `1MiB`.
fn parse_bytes(option: &'static str, text: &str) -> Result<u64, BadArgument> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let parsed = units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    parsed.ok_or_else(|| bad(option, format!("found {text:?}, expected bytes: 128, 16KiB, 1MiB")))
}

fn message_bytes(option: &'static str, text: &str) -> Result<usize, BadArgument> {
    let bytes = parse_bytes(option, text)?;
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= MESSAGE_BYTES_MAX).ok_or_else(|| {
        bad(option, format!("found {text:?}, expected at most {MESSAGE_BYTES_MAX} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn plan(args: &str) -> Result<Plan, String> {
        let words = format!("ringfort-loadgen {args}");
        let cli =
            Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())?;
        Plan::new(&cli.command).map(|(plan, _)| plan).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_typed_becomes_a_plan() {
        let target = "--target 127.0.0.1:1 --insecure";
        let handshake = plan(&format!("handshake {target} --resume 0.5 --rate 10 --warmup 2s"));
        let handshake = handshake.expect("a plan");
        assert_eq!((handshake.resume, handshake.rate_per_s), (0.5, Some(10.0)));
        assert_eq!(handshake.warmup, Duration::from_secs(2));
        assert_eq!(handshake.duration, Some(Duration::from_secs(10)));
        let counted = plan(&format!("request {target} --proto tcp --count 5")).expect("a plan");
        assert_eq!((counted.duration, counted.warmup), (None, Duration::ZERO));
        assert!(matches!(counted.works[..], [(Work::Echo { bytes: 128 }, 1)]));
        let many = plan(&format!("idle {target} --source 127.0.0.2-127.0.0.4,127.0.0.9"));
        assert_eq!(many.expect("a plan").sources.len(), 4);
    }

    #[test]
    fn requests_of_either_version_say_what_they_want_back() {
        let target = "--target 127.0.0.1:1 --insecure";
        let made = plan(&format!("request {target} --proto h2 --streams 10 --expect 1KiB"));
        let made = made.expect("a plan");
        let [(Work::Http2(streams), 1)] = &made.works[..] else { panic!("{made:?}") };
        assert_eq!((streams.lanes, streams.request.expected.body_bytes), (10, Some(1024)));
        assert_eq!((made.alpn, made.streams), (vec!["h2".to_owned()], Some(10)));
        assert_eq!(made.application.name(), Some("HTTP/2"));
        let down = plan(&format!("bulk {target} --proto http --size 2KiB")).expect("a plan");
        let [(Work::Http(request), 1)] = &down.works[..] else { panic!("{down:?}") };
        assert!(request.head.starts_with(b"GET /bytes/2048 HTTP/1.1\r\n"));
        assert_eq!((request.expected.body_bytes, down.streams), (Some(2048), Some(1)));
        let mixed = plan(&format!("mixed {target} --proto h2")).expect("a plan");
        assert_eq!(mixed.application, Application::Http2);
    }

    #[test]
    fn weights_share_the_connections_out() {
        let text = "mixed --target 127.0.0.1:1 --insecure --connections 7 --mix handshake=1,idle=2";
        let works = plan(text).expect("a plan").work_of_connections();
        assert_eq!(works, [0, 0, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn what_cannot_be_is_named_with_what_was_expected() {
        for (args, expected) in [
            ("handshake --target nowhere --insecure", "--target: found \"nowhere\", expected HOST"),
            ("handshake --target 127.0.0.1:0 --insecure", "--target: found"),
            ("handshake --target 127.0.0.1:1 --insecure --resume 2", "expected 0 to 1"),
            ("handshake --target 127.0.0.1:1 --insecure --rate -1", "'-1'"),
            ("handshake --target 127.0.0.1:1 --insecure --rate 0", "--rate: found 0"),
            ("handshake --target 127.0.0.1:1 --insecure --duration 5", "--duration: found \"5\""),
            ("handshake --target 127.0.0.1:1", "--ca"),
            ("handshake --target 127.0.0.1:1 --insecure --exchange 1TiB", "--exchange: found"),
            ("bulk --target 127.0.0.1:1 --insecure --size 0", "--size: found 0"),
            ("idle --target 127.0.0.1:1 --insecure --source ::1", "not of one IP version"),
            ("idle --target 127.0.0.1:1 --insecure --source 127.0.0.9-127.0.0.1", "--source"),
            ("mixed --target 127.0.0.1:1 --insecure --mix sing=1", "--mix: found \"sing=1\""),
            ("request --target 127.0.0.1:1 --insecure --path x", "--path"),
            ("idle --target 127.0.0.1:1 --insecure --connections 0", "--connections: found 0"),
            ("request --target 127.0.0.1:1 --insecure --streams 2", "--streams: one connection"),
            ("request --target 127.0.0.1:1 --insecure --proto h2 --streams 0", "--streams: found"),
            ("request --target 127.0.0.1:1 --insecure --proto h2 --streams 9999", "1 to 1000"),
            ("request --target 127.0.0.1:1 --insecure --proto h2 --alpn x", "expected h2 among"),
            ("request --target 127.0.0.1:1 --insecure --alpn h2", "expected http/1.1 among"),
            ("request --target 127.0.0.1:1 --insecure --proto tcp --expect 1", "--expect: an echo"),
            ("bulk --target 127.0.0.1:1 --insecure --path /x", "--path: there are paths with"),
        ] {
            let error = plan(args).expect_err(args);
            assert!(error.contains(expected), "{args}: {error}");
        }
    }
}
