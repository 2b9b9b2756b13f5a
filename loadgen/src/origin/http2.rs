//! HTTP/2 of the origin, with prior knowledge (RFC 9113, 3.3), by the `h2` crate.

use std::future::poll_fn;
use std::task::ready;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use ringfort::rt::core::Core;
use ringfort::tls::transport::Transport;

use super::target::{Target, target};
use crate::client::FILLER;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, HEAD_BYTES_MAX, STREAM_PIECE_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::wire::Wire;

/// What a connection begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection until its client ends it, or breaks the protocol: then `h2` says so.
pub async fn serve(core: &Core, transport: Transport, first: Vec<u8>, body_bytes: u64) {
    let (mut wire, _) = Wire::new(core.clone(), transport);
    wire.put_back(first);
    let streams = u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX);
    let shaken = Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(streams)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .handshake::<_, Bytes>(wire)
        .await;
    let Ok(mut connection) = shaken else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        core.spawn(async move {
            // An error is of this stream only: its client has gone, or learns it from `h2`.
            let _ = answer(request, respond, body_bytes).await;
        });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    body_bytes: u64,
) -> Result<(), h2::Error> {
    let target = target(request.uri().path(), body_bytes);
    let is_head = request.method() == http::Method::HEAD;
    let length = request.headers().get(http::header::CONTENT_LENGTH).cloned();
    let mut body = request.into_body();
    let mut response = Response::new(());
    let Some(target) = target else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return respond.send_response(response, true).map(|_| ());
    };
    match target {
        Target::Echo => {
            if let Some(length) = length {
                response.headers_mut().insert(http::header::CONTENT_LENGTH, length);
            }
            let is_empty = body.is_end_stream();
            let mut stream = respond.send_response(response, is_empty)?;
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                send(&mut stream, piece, false).await?;
            }
            if !is_empty {
                stream.send_data(Bytes::new(), true)?;
            }
        }
        Target::Bytes(bytes) => {
            while let Some(piece) = body.data().await {
                body.flow_control().release_capacity(piece?.len())?;
            }
            response.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.into());
            let is_empty = is_head || bytes == 0;
            let mut stream = respond.send_response(response, is_empty)?;
            let mut left = if is_empty { 0 } else { bytes };
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(usize::MAX).min(STREAM_PIECE_BYTES);
                left -= piece as u64;
                send(&mut stream, Bytes::from_static(&FILLER[..piece]), left == 0).await?;
            }
        }
    }
    Ok(())
}

/// Sends a piece as the client's window has room for it.
async fn send(
    stream: &mut SendStream<Bytes>,
    mut piece: Bytes,
    is_last: bool,
) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = poll_fn(|cx| {
            std::task::Poll::Ready(match ready!(stream.poll_capacity(cx)) {
                Some(room) => room,
                None => Err(Reason::STREAM_CLOSED.into()),
            })
        });
        let part = piece.split_to(room.await?.min(piece.len()));
        stream.send_data(part, is_last && piece.is_empty())?;
    }
    Ok(())
}
