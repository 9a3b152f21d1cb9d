/**
 * An XMPP server that follows a script, to do what no real one would. Owns the listening socket and
 * a record of all that clients sent, in clear and in TLS apart; knows no XML beyond the script.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Certificate } from './ca.ts';
import type { Scope } from './scope.ts';

/** Waits until what the client sent matches, then answers. */
export interface Step {
  readonly expect: RegExp;
  readonly reply: string | ((match: RegExpExecArray) => string);
  /** Goes on in TLS after the reply. */
  readonly thenTls?: boolean;
}

export interface ScriptedServer {
  readonly port: number;
  /** All that came in clear, all connections joined. */
  clear(): string;
  /** All that came in TLS. */
  secure(): string;
  connections(): number;
}

export async function startScripted(
  scope: Scope,
  certificate: Certificate,
  steps: readonly Step[],
): Promise<ScriptedServer> {
  const record = { clear: '', secure: '', connections: 0 };
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    record.connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket, 'clear', [...steps]);
  });
  const serve = (socket: Socket, kind: 'clear' | 'secure', rest: Step[]): void => {
    let text = '';
    socket.on('error', () => {}); // clients that refuse us break the connection
    const take = (data: Buffer): void => {
      text += data.toString();
      record[kind] += data.toString();
      for (let step = rest[0]; step !== undefined; step = rest[0]) {
        const match = step.expect.exec(text);
        if (match === null) return;
        text = text.slice(match.index + match[0].length);
        rest.shift();
        socket.write(typeof step.reply === 'string' ? step.reply : step.reply(match));
        if (step.thenTls !== true) continue;
        socket.off('data', take);
        const options = { isServer: true, cert: pem('certFile'), key: pem('keyFile') };
        serve(new TLSSocket(socket, options), 'secure', rest);
        return;
      }
    };
    socket.on('data', take);
  };
  const pem = (file: 'certFile' | 'keyFile'): Buffer => readFileSync(certificate[file]);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  scope.defer(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    clear: () => record.clear,
    secure: () => record.secure,
    connections: () => record.connections,
  };
}

export const header =
  "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='lab.test' version='1.0'>";
export const features = (inner: string): string => `<stream:features>${inner}</stream:features>`;
export const offerTls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
export const offer = (...mechanisms: readonly string[]): string =>
  `<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${mechanisms
    .map((m) => `<mechanism>${m}</mechanism>`)
    .join('')}</mechanisms>`;
export const sasl = (name: string, text: string): string =>
  `<${name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${Buffer.from(text).toString('base64')}</${name}>`;

/** Up to TLS, and the features after it. */
export const untilSecure = (inner: string): readonly Step[] => [
  { expect: /<stream:stream[^>]*>/, reply: header + features(offerTls) },
  {
    expect: /<starttls[^>]*\/>/,
    reply: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    thenTls: true,
  },
  { expect: /<stream:stream[^>]*>/, reply: header + features(inner) },
];
