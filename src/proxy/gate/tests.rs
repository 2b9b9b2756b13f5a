//! The gate by itself: who gets in when, and that nothing is left behind.

use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Context;

use proptest::prelude::*;

use super::*;
use crate::limits::FAILURES_OF_SOURCE_MIN;
use crate::proxy::kit::{Woken, core};
use crate::rt::inbox::queue;

fn limits(per_worker: u32, per_source: u32) -> Limits {
    Limits {
        connections_max: 1,
        connections_per_worker_max: 1,
        connections_per_source_max: None,
        handshakes_per_worker_max: per_worker,
        handshakes_per_source_max: per_source,
        handshake_queue: Duration::from_millis(500),
        verdicts_per_worker_max: 1,
        session_cache_bytes: 0,
    }
}

fn gate() -> Rc<Gate> {
    Gate::new([1, 2], WorkerCounters::new())
}

fn at(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(1_000_000 + ms)
}

fn ip(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

fn new(number: u32) -> Asking {
    Asking { source: Some(ip(number)), resumes: false }
}

fn resuming(number: u32) -> Asking {
    Asking { resumes: true, ..new(number) }
}

fn convict(gate: &Gate, number: u32) {
    for _ in 0..FAILURES_OF_SOURCE_MIN {
        gate.settle(at(0), Some(ip(number)), false);
    }
}

fn assert_empty(gate: &Gate) {
    let state = gate.state.borrow();
    assert!(state.entries.is_empty() && state.sources.is_empty());
    assert!(state.awaited.is_empty() && state.crowds.is_empty());
    assert!(state.queues.iter().all(VecDeque::is_empty));
    assert_eq!((state.inside, state.waiting, state.waiting_failing), (0, 0, 0));
    assert_eq!(gate.counters.handshakes_live.get(), 0);
    assert_eq!(gate.counters.handshakes_waiting.get(), 0);
}

#[test]
fn beyond_the_limit_of_a_worker_one_waits_until_another_leaves() {
    let (gate, limits) = (gate(), limits(2, 2));
    let mut inside: Vec<_> =
        [1, 2].into_iter().map(|source| gate.arrive(at(0), new(source), &limits)).collect();
    let third = gate.arrive(at(0), new(3), &limits).expect("it may wait");
    assert!(inside.iter().flatten().all(Pass::is_in) && !third.is_in());
    assert_eq!(gate.counters.handshakes_waiting.get(), 1);
    inside.pop();
    assert!(third.is_in());
    assert_eq!(gate.counters.handshakes_live.get(), 2);
    let at_once = Limits { handshake_queue: Duration::ZERO, ..limits };
    assert!(gate.arrive(at(0), new(4), &at_once).is_none(), "nobody waits where none may");
    assert_eq!(gate.counters.handshakes_refused.get(), 1);
    drop((inside, third));
    assert!(gate.arrive(at(0), new(4), &at_once).is_some_and(|pass| pass.is_in()));
    assert_empty(&gate);
}

#[test]
fn beyond_its_own_limit_a_source_waits_for_itself_and_holds_up_nobody() {
    let (gate, limits) = (gate(), limits(10, 2));
    let mut mine: Vec<_> = (0..4).map(|_| gate.arrive(at(0), new(1), &limits).expect("")).collect();
    let is_in: Vec<_> = mine.iter().map(Pass::is_in).collect();
    assert_eq!(is_in, [true, true, false, false]);
    // As many again may wait, and no more.
    assert!(gate.arrive(at(0), new(1), &limits).is_none());
    let other = gate.arrive(at(0), new(2), &limits).expect("it has its own places");
    assert!(other.is_in());
    drop(mine.remove(0));
    assert_eq!(mine.iter().map(Pass::is_in).collect::<Vec<_>>(), [true, true, false]);
    drop((mine, other));
    assert_empty(&gate);
}

#[test]
fn within_a_source_who_resumes_overtakes_too() {
    let (gate, limits) = (gate(), limits(10, 3));
    let mut inside: Vec<_> = (0..3).map(|_| gate.arrive(at(0), new(1), &limits)).collect();
    let [later, resuming] = [new(1), resuming(1)].map(|who| gate.arrive(at(0), who, &limits));
    let (later, resuming) = (later.expect("it may wait"), resuming.expect("it may wait"));
    // Three grants were, and the fourth is the turn of who does not.
    let other = gate.arrive(at(0), new(2), &limits);
    inside.pop();
    assert!(resuming.is_in() && !later.is_in());
    inside.pop();
    assert!(later.is_in());
    drop((inside, later, resuming, other));
    assert_empty(&gate);
}

#[test]
fn limits_that_are_raised_let_in_who_waits() {
    let (gate, few) = (gate(), limits(1, 1));
    let held = gate.arrive(at(0), new(1), &few).expect("a place");
    let [same, other] = [1, 2].map(|source| gate.arrive(at(0), new(source), &few));
    let (same, other) = (same.expect("it may wait"), other.expect("it may wait"));
    let more = Limits { handshake_queue: Duration::ZERO, ..limits(4, 2) };
    let late = gate.arrive(at(0), new(3), &more).expect("a place");
    assert!([&held, &same, &other, &late].into_iter().all(Pass::is_in));
    drop((held, same, other, late));
    assert_empty(&gate);
}

/// Lets in one after the other, and tells in which order.
fn order(gate: &Rc<Gate>, limits: &Limits, groups: &[(&str, Vec<Asking>)]) -> Vec<String> {
    let mut current = gate.arrive(at(0), new(9_999), limits);
    let mut waiting: Vec<(String, Pass)> = Vec::new();
    for (name, all) in groups {
        for who in all {
            let pass = gate.arrive(at(0), *who, limits).expect("there is room");
            assert!(!pass.is_in());
            waiting.push((name.to_string(), pass));
        }
    }
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(current.take());
        let next = waiting.iter().position(|(_, pass)| pass.is_in()).expect("somebody is next");
        let (name, pass) = waiting.remove(next);
        order.push(name);
        current = Some(pass);
    }
    order
}

