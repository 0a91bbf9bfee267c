import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server that reads each body and answers 202, and does nothing else: what HTTP alone costs on this machine. */
const server = createServer((request, response) => {
  request.on('data', () => undefined);
  request.on('end', () =>
    response.writeHead(202, { 'content-type': 'application/x-protobuf', 'content-length': 0 }).end(),
  );
});
server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit());
