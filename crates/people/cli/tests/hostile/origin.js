// An origin that tells what it saw: Node's `http`.
'use strict';
const http = require('http');

const records = [];
let connections = 0;

function answer(request, response, text, id) {
  const data = Buffer.from(text, 'utf8');
  response.writeHead(200, { 'content-length': data.length, 'x-seen': id });
  response.end(request.method === 'HEAD' ? undefined : data);
}

const options = { maxHeaderSize: 65536, requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 600000 };
const server = http.createServer(options, (request, response) => {
  const target = request.url;
  if (target === '/healthz') return answer(request, response, 'ok', '-');
  if (target.startsWith('/seen/')) return answer(request, response, records.slice(+target.slice(6)).join('\n'), '-');
  const headers = [];
  for (let at = 0; at < request.rawHeaders.length; at += 2) {
    headers.push([request.rawHeaders[at], request.rawHeaders[at + 1]]);
  }
  const id = request.headers['x-request-id'] || '-';
  const pieces = [];
  let told = false;
  const tell = (whole) => {
    if (told) return;
    told = true;
    const body = Buffer.concat(pieces).toString('hex');
    const conn = String(request.socket.number);
    records.push(JSON.stringify({ conn, method: request.method, target, headers, body, whole }));
  };
  request.on('data', (piece) => pieces.push(piece));
  request.on('close', () => tell(false));
  request.on('error', () => tell(false));
  request.on('end', () => {
    tell(true);
    answer(request, response, `${id} ${target}`, id);
  });
});
server.on('connection', (socket) => {
  connections += 1;
  socket.number = connections;
  socket.setNoDelay(true);
});
server.on('clientError', (error, socket) => {
  const raw = error.rawPacket ? error.rawPacket.toString('latin1') : '';
  // An end between two requests is none of a request's.
  if (error.code !== 'ECONNRESET') {
    records.push(JSON.stringify({ conn: String(socket.number), refused: String(error.code), raw }));
  }
  if (socket.writable) socket.end('HTTP/1.1 400 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  else socket.destroy();
});
server.on('connect', (request, socket) => {
  records.push(JSON.stringify({ conn: String(socket.number), refused: 'CONNECT', raw: request.url }));
  socket.destroy();
});
server.listen(Number(process.env.PORT), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
