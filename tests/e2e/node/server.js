// An upstream on Node's own HTTP/1.1 server; prints its port.
'use strict';
const crypto = require('node:crypto');
const http = require('node:http');

let connections = 0;
const server = http.createServer({ keepAliveTimeout: 300 }, (request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname === '/chunked') {
    response.setHeader('Trailer', 'X-Sum');
    for (let n = 0; n < 50; n += 1) response.write(`line ${n}\n`);
    response.addTrailers({ 'X-Sum': '50' });
    response.end();
    return;
  }
  if (url.pathname === '/connections') {
    response.end(String(connections));
    return;
  }
  const hash = crypto.createHash('sha256');
  let bytes = 0;
  request.on('data', (piece) => { bytes += piece.length; hash.update(piece); });
  request.on('end', () => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({
      method: request.method,
      url: request.url,
      headers: request.headers,
      trailers: request.trailers,
      bytes,
      sha256: hash.digest('hex'),
    }));
  });
});
server.on('connection', () => { connections += 1; });
// Told apart from a server that answers 100 by itself: it says what it does.
server.on('checkContinue', (request, response) => {
  response.setHeader('X-Continued', '1');
  response.writeContinue();
  server.emit('request', request, response);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