#[test]
fn who_resumes_comes_first_who_fails_last_and_each_has_its_turns() {
    let (gate, limits) = (gate(), limits(1, 1));
    (200..220).for_each(|source| convict(&gate, source));
    let groups = [
        // An offer does not help where handshakes keep failing.
        ("failing", (200..204).map(resuming).collect()),
        ("new", (100..104).map(new).collect()),
        ("resuming", (0..12).map(resuming).collect()),
    ];
    let order = order(&gate, &limits, &groups);
    let [r, n, f] = ["resuming", "new", "failing"];
    // The first of eight grants was that of whom they wait for.
    let expected = [r, r, n, r, r, r, f, r, r, r, n, r, r, r, f, r, n, n, f, f];
    assert_eq!(order, expected);
    assert_empty(&gate);
}

#[test]
fn a_queue_is_bounded_and_who_fails_makes_room() {
    let (gate, limits) = (gate(), limits(1, 1));
    (0..1_000).for_each(|source| convict(&gate, source));
    let first = gate.arrive(at(0), new(9_999), &limits);
    let failing: Vec<_> =
        (0..1_000).filter_map(|source| gate.arrive(at(0), new(source), &limits)).collect();
    assert_eq!(failing.len(), HANDSHAKES_WAITING_FAILING_MAX);
    let others: Vec<_> = (0..2 * HANDSHAKES_WAITING_MAX as u32)
        .filter_map(|source| gate.arrive(at(0), new(10_000 + source), &limits))
        .collect();
    assert_eq!(others.len(), HANDSHAKES_WAITING_MAX, "the failing ones made room");
    assert_eq!(gate.state.borrow().waiting, HANDSHAKES_WAITING_MAX);
    let is_out = |pass: &Pass| matches!(gate.state.borrow().entries[pass.key].stage, Stage::Out);
    assert!(failing.iter().all(is_out));
    drop((first, failing, others));
    assert_empty(&gate);
}

