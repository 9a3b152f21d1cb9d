/**
 * WireGuard in user space (layer 3), configured through its own socket protocol, so that the `wg`
 * tool is not needed. Owns one process at each end.
 */
import { generateKeyPairSync } from 'node:crypto';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { waitFor } from '../../support/scope.ts';
import { cacheFolder, ends, missingProgram, type Program, programPath } from './program.ts';

const Jwk = z.object({ x: z.string(), d: z.string() });

/** A key pair in hexadecimal, as the socket protocol wants it. */
function keyPair(): { readonly publicKey: string; readonly privateKey: string } {
  const { x, d } = Jwk.parse(generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' }));
  const hex = (base64: string): string => Buffer.from(base64, 'base64url').toString('hex');
  return { publicKey: hex(x), privateKey: hex(d) };
}

/** What the program answers to one request. */
function tell(path: string, settings: readonly string[]): Promise<string> {
  const socket = createConnection(path);
  socket.end(`${settings.join('\n')}\n\n`);
  return text(socket);
}

export const wireguardGo: Program = {
  name: 'wireguard-go',
  missing: () => missingProgram('wireguard'),
  install: {
    kind: 'build',
    argv: ['go', 'install', 'golang.zx2c4.com/wireguard@latest'],
    env: { GOBIN: join(cacheFolder, 'bin') },
  },
  async start(pair) {
    const { lab } = pair;
    const keys = { a: keyPair(), b: keyPair() };
    const children = ends(pair).map(([end]) => {
      // The socket's folder is the host's: the device name must be unique on the machine.
      const dev = `wg${end.ns}${process.pid}`;
      const argv = [programPath('wireguard'), '-f', dev];
      return { end, dev, child: lab.spawn(end.ns, argv, { env: { LOG_LEVEL: 'error' } }) };
    });
    for (const [here, there] of ends(pair)) {
      const dev = `wg${here.ns}${process.pid}`;
      const settings = [
        'set=1',
        `private_key=${keys[here.ns].privateKey}`,
        'listen_port=51820',
        `public_key=${keys[there.ns].publicKey}`,
        `endpoint=${there.underlay}:51820`,
        `allowed_ip=${there.overlay}/32`,
      ];
      const socket = `/var/run/wireguard/${dev}.sock`;
      await waitFor('wireguard-go takes its settings', async () =>
        (await tell(socket, settings)).includes('errno=0'),
      );
      await lab.ip(here.ns, `addr add ${here.overlay}/24 dev ${dev}\nlink set ${dev} mtu 1420 up`);
    }
    const pids = (ns: string): number[] =>
      children.filter(({ end }) => end.ns === ns).map(({ child }) => child.pid);
    return {
      addresses: { a: pair.a.overlay, b: pair.b.overlay },
      pids: { a: pids('a'), b: pids('b') },
      async stop() {
        await Promise.all(children.map(({ child }) => child.stop(3_000)));
      },
    };
  },
};
