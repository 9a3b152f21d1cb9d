/**
 * The native data path between two kernels that judge it: TCP and UDP, IPv4 and IPv6, in super-frames
 * and in single ones, must arrive byte for byte, and no checksum may be found wrong.
 *
 *   namespace a: tap0 10.2.0.1 — data path — veth 10.1.0.1 ↔ 10.1.0.2 — data path — tap0 10.2.0.2 : b
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { suite, type T } from '../support/harness.ts';
import { noTap } from '../support/tap-bed.ts';

const test = suite('native datapath between kernels');
const macs = ['02:00:00:00:0a:01', '02:00:00:00:0a:02'] as const;

interface Bed {
  readonly inside: (side: 0 | 1, ...argv: string[]) => Promise<string>;
  readonly start: (side: 0 | 1, argv: readonly string[], ready: string) => Promise<ChildProcess>;
}

async function makeBed(t: T, suiteName: string): Promise<Bed> {
  const prefix = `dk${process.pid}`;
  const names = [`${prefix}a`, `${prefix}b`] as const;
  const ip = (...argv: string[]): Promise<string> => exec(['ip', ...argv]);
  for (const name of names) {
    await ip('netns', 'add', name);
    t.defer(async () => void (await ip('netns', 'del', name)));
  }
  const inside = (side: 0 | 1, ...argv: string[]): Promise<string> =>
    exec(['ip', 'netns', 'exec', names[side], ...argv], { timeoutMs: 30_000 });
  const start = (side: 0 | 1, argv: readonly string[], ready: string): Promise<ChildProcess> => {
    const child = spawn('ip', ['netns', 'exec', names[side], ...argv], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.defer(async () => {
      child.kill('SIGTERM');
      if (child.exitCode === null && child.signalCode === null) {
        await new Promise((resolve) => child.once('exit', resolve));
      }
    });
    return new Promise((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`${argv.join(' ')} ended with ${code}`)));
      child.stdout.on('data', (data: Buffer) => {
        if (data.toString().includes(ready)) resolve(child);
      });
    });
  };
  const ends = [`${prefix}0`, `${prefix}1`] as const;
  await ip('link', 'add', ends[0], 'type', 'veth', 'peer', 'name', ends[1]);
  for (const side of [0, 1] as const) {
    await ip('link', 'set', ends[side], 'netns', names[side]);
    await inside(side, 'ip', 'addr', 'add', `10.1.0.${side + 1}/24`, 'dev', ends[side]);
    await inside(side, 'ip', 'link', 'set', ends[side], 'up');
    await inside(side, 'ip', 'tuntap', 'add', 'tap0', 'mode', 'tap');
    await inside(side, 'ip', 'link', 'set', 'tap0', 'address', macs[side], 'mtu', '1420', 'up');
    await inside(side, 'ip', 'addr', 'add', `10.2.0.${side + 1}/24`, 'dev', 'tap0');
    await inside(side, 'ip', 'addr', 'add', `fd02::${side + 1}/64`, 'dev', 'tap0', 'nodad');
  }
  const script = join(import.meta.dirname, '../bench/datapath-node.js');
  for (const [side, other] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const where = ['tap0', macs[side], macs[other], `10.1.0.${other + 1}`, `${side}`, suiteName];
    await start(side, [process.execPath, script, ...where], 'ready');
  }
  return { inside, start };
}

const size = 24 << 20;
/** Both ends make the same bytes; the receiver says whether what came is equal. */
const bytes = `import random; r = random.Random(7); data = r.randbytes(${size})`;
const receiver = (family: string, address: string): string => `
import socket; ${bytes}
s = socket.socket(socket.${family}); s.setsockopt(1, 2, 1); s.bind(('${address}', 5001)); s.listen(1)
print('ready', flush=True); c = s.accept()[0]; got = bytearray()
while True:
  d = c.recv(1 << 20)
  if not d: break
  got += d
print('equal' if got == data else 'differs', flush=True); c.recv(1)
`;
const sender = (family: string, address: string): string => `
import socket; ${bytes}
s = socket.socket(socket.${family}); s.connect(('${address}', 5001)); s.sendall(data)
`;
/** Datagrams of 1000 bytes by UDP_SEGMENT, and odd ones; all are answered by their sum. */
const echo = (family: string, address: string): string => `
import socket, zlib
s = socket.socket(socket.${family}, socket.SOCK_DGRAM); s.bind(('${address}', 5002))
print('ready', flush=True)
while True:
  d, a = s.recvfrom(65536); s.sendto(b'%d %d' % (len(d), zlib.crc32(d)), a)
`;
const asker = (family: string, address: string): string => `
import socket, zlib, random
s = socket.socket(socket.${family}, socket.SOCK_DGRAM); s.connect(('${address}', 5002)); s.settimeout(5)
r = random.Random(3)
for size, cut in ((20300, 1000), (1, 0), (33, 0), (1371, 0), (64000, 1371), (640, 10)):
  s.setsockopt(17, 103, cut); d = r.randbytes(size); s.send(d)
  step = cut or size
  want = sorted(b'%d %d' % (len(p), zlib.crc32(p)) for p in (d[i:i + step] for i in range(0, size, step)))
  got = sorted(s.recv(100) for _ in want)
  assert got == want, (size, cut)
print('all equal')
`;

for (const suiteName of ['aes-128-gcm', 'chacha20-poly1305']) {
  test.unless(
    noTap(),
    `TCP and UDP over IPv4 and IPv6 arrive unchanged (${suiteName})`,
    async (t) => {
      const bed = await makeBed(t, suiteName);
      for (const [family, address] of [
        ['AF_INET', '10.2.0.2'],
        ['AF_INET6', 'fd02::2'],
      ] as const) {
        const end = await bed.start(1, ['python3', '-c', receiver(family, address)], 'ready');
        const verdict = new Promise<string>((resolve) =>
          end.stdout?.on('data', (data: Buffer) => {
            const said = /equal|differs/.exec(data.toString());
            if (said !== null) resolve(said[0]);
          }),
        );
        end.removeAllListeners('exit');
        await bed.inside(0, 'python3', '-c', sender(family, address));
        assert.equal(await verdict, 'equal');
        const answers = await bed.start(1, ['python3', '-c', echo(family, address)], 'ready');
        answers.removeAllListeners('exit');
        const said = await bed.inside(0, 'python3', '-c', asker(family, address));
        assert.equal(said.trim(), 'all equal');
        answers.kill('SIGTERM');
        await new Promise((resolve) => answers.once('exit', resolve));
      }
      for (const side of [0, 1] as const) {
        const wanted = ['TcpInCsumErrors', 'UdpInCsumErrors', 'Udp6InCsumErrors'];
        const seen = await bed.inside(side, 'nstat', '-az', ...wanted);
        const counts = [...seen.matchAll(/^\w*InCsumErrors +(\d+)/gm)].map((m) => m[1]);
        assert.deepEqual(counts, ['0', '0', '0'], seen);
      }
    },
    60_000,
  );
}