fn arrive(gate: &Rc<Gate>, all: impl IntoIterator<Item = Asking>, limits: &Limits) -> Vec<Pass> {
    all.into_iter().filter_map(|who| gate.arrive(at(0), who, limits)).collect()
}

fn count_out(passes: &[Pass]) -> usize {
    let is_out =
        |pass: &&Pass| matches!(pass.gate.state.borrow().entries[pass.key].stage, Stage::Out);
    passes.iter().filter(is_out).count()
}

/// `count` arrivals, of as many sources from `first` on.
fn each_of(first: u32, count: usize, who: fn(u32) -> Asking) -> impl Iterator<Item = Asking> {
    (first..first + count as u32).map(who)
}

#[test]
fn few_sources_neither_fill_the_queue_nor_keep_it_full() {
    // As the configuration has it by default.
    let (gate, limits) = (gate(), limits(1024, 512));
    let crowd = |source| arrive(&gate, std::iter::repeat_n(resuming(source), 2_000), &limits);
    let mut crowds: Vec<_> = [1, 2].map(crowd).into();
    assert_eq!(gate.state.borrow().inside, 1024);
    for crowd in &crowds {
        assert_eq!(crowd.len(), 512 + HANDSHAKES_WAITING_OF_SOURCE_MAX);
    }
    // More of them do fill it; who comes alone has room nevertheless, whatever it offers.
    crowds.extend((3..20).map(crowd));
    assert_eq!(gate.state.borrow().waiting, HANDSHAKES_WAITING_MAX);
    let levelled = crowds.iter().map(|crowd| count_out(crowd)).sum::<usize>();
    let alone =
        arrive(&gate, each_of(1_000, 300, new).chain(each_of(2_000, 300, resuming)), &limits);
    assert_eq!((alone.len(), count_out(&alone)), (600, 0));
    assert_eq!(gate.state.borrow().waiting, HANDSHAKES_WAITING_MAX);
    assert_eq!(crowds.iter().map(|crowd| count_out(crowd)).sum::<usize>(), 600 + levelled);
    // The most that one has is taken from each time: none has much more than another.
    let state = gate.state.borrow();
    assert!(state.sources.values().all(|of| of.waiting <= HANDSHAKES_WAITING_MAX / 19));
    drop(state);
    drop((crowds, alone));
    assert_empty(&gate);
}

#[test]
fn in_a_full_queue_each_class_keeps_what_its_turns_need() {
    for floods in [[resuming, new], [new, resuming]] {
        let (gate, limits) = (gate(), limits(1, 1));
        let first = gate.arrive(at(0), new(9_999), &limits);
        let flood = arrive(&gate, each_of(10_000, 2 * HANDSHAKES_WAITING_MAX, floods[0]), &limits);
        assert_eq!(flood.len(), HANDSHAKES_WAITING_MAX);
        let others = arrive(&gate, each_of(20_000, 2 * HANDSHAKES_WAITING_MAX, floods[1]), &limits);
        let queued = |class| gate.state.borrow().queues[class as usize].len();
        let [resume, do_not] = [Class::Resuming, Class::New].map(queued);
        assert_eq!(do_not, HANDSHAKES_WAITING_NEW_MIN);
        assert_eq!(resume, HANDSHAKES_WAITING_MAX - HANDSHAKES_WAITING_NEW_MIN);
        assert_eq!((others.len(), count_out(&others)), (count_out(&flood), 0));
        drop((first, flood, others));
        assert_empty(&gate);
    }
}

/// From then on its client is waited for. Returns what is woken when something comes.
fn wait_for_client(pass: &Pass, ms: u64) -> Waker {
    let watch = Watch::renew(&mut None, Waker::noop());
    let mut state = pass.gate.state.borrow_mut();
    state.wait_for_client(at(ms), pass.key, Arc::clone(&watch));
    watch.into()
}

