// A custom handler that does as each request tells it: the body of a POST is the reply to give.
const http = require('http');
const start = process.env.FAKE_START || 'serve';
console.log('started in', process.cwd(), 'with', process.argv.slice(2).join(' '));
if (start.startsWith('exit ')) {
  console.error('first\nsecond\nthird\nlast words');
  process.exitCode = Number(start.slice(5));
} else if (start === 'mute') {
  setInterval(() => {}, 1000);
} else {
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString();
      if (request.url === '/' || request.method === 'GET') return response.writeHead(404).end();
      let order = {};
      try { order = JSON.parse(body); } catch { /* a reply of 200 {} */ }
      // A queue message is the order itself.
      if (order.Data && typeof order.Data.message === 'string') {
        const text = Buffer.from(order.Data.message, 'base64').toString();
        try { order = JSON.parse(text); } catch { order = {}; }
      }
      if (order.log !== undefined) console.log(order.log);
      if (order.error !== undefined) console.error(order.error);
      if (order.exit !== undefined) process.exit(order.exit);
      if (order.reset) return request.socket.destroy();
      const seen = { method: request.method, url: request.url, headers: request.headers, environment: process.env };
      const reply = order.echo ? JSON.stringify({ Logs: [JSON.stringify(seen)] }) : order.body ?? '{}';
      const type = order.type === undefined ? { 'Content-Type': 'application/json' } : order.type ? { 'Content-Type': order.type } : {};
      setTimeout(() => {
        if (order.truncate) {
          response.writeHead(200, { ...type, 'Content-Length': 100 }).write('{', () => request.socket.destroy());
          return;
        }
        response.writeHead(order.status ?? 200, { ...type, ...order.headers }).end(reply);
      }, order.delay ?? 0);
    });
  });
  server.listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT), '127.0.0.1');
}
