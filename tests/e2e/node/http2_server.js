// An upstream on Node's own HTTP/2 server, with prior knowledge; prints its port.
'use strict';
const crypto = require('node:crypto');
const http2 = require('node:http2');

let sessions = 0;
const server = http2.createServer();
server.on('session', () => { sessions += 1; });
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const path = headers[':path'];
  if (path === '/sessions') {
    stream.respond({ ':status': 200 });
    stream.end(String(sessions));
    return;
  }
  if (path === '/204' || path === '/304') {
    stream.respond({ ':status': Number(path.slice(1)), etag: '"e"' }, { endStream: true });
    return;
  }
  if (path === '/hints') {
    stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' });
    stream.respond({ ':status': 200, 'content-length': 2 });
    stream.end('ok');
    return;
  }
  if (path === '/cut') {
    stream.respond({ ':status': 200 });
    stream.write('partial');
    // Not `close`, which ends the body first.
    setTimeout(() => stream.destroy(new Error('cut')), 100);
    return;
  }
  if (path === '/refuse') {
    stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  if (path === '/early') {
    stream.respond({ ':status': 401, 'content-length': 5 });
    stream.end('early');
    return;
  }
  if (path.startsWith('/bytes/')) {
    stream.respond({ ':status': 200 });
    stream.end(Buffer.alloc(Number(path.slice(7)), 'x'));
    return;
  }
  const hash = crypto.createHash('sha256');
  let bytes = 0;
  let trailers = {};
  stream.on('data', (piece) => { bytes += piece.length; hash.update(piece); });
  stream.on('trailers', (found) => { trailers = found; });
  stream.on('end', () => {
    const said = JSON.stringify({ headers, trailers, bytes, sha256: hash.digest('hex') });
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': String(bytes) }));
    stream.end(said);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