#[test]
fn who_stays_too_long_loses_its_place_once_another_waits() {
    let (gate, limits) = (gate(), limits(2, 1));
    let held = [1, 2].map(|source| gate.arrive(at(0), new(source), &limits).expect("a place"));
    held.iter().for_each(|pass| drop(wait_for_client(pass, 0)));
    let early = gate.arrive(at(HANDSHAKE_STALE_MS - 1), new(3), &limits).expect("it may wait");
    assert!(held.iter().all(Pass::is_in) && !early.is_in());
    // The one that waits gets the place, and who causes it has to wait.
    let late = gate.arrive(at(HANDSHAKE_STALE_MS), new(4), &limits).expect("it may wait");
    let is_in = [&held[0], &held[1], &early, &late].map(Pass::is_in);
    assert_eq!(is_in, [false, true, true, false]);
    wait_for_client(&early, HANDSHAKE_STALE_MS);
    // It is the queue's, whoever comes.
    drop(late);
    let late = gate.arrive(at(HANDSHAKE_STALE_MS), new(4), &limits).expect("it may wait");
    let same = gate.arrive(at(3 * HANDSHAKE_STALE_MS), new(4), &limits).expect("it may wait");
    assert!(!held[1].is_in() && late.is_in() && !same.is_in());
    drop((held, late, same));
    let held = [gate.arrive(at(3 * HANDSHAKE_STALE_MS), new(2), &limits).expect("a place")];
    wait_for_client(&held[0], 3 * HANDSHAKE_STALE_MS);
    // A source that is at its own limit puts nobody out.
    let again = gate.arrive(at(9 * HANDSHAKE_STALE_MS), new(2), &limits).expect("it may wait");
    assert!(held[0].is_in() && early.is_in() && !again.is_in());
    drop((held, early, again));
    assert_empty(&gate);
}

#[test]
fn who_waits_for_the_server_keeps_its_place_however_long() {
    let (gate, limits) = (gate(), limits(3, 1));
    let all = [1, 2, 3].map(|source| gate.arrive(at(0), new(source), &limits).expect("a place"));
    // Of the first nothing is computed yet; the second has answered; the third is waited for.
    let wakers = [&all[1], &all[2]].map(|pass| wait_for_client(pass, 0));
    wakers[0].wake_by_ref();
    let late = 5 * HANDSHAKE_STALE_MS;
    let others = [4, 5].map(|source| gate.arrive(at(late), new(source), &limits));
    assert_eq!(all.each_ref().map(Pass::is_in), [true, true, false]);
    // What it is waited for again counts from then on.
    assert!(gate.state.borrow_mut().resume(all[1].key));
    wait_for_client(&all[1], late);
    let early = gate.arrive(at(late + HANDSHAKE_STALE_MS - 1), new(6), &limits);
    assert!(all[1].is_in());
    let last = gate.arrive(at(late + HANDSHAKE_STALE_MS), new(7), &limits);
    assert_eq!(all.each_ref().map(Pass::is_in), [true, false, false]);
    drop((all, others, early, last));
    assert_empty(&gate);
}

#[test]
fn a_place_that_another_left_long_after_the_last_arrival_is_not_stale_at_once() {
    let (gate, limits) = (gate(), limits(1, 1));
    let first = gate.arrive(at(0), new(1), &limits).expect("a place");
    let second = gate.arrive(at(0), new(2), &limits).expect("it may wait");
    drop(first);
    let third = gate.arrive(at(9 * HANDSHAKE_STALE_MS), new(3), &limits).expect("it may wait");
    assert!(second.is_in() && !third.is_in());
    drop((second, third));
    assert_empty(&gate);
}

#[test]
fn who_doles_out_its_bytes_loses_its_place_too() {
    let (gate, limits) = (gate(), limits(1, 1));
    let held = gate.arrive(at(0), new(1), &limits).expect("a place");
    let mut now = 0;
    let mut last = None;
    while held.is_in() {
        gate.state.borrow_mut().resume(held.key);
        wait_for_client(&held, now);
        now += HANDSHAKE_STALE_MS - 1;
        last = gate.arrive(at(now), new(2), &limits);
        assert!(now < 10 * HANDSHAKE_STALE_MS, "it is never put out");
    }
    assert!(now > 2 * HANDSHAKE_STALE_MS, "an answer in two pieces is no fault");
    drop((held, last));
    assert_empty(&gate);
}

