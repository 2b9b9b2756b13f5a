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
use super::logged::Logged;
use super::request::{Plan, plan};
use super::run::Run;
use super::upstream_side::UpstreamSide;
use super::visitor::Visitor;
use super::watch::Watch;
use crate::error::CloseReason;
use crate::http1::body::Framing;
use crate::http1::request::RequestHead;
use crate::metrics::counter::Counter;
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
    let _in_progress = visitor.enter();
    let mut logged = Logged::new(visitor, client, &request);
    let planned = plan(visitor, &request.head, &request.bytes, core.now());
    let outcome = match planned {
        Ok(plan) => {
            if let Some(record) = logged.record() {
                record.route = Some(Arc::clone(&plan.route().name));
            }
            forward(visitor, client, &request, &plan, watch, &mut logged).await
        }
        Err((answer, route)) => {
            if let Some(record) = logged.record() {
                record.route = route;
            }
            send_answer(visitor, client, &request.head, &request.bytes, answer, watch, &mut logged)
                .await
        }
    };
    recycle(core, request.bytes);
    logged.over();
    outcome
}

/// To an upstream and back, once or more often.
async fn forward(
    visitor: &Visitor,
    client: &mut ClientSide<'_>,
    request: &Request,
    plan: &Plan,
    watch: &mut Watch,
    logged: &mut Logged<'_>,
) -> Outcome {
    let mut attempts = Attempts::new(visitor, request, plan);
    loop {
        let (answer, fault) =
            match attempt(visitor, client, request, plan, watch, &mut attempts, logged).await {
                Attempt::Done => return Outcome::Done,
                Attempt::Again => {
                    visitor.worker.core().counters().requests_retried.increment();
                    if let Some(record) = logged.record() {
                        record.retries += 1;
                    }
                    continue;
                }
                Attempt::Unreachable(failed) => {
                    if let Some(record) = logged.record() {
                        record.failure = Some(failed.reason);
                    }
                    (Some(Answer::unreachable(failed)), None)
                }
                Attempt::Failed(fault) => (Answer::to(&fault), Some(fault)),
                Attempt::Aborted(fault) => (None, Some(fault)),
            };
        if let (Some(record), Some(fault)) = (logged.record(), &fault) {
            record.failure = Some(fault.reason());
        }
        return match (answer, fault) {
            (Some(answer), _) => {
                let (head, bytes) = (&request.head, &request.bytes);
                send_answer(visitor, client, head, bytes, answer, watch, logged).await
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
        // It counts against the budget as every request that is sent twice. But it is never refused
        // for want of it: there is one of it for each request, and where an upstream closes many
        // connections at once their clients would be told of a failure that is none.
        let now = visitor.worker.core().now();
        if failed.is_reused() && !self.fresh {
            self.fresh = true;
            visitor.worker.upstreams().budget(plan.cluster(), now).withdraw(now);
            return true;
        }
        if self.retries_left == 0 {
            return false;
        }
        if !visitor.worker.upstreams().budget(plan.cluster(), now).withdraw(now) {
            return false;
        }
        self.retries_left -= 1;
        self.but = failed.endpoint_index();
        true
    }
}

/// RFC 9110, 9.2.2. TRACE is not forwarded.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
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
    logged: &mut Logged<'_>,
) -> Attempt {
    let worker = &visitor.worker;
    attempts.made += 1;
    let mut upstream = match connect(visitor, plan, attempts, request.began).await {
        Ok(upstream) => upstream,
        Err(failed) => return failed,
    };
    if let Some(record) = logged.record() {
        record.upstream = Some(Arc::clone(upstream.endpoint()));
    }
    let (head, bytes) = (&request.head, &request.bytes);
    let ends = head.framing == Framing::None;
    let sent = plan
        .with_change(visitor, head, bytes, |change| upstream.send_head(bytes, head, change, ends));
    let (ran, seen) = match sent {
        Ok(()) => {
            let mut run = Run::new(visitor, client, &mut upstream, request, plan, watch, logged);
            let ran = poll_fn(|cx| run.poll(cx)).await;
            (ran, run.seen())
        }
        Err(fault) => (Err(Fault::Upstream(fault)), Default::default()),
    };
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
    let is_untouched =
        !seen.has_interim && !took_body && !seen.has_trailers && !upstream.has_begun();
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
    let is_shared = cluster.http.http2;
    if !is_shared && !attempts.fresh {
        let be_sure = !attempts.is_idempotent;
        if let Some(own) = upstreams.reuse(core, cluster, endpoint, be_sure) {
            return Ok(UpstreamSide::Http1(Box::new(Http1Upstream::new(core, own))));
        }
    }
    let claim = visitor.claim();
    // Boxed: its state is larger than that of all the rest.
    let connections_max = visitor.worker.published().limits.connections_max;
    let opening = Box::pin(async {
        if is_shared {
            let fresh = attempts.fresh;
            let sharing = upstreams.share(core, cluster, endpoint, fresh, claim, connections_max);
            let upstream = Http2Upstream::new(core, sharing.await?, cluster.http.tls.is_some());
            return Ok(UpstreamSide::Http2(Box::new(upstream)));
        }
        let own = upstreams.open_for_requests(core, cluster, endpoint, claim, connections_max);
        Ok(UpstreamSide::Http1(Box::new(Http1Upstream::new(core, own.await?))))
    });
    let opened = match plan.route().timeouts.total {
        Some(total) => core.timeout_at(began + total, opening).await,
        None => Ok(opening.await),
    };
    match opened {
        Ok(opened) => opened.map_err(Attempt::Unreachable),
        Err(_) => Err(Attempt::Failed(Fault::Late(Late::Total))),
    }
}

/// Sends an answer of ringfort's own.
pub(super) async fn send_answer(
    visitor: &Visitor,
    client: &mut ClientSide<'_>,
    head: &RequestHead,
    bytes: &[u8],
    answer: Answer,
    watch: &mut Watch,
    logged: &mut Logged<'_>,
) -> Outcome {
    let core = visitor.worker.core();
    let counters = core.counters();
    counters.requests_answered.increment();
    for counter in [counters.answered(answer.status), counters.responses(answer.status)] {
        counter.into_iter().for_each(Counter::increment);
    }
    let is_head = head.method.of(bytes) == b"HEAD";
    if visitor.worker.is_draining() {
        client.close_after();
    }
    if let Some(record) = logged.record() {
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
        None => return Outcome::Over(Fault::Late(Late::NotTaken).reason()),
    }
    let sent = client.send_answer(&answer, is_head, visitor.options().problem_details);
    if let Err(fault) = sent.and_then(|()| client.flush()) {
        return Outcome::Over(Fault::Client(fault).reason());
    }
    let answered = poll_fn(|cx| match client.poll_answered(cx) {
        std::task::Poll::Pending => watch.poll(cx).map(|()| None),
        ready => ready.map(Some),
    });
    match answered.await {
        Some(Ok(())) => Outcome::Done,
        Some(Err(fault)) => Outcome::Over(Fault::Client(fault).reason()),
        None => Outcome::Over(Fault::Late(Late::ResponseBody).reason()),
    }
}
