//! One request and its response: planned, sent to an upstream, sent again where that is sound,
//! answered, logged.
//!
//! Invariants: nothing of a request reaches an upstream before it was planned; a request is sent
//! again only where that cannot do its work twice, and where nothing of a response was seen; the
//! client gets the response of its request or none.

use std::future::poll_fn;
use std::sync::Arc;

use super::answer::Answer;
use super::client_side::ClientSide;
use super::fault::{Fault, Late, SideFault};
use super::http1_upstream::Http1Upstream;
use super::http2_upstream::Http2Upstream;
use super::request::{Plan, plan};
use super::run::Run;
use super::upstream_side::UpstreamSide;
use super::visitor::Visitor;
use super::watch::Watch;
use crate::error::CloseReason;
use crate::http1::body::Framing;
use crate::http1::request::RequestHead;
use crate::log::RequestRecord;
use crate::planted::{Bug, planted};
use crate::proxy::upstream::Unreachable;
use crate::time::Instant;
use crate::tls::transport::{Chunk, recycle};

/// A request of which the head is there.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: RequestHead,
    /// What the head's spans refer to.
    pub(super) bytes: Chunk,
    /// When its first byte was there.
    pub(super) began: Instant,
}

/// What an exchange came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client has its response; the connection may go on.
    Done,
    /// The client does not have its whole response, and the connection cannot go on.
    Over(CloseReason),
}

/// Serves one request.
pub(super) async fn exchange(
    visitor: &Visitor,
    client: &mut ClientSide<'_>,
    request: Request,
    watch: &mut Watch,
) -> Outcome {
    let worker = &visitor.worker;
    let core = worker.core();
    core.counters().requests.increment();
    let mut record = worker.logs_requests().then(|| visitor.record(client, &request));
    let planned = plan(visitor, &request.head, &request.bytes, core.now());
    let outcome = match planned {
        Ok(plan) => {
            if let Some(record) = &mut record {
                record.route = Some(Arc::clone(&plan.route().name));
            }
            forward(visitor, client, &request, &plan, watch, &mut record).await
        }
        Err((answer, route)) => {
            if let Some(record) = &mut record {
                record.route = route;
            }
            send_answer(visitor, client, &request.head, &request.bytes, answer, watch, &mut record)
                .await
        }
    };
    recycle(core, request.bytes);
    if let Some(mut record) = record {
        record.ended = core.clock();
        worker.log_request(record);
    }
    outcome
}

/// To an upstream and back, once or more often.
async fn forward(
    visitor: &Visitor,
    client: &mut ClientSide<'_>,
    request: &Request,
    plan: &Plan,
    watch: &mut Watch,
    record: &mut Option<Box<RequestRecord>>,
) -> Outcome {
    let mut attempts = Attempts::new(visitor, request, plan);
    loop {
        let (answer, fault) =
            match attempt(visitor, client, request, plan, watch, &mut attempts, record).await {
                Attempt::Done => return Outcome::Done,
                Attempt::Again => {
                    visitor.worker.core().counters().requests_retried.increment();
                    if let Some(record) = record {
                        record.retries += 1;
                    }
                    continue;
                }
                Attempt::Unreachable(failed) => {
                    if let Some(record) = record {
                        record.failure = Some(failed.reason);
                    }
                    (Some(Answer::unreachable(failed)), None)
                }
                Attempt::Failed(fault) => (Answer::to(&fault), Some(fault)),
                Attempt::Aborted(fault) => (None, Some(fault)),
            };
        if let (Some(record), Some(fault)) = (record.as_mut(), &fault) {
            record.failure = Some(fault.reason());
        }
        return match (answer, fault) {
            (Some(answer), _) => {
                let (head, bytes) = (&request.head, &request.bytes);
                send_answer(visitor, client, head, bytes, answer, watch, record).await
            }
            (None, Some(fault)) => {
                visitor.worker.core().counters().responses_aborted.increment();
                client.fail(&fault);
                Outcome::Over(fault.reason())
            }
            // invariant: without a fault there is an answer.
            (None, None) => unreachable!("neither an answer nor a fault"),
        };
    }
}