#[test]
fn a_task_that_waits_is_woken_when_it_is_in_and_one_that_is_put_out_ends() {
    let (gate, limits, core) = (gate(), limits(1, 1), core());
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let mut cx = Context::from_waker(&waker);
    let first = gate.arrive(at(0), new(1), &limits).expect("a place");
    let second = gate.arrive(at(0), new(2), &limits).expect("it may wait");
    let mut turn = pin!(second.granted(&core, Duration::from_secs(60)));
    assert_eq!(turn.as_mut().poll(&mut cx), Poll::Pending);
    drop(first);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(turn.as_mut().poll(&mut cx), Poll::Ready(true));
    let inner = RefCell::new(None);
    let mut held = pin!(second.hold(
        &core,
        poll_fn(|cx| {
            inner.replace(Some(cx.waker().clone()));
            Poll::<()>::Pending
        })
    ));
    assert_eq!(held.as_mut().poll(&mut cx), Poll::Pending);
    // What it waits for is there: it is woken, and not put out before it was polled again.
    inner.take().expect("it was polled").wake();
    assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    let later = || core.clock() + Duration::from_millis(HANDSHAKE_STALE_MS);
    let third = gate.arrive(later(), new(3), &limits).expect("it may wait");
    assert!(second.is_in() && !third.is_in());
    assert_eq!(held.as_mut().poll(&mut cx), Poll::Pending);
    let fourth = gate.arrive(later(), new(4), &limits).expect("it may wait");
    assert_eq!(woken.0.load(Ordering::Relaxed), 3);
    assert_eq!(held.as_mut().poll(&mut cx), Poll::Ready(None));
    assert!(third.is_in() && !fourth.is_in());
    assert_eq!(gate.counters.handshakes_refused.get(), 1);
}

#[test]
fn a_wait_is_bounded_in_time() {
    let (gate, limits, core) = (gate(), limits(1, 1), core());
    let first = gate.arrive(at(0), new(1), &limits).expect("a place");
    let second = gate.arrive(at(0), new(2), &limits).expect("it may wait");
    let answer = Rc::new(std::cell::Cell::new(None));
    let (tell, waits) = (Rc::clone(&answer), core.clone());
    core.spawn_costly(async move {
        tell.set(Some(second.granted(&waits, Duration::from_millis(20)).await));
    });
    let (inbox, _sender) = queue::<()>();
    let done = Rc::clone(&answer);
    core.run(&inbox, |()| {}, || done.get().is_some()).expect("the ring works");
    assert_eq!(answer.get(), Some(false));
    drop(first);
    assert_empty(&gate);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive(Asking),
    /// So many at once.
    Crowd(Asking, usize),
    Leave(prop::sample::Index),
    Settle(u32, bool),
    Pass(u64),
    /// Its client is waited for.
    Wait(prop::sample::Index),
}

fn step(sources: u32, crowd_max: usize) -> impl Strategy<Value = Step> {
    let source = 0..sources;
    let asking = (source.clone(), any::<bool>())
        .prop_map(|(source, resumes)| Asking { resumes, ..new(source) });
    prop_oneof![
        4 => asking.clone().prop_map(Step::Arrive),
        4 => (asking, 0..=crowd_max).prop_map(|(who, count)| Step::Crowd(who, count)),
        3 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => (source, any::<bool>()).prop_map(|(source, good)| Step::Settle(source, good)),
        1 => (0_u64..2_000).prop_map(Step::Pass),
        2 => any::<prop::sample::Index>().prop_map(Step::Wait),
    ]
}

