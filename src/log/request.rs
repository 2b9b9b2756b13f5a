//! The log line of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{ClockPair, connection_id};
use crate::error::CloseReason;
use crate::identity::Identity;
use crate::time::Instant;

/// One request, from the first byte of its head to the last of its response.
#[derive(Debug)]
pub struct RequestRecord {
    /// When its first byte was there.
    pub began: Instant,
    /// When the exchange was over.
    pub ended: Instant,
    /// The number of its connection.
    pub connection: u64,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// Who the client is.
    pub identity: Option<Arc<Identity>>,
    /// What was spoken: `http/1.0`, `http/1.1` or `h2`.
    pub protocol: &'static str,
    /// The method.
    pub method: Box<str>,
    /// The host and port that were asked for.
    pub authority: Box<str>,
    /// The path, without the query.
    pub path: Box<str>,
    /// The status of the response; 0 where none was sent.
    pub status: u16,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The endpoint that it was sent to last.
    pub upstream: Option<Arc<str>>,
    /// From when it was sent to the head of the response.
    pub upstream_time: Option<Duration>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// Bytes of the request's body.
    pub bytes_up: u64,
    /// Bytes of the response's body.
    pub bytes_down: u64,
    /// Why ringfort answered by itself.
    pub answered: Option<&'static str>,
    /// What went wrong.
    pub failure: Option<CloseReason>,
    /// What there is to say beyond that.
    pub detail: Option<Box<str>>,
}

impl RequestRecord {
    /// The record as one line of JSON, with its newline.
    pub fn line(&self, clocks: &ClockPair) -> String {
        let mut line = serde_json::to_string(&Line { record: self, clocks }).unwrap_or_default();
        line.push('\n');
        line
    }
}

struct Line<'a> {
    record: &'a RequestRecord,
    clocks: &'a ClockPair,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", "request")?;
        map.serialize_entry("time", &self.clocks.format(record.began))?;
        map.serialize_entry("connection", &connection_id(record.connection))?;
        map.serialize_entry("listener", &*record.listener)?;
        map.serialize_entry("peer", &record.peer)?;
        map.serialize_entry("identity", &record.identity.as_deref().map(Identity::label))?;
        map.serialize_entry("protocol", record.protocol)?;
        map.serialize_entry("method", &record.method)?;
        map.serialize_entry("authority", &record.authority)?;
        map.serialize_entry("path", &record.path)?;
        map.serialize_entry("status", &record.status)?;
        map.serialize_entry("route", &record.route.as_deref())?;
        map.serialize_entry("upstream", &record.upstream.as_deref())?;
        map.serialize_entry("upstream_us", &record.upstream_time.map(|time| time.as_micros()))?;
        map.serialize_entry("retries", &record.retries)?;
        map.serialize_entry("bytes_up", &record.bytes_up)?;
        map.serialize_entry("bytes_down", &record.bytes_down)?;
        map.serialize_entry("total_us", &(record.ended - record.began).as_micros())?;
        if let Some(code) = record.answered {
            map.serialize_entry("answered", code)?;
        }
        if let Some(failure) = record.failure {
            map.serialize_entry("failure_source", failure.source.as_str())?;
            map.serialize_entry("failure", failure.kind.as_str())?;
        }
        map.serialize_entry("detail", &record.detail)?;
        map.end()
    }
}