/// What is known of a request's attempts.
struct Attempts {
    /// Those that were made.
    made: u32,
    retries_left: u32,
    /// The next one needs a connection that was not used before.
    fresh: bool,
    /// The endpoint that failed.
    but: Option<usize>,
    is_idempotent: bool,
}

impl Attempts {
    fn new(visitor: &Visitor, request: &Request, plan: &Plan) -> Self {
        let method = request.head.method.of(&request.bytes);
        let (now, percent) = (visitor.worker.core().now(), plan.route().retries.budget_percent);
        visitor.worker.upstreams().budget(plan.cluster(), now).deposit(percent, now);
        Self {
            made: 0,
            retries_left: plan.route().retries.max,
            fresh: false,
            but: None,
            is_idempotent: is_idempotent(method) && request.head.upgrade.is_none(),
        }
    }

    /// Whether there is another attempt after one that failed before anything of a response, or of
    /// the request's body, was seen. `is_unprocessed` says that the upstream did nothing of it.
    fn may_repeat(
        &mut self,
        visitor: &Visitor,
        plan: &Plan,
        failed: &UpstreamSide,
        is_unprocessed: bool,
    ) -> bool {
        if !self.is_idempotent && !is_unprocessed && !planted(Bug::RetryWhatever) {
            return false;
        }
        // The upstream had closed it, most likely before the request came: no attempt at all.
        if failed.is_reused() && !self.fresh {
            self.fresh = true;
            return true;
        }
        if self.retries_left == 0 {
            return false;
        }
        let now = visitor.worker.core().now();
        if !visitor.worker.upstreams().budget(plan.cluster(), now).withdraw(now) {
            return false;
        }
        self.retries_left -= 1;
        self.but = failed.endpoint_index();
        true
    }
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// What one attempt came to.
enum Attempt {
    /// The client has the response.
    Done,
    /// It failed, and is made once more.
    Again,
    /// There is no connection to the upstream.
    Unreachable(Unreachable),
    /// It failed before a response began.
    Failed(Fault),
    /// It failed in the middle of a response.
    Aborted(Fault),
}

async fn attempt(
    visitor: &Visitor,
    client: &mut ClientSide<'_>,
    request: &Request,
    plan: &Plan,
    watch: &mut Watch,
    attempts: &mut Attempts,
    record: &mut Option<Box<RequestRecord>>,
) -> Attempt {
    let worker = &visitor.worker;
    let core = worker.core();
    attempts.made += 1;
    let mut upstream = match connect(visitor, plan, attempts, request.began).await {
        Ok(upstream) => upstream,
        Err(failed) => return failed,
    };
    if let Some(record) = record {
        record.upstream = Some(Arc::clone(upstream.endpoint()));
    }
    let (head, bytes) = (&request.head, &request.bytes);
    let ends = head.framing == Framing::None;
    let sent = plan
        .with_change(visitor, head, bytes, |change| upstream.send_head(bytes, head, change, ends));
    let began = core.clock();
    let (ran, seen) = match sent {
        Ok(()) => {
            let mut run = Run::new(visitor, client, &mut upstream, request, plan, watch);
            let ran = poll_fn(|cx| run.poll(cx)).await;
            (ran, run.seen())
        }
        Err(fault) => (Err(Fault::Upstream(fault)), Default::default()),
    };
    visitor.count(seen.bytes_up, seen.bytes_down);
    if let Some(record) = record {
        record.status = seen.status;
        record.upstream_time = seen.head_at.map(|at| at - began);
        record.bytes_up += seen.bytes_up;
        record.bytes_down += seen.bytes_down;
    }
    let fault = match ran {
        Ok(()) => {
            upstream.release(worker.upstreams().pool(), seen.sent_all);
            return Attempt::Done;
        }
        Err(fault) => fault,
    };
    if seen.has_answered {
        return Attempt::Aborted(fault);
    }
    let is_unprocessed = matches!(fault, Fault::Upstream(SideFault::Unprocessed(_)));
    let is_lost = is_unprocessed
        || matches!(fault, Fault::Upstream(SideFault::Transport(_) | SideFault::Ended));
    let forgets = planted(Bug::RetryWithoutBody) || planted(Bug::RetryWhatever);
    let took_body = seen.took_body && !forgets;
    let is_untouched = !seen.has_interim && !took_body && !upstream.has_begun();
    if is_lost && is_untouched && attempts.may_repeat(visitor, plan, &upstream, is_unprocessed) {
        return Attempt::Again;
    }
    Attempt::Failed(fault)
}

/// The upstream's side: on a connection that is there, or on a new one.
async fn connect(
    visitor: &Visitor,
    plan: &Plan,
    attempts: &Attempts,
    began: Instant,
) -> Result<UpstreamSide, Attempt> {
    let (core, upstreams) = (visitor.worker.core(), visitor.worker.upstreams());
    let cluster = plan.cluster();
    let endpoint = upstreams
        .endpoint(cluster, attempts.but)
        .map_err(|reason| Attempt::Unreachable(reason.into()))?;
    let of_shared = |shared| {
        let upstream = Http2Upstream::new(core, shared, cluster.http.tls.is_some());
        UpstreamSide::Http2(Box::new(upstream))
    };
    let of_own = |own| UpstreamSide::Http1(Box::new(Http1Upstream::new(core, own)));
    let found = match (attempts.fresh, cluster.http.http2) {
        (true, _) => None,
        (false, true) => upstreams.shared().take(core, cluster, endpoint).map(of_shared),
        (false, false) => {
            let be_sure = !attempts.is_idempotent;
            upstreams.reuse(core, cluster, endpoint, be_sure).map(of_own)
        }
    };
    if let Some(found) = found {
        return Ok(found);
    }
    // Boxed: its state is larger than that of all the rest.
    let opening = Box::pin(upstreams.open_for_requests(core, cluster, endpoint));
    let opened = match plan.route().timeouts.total {
        Some(total) => core.timeout_at(began + total, opening).await,
        None => Ok(opening.await),
    };
    let own = match opened {
        Ok(opened) => opened.map_err(Attempt::Unreachable)?,
        Err(_) => return Err(Attempt::Failed(Fault::Late(Late::Total))),
    };
    if !cluster.http.http2 {
        return Ok(of_own(own));
    }
    let shared = upstreams.shared().share(core, own).await;
    shared.map(of_shared).map_err(|reason| Attempt::Unreachable(reason.into()))
}

/// Sends an answer of ringfort's own.
pub(super) async fn send_answer(
    visitor: &Visitor,
    client: &mut ClientSide<'_>,
    head: &RequestHead,
    bytes: &[u8],
    answer: Answer,
    watch: &mut Watch,
    record: &mut Option<Box<RequestRecord>>,
) -> Outcome {
    let core = visitor.worker.core();
    core.counters().requests_answered.increment();
    let is_head = head.method.of(bytes) == b"HEAD";
    if let Some(record) = record {
        record.status = answer.status;
        record.answered = Some(answer.code);
        record.detail = answer.detail.clone();
    }
    watch.set(core.now() + visitor.options().head_timeout);
    let writable = poll_fn(|cx| match client.poll_writable(cx) {
        std::task::Poll::Pending => watch.poll(cx).map(|()| None),
        ready => ready.map(Some),
    });
    match writable.await {
        Some(Ok(())) => {}
        Some(Err(fault)) => return Outcome::Over(Fault::Client(fault).reason()),
        None => return Outcome::Over(Fault::Late(Late::ResponseBody).reason()),
    }
    let sent = client.send_answer(&answer, is_head, visitor.options().problem_details);
    match sent.and_then(|()| client.flush()) {
        Ok(()) => Outcome::Done,
        Err(fault) => Outcome::Over(Fault::Client(fault).reason()),
    }
}