/// What must hold after every step.
fn check(gate: &Gate, limits: &Limits) -> Result<(), TestCaseError> {
    let state = gate.state.borrow();
    prop_assert!(state.inside <= limits.handshakes_per_worker_max as usize);
    for &(since, key) in &state.awaited {
        let entry = &state.entries[key];
        prop_assert!(matches!(entry.stage, Stage::In) && entry.since == since);
    }
    // Of each source: in, queued, parked.
    let mut counts = BTreeMap::<Source, [usize; 3]>::new();
    for (_, entry) in &state.entries {
        let stage = match entry.stage {
            Stage::In => 0,
            Stage::Queued => 1,
            Stage::Parked => 2,
            Stage::Out => continue,
        };
        counts.entry(entry.source).or_default()[stage] += 1;
    }
    prop_assert!(state.sources.keys().eq(counts.keys()), "a source that has nothing, or is lost");
    let mut waiting = 0;
    for (source, of) in &state.sources {
        let [inside, queued, parked] = counts[source];
        prop_assert_eq!(of.charged as usize, inside + queued);
        prop_assert!(of.charged <= limits.handshakes_per_source_max);
        prop_assert_eq!((of.parked(), of.waiting), (parked, queued + parked));
        prop_assert!(parked == 0 || of.charged == limits.handshakes_per_source_max);
        prop_assert!(of.waiting <= HANDSHAKES_WAITING_OF_SOURCE_MAX);
        prop_assert_eq!(state.crowds.contains(&(of.waiting, *source)), of.waiting > 0);
        waiting += of.waiting;
    }
    prop_assert_eq!(state.crowds.iter().map(|&(waiting, _)| waiting).sum::<usize>(), waiting);
    prop_assert!(waiting <= HANDSHAKES_WAITING_MAX);
    prop_assert_eq!(state.waiting, waiting);
    let queued: usize = state.queues.iter().map(VecDeque::len).sum();
    let is_full = state.inside == limits.handshakes_per_worker_max as usize;
    prop_assert!(queued == 0 || is_full, "somebody waits beside a free place");
    Ok(())
}

/// Takes the steps and checks after each; returns how many waited at most.
fn take(limits: &Limits, steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let (gate, mut passes, mut now, mut most) = (gate(), Vec::<Pass>::new(), 0, 0);
    for step in steps {
        match step {
            Step::Arrive(who) => passes.extend(gate.arrive(at(now), who, limits)),
            Step::Crowd(who, count) => {
                passes.extend((0..count).filter_map(|_| gate.arrive(at(now), who, limits)));
            }
            Step::Leave(index) if !passes.is_empty() => {
                drop(passes.swap_remove(index.index(passes.len())));
            }
            Step::Settle(source, good) => drop(gate.settle(at(now), Some(ip(source)), good)),
            Step::Pass(ms) => now += ms,
            Step::Wait(index) if !passes.is_empty() => {
                let pass = &passes[index.index(passes.len())];
                if gate.state.borrow_mut().resume(pass.key) {
                    wait_for_client(pass, now);
                }
            }
            Step::Leave(_) | Step::Wait(_) => {}
        }
        check(&gate, limits)?;
        most = most.max(gate.state.borrow().waiting);
    }
    drop(passes);
    assert_empty(&gate);
    Ok(most)
}

proptest! {
    #[test]
    fn whatever_happens_places_are_neither_lost_nor_given_twice(
        per_worker in 1_u32..5,
        per_source in 1_u32..4,
        steps in prop::collection::vec(step(6, 2), 1..200),
    ) {
        take(&limits(per_worker, per_source.min(per_worker)), steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Limits as they are configured, and crowds that fill the queue.
    #[test]
    fn where_the_queue_is_full_places_are_neither_lost_nor_given_twice(
        (per_worker, per_source) in prop::sample::select(vec![(1024, 512), (256, 64), (64, 64)]),
        steps in prop::collection::vec(step(24, 400), 40..120),
    ) {
        // So that it is full, whatever else is chosen.
        let fill = (0..24).map(|source| Step::Crowd(resuming(source), 300));
        let most = take(&limits(per_worker, per_source), fill.chain(steps).collect())?;
        prop_assert_eq!(most, HANDSHAKES_WAITING_MAX);
    }
}
