//! A server that sends back what it is sent, and a client of the same room.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Request, Response};
use ringfort::http2::body::{BodySender, Stopped};
use ringfort::http2::client::{Client, connect};
use ringfort::http2::end::End;
use ringfort::http2::options::Http2Options;
use ringfort::http2::payload::Payload;
use ringfort::http2::server::{Lifetime, Next, SendResponse, Server};
use ringfort::rt::core::Core;
use ringfort::rt::stream::Stream;
use ringfort::tls::transport::Transport;

use crate::kit::{World, content};

pub const LIFETIME: Lifetime = Lifetime { idle_timeout: Duration::from_secs(30), age_at: None };

/// Serves one connection to its end, a task for each stream.
pub async fn serve(core: Core, stream: Stream, options: Http2Options, lifetime: Lifetime) -> End {
    let mut server = Server::new(&core, Transport::Plain(stream), &options, lifetime);
    loop {
        match server.next().await {
            Next::Stream(request, respond) => core.spawn(async move {
                // A stream that is reset is the peer's will.
                let _ = echo(request, respond).await;
            }),
            Next::End(end) => return end,
        }
    }
}

async fn echo(request: Request<RecvStream>, mut respond: SendResponse) -> Result<(), Stopped> {
    let mut body = request.into_body();
    let mut sender = BodySender::new(respond.send_response(Response::new(()), false)?, false);
    while let Some(data) = body.data().await {
        let data = data?;
        poll_fn(|cx| sender.poll_ready(cx)).await?;
        body.flow_control().release_capacity(data.len())?;
        sender.send(Payload::from(data), false)?;
    }
    sender.finish(body.trailers().await?)
}

/// Sends `sent` in pieces with a trailer, and returns what came back, with its trailers.
async fn exchange(client: &mut Client, sent: Vec<u8>) -> (Vec<u8>, Option<HeaderMap>) {
    let request = Request::post("https://api.example/echo").body(()).expect("a request");
    let opened = client.open(request, false).expect("there is room");
    let mut sender = BodySender::new(opened.body, false);
    let sending = async move {
        for piece in sent.chunks(50_000) {
            poll_fn(|cx| sender.poll_ready(cx)).await.expect("it takes all");
            sender.send(bytes::Bytes::copy_from_slice(piece).into(), false).expect("as well");
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        sender.finish(Some(trailers)).expect("the end too");
    };
    let receiving = async {
        let response = opened.response.await.expect("a response");
        let mut body = response.into_body();
        let mut received = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.expect("a body");
            body.flow_control().release_capacity(data.len()).expect("what it had");
            received.extend_from_slice(&data);
        }
        (received, body.trailers().await.expect("its end"))
    };
    let (mut sending, mut receiving) = (Box::pin(sending), Box::pin(receiving));
    let mut is_sent = false;
    poll_fn(|cx| {
        is_sent = is_sent || sending.as_mut().poll(cx).is_ready();
        receiving.as_mut().poll(cx)
    })
    .await
}

/// Both ends on one core; returns the end that the server saw.
fn with_client<F: Future<Output = ()> + 'static>(
    world: &World,
    body: impl FnOnce(Client) -> F + 'static,
) -> End {
    let (listening, address) = crate::kit::listener(16);
    let end = Rc::new(RefCell::new(None));
    let (core, slot) = (world.core.clone(), Rc::clone(&end));
    let listener = core.listen(listening);
    let (spawner, server_core) = (core.clone(), core.clone());
    spawner.spawn(async move {
        let stream = poll_fn(|cx| listener.poll_accept(cx, false)).await;
        let ended = serve(server_core, stream, Http2Options::default(), LIFETIME).await;
        *slot.borrow_mut() = Some(ended);
    });
    let stream = world.connect(address);
    let task_core = core.clone();
    world.complete(async move {
        let transport = Transport::Plain(stream);
        let options = Http2Options::of_upstreams();
        let (client, driver) = connect(&task_core, transport, &options).await.expect("a server");
        task_core.spawn(async move {
            driver.run().await;
        });
        body(client).await;
    });
    world.run(|_| {}, || end.borrow().is_some());
    let ended = end.take().expect("it ended");
    world.settle();
    ended
}

#[test]
fn many_streams_share_a_connection_and_each_gets_its_own_bytes_and_trailers() {
    let world = World::new();
    let core = world.core.clone();
    let end = with_client(&world, |client| async move {
        let done = Rc::new(Cell::new(0));
        for number in 0..50 {
            let (mut client, done) = (client.clone(), Rc::clone(&done));
            core.spawn(async move {
                let sent = content(number * 13_337);
                let (received, trailers) = exchange(&mut client, sent.clone()).await;
                assert!(received == sent, "stream {number} has other bytes");
                let trailers = trailers.expect("trailers");
                assert_eq!(trailers["grpc-status"], "0");
                done.set(done.get() + 1);
            });
        }
        while done.get() < 50 {
            core.sleep_until(core.now() + Duration::from_millis(5)).await;
        }
        assert_eq!((client.streams(), client.requests()), (0, 50));
    });
    assert!(matches!(end, End::Finished), "{end:?}");
}

#[test]
fn a_large_body_goes_both_ways_at_once() {
    let world = World::new();
    let end = with_client(&world, |mut client| async move {
        let sent = content(8 << 20);
        let (received, _) = exchange(&mut client, sent.clone()).await;
        assert!(received == sent);
    });
    assert!(matches!(end, End::Finished), "{end:?}");
}
