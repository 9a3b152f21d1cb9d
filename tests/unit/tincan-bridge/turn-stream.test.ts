/** What a TURN server sends over a stream: whole frames to werift, and an end when it is no TURN. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { systemClock } from '../../../base/clock.ts';
import { EvioError } from '../../../base/errors.ts';
import { StreamTransport } from '../../../tincan-bridge/ice/stream-transport.ts';
import { TurnFrames } from '../../../tincan-bridge/ice/turn-frames.ts';
import { suite, type T } from '../../support/harness.ts';
import { waitFor } from '../../support/scope.ts';

const test = suite('turn stream');

function stun(length: number): Buffer {
  const message = Buffer.alloc(20 + length);
  message.writeUInt16BE(0x0101, 0);
  message.writeUInt16BE(length, 2);
  message.writeUInt32BE(0x2112_a442, 4);
  return message;
}
function channelData(length: number): Buffer {
  const frame = Buffer.alloc(4 + length + ((4 - (length % 4)) % 4), 7);
  frame.writeUInt16BE(0x4001, 0);
  frame.writeUInt16BE(length, 2);
  return frame;
}

test('frames come out whole, wherever the stream is cut, and padding belongs to its frame', () => {
  const frames = [stun(0), channelData(1), channelData(0), stun(24), channelData(1_407), stun(4)];
  const all = Buffer.concat(frames);
  for (const step of [1, 3, 4, 7, 20, 1_000, all.length]) {
    const decoder = new TurnFrames();
    const found: Buffer[] = [];
    for (let at = 0; at < all.length; at += step) {
      found.push(...decoder.push(all.subarray(at, at + step)));
    }
    assert.deepEqual(found, frames, `by ${step}`);
    assert.equal(decoder.unfinishedBytes, 0);
  }
});

test('the longest frame is waited for, and what follows it is not lost', () => {
  const decoder = new TurnFrames();
  const long = channelData(0xffff);
  assert.deepEqual(decoder.push(long.subarray(0, -1)), []);
  assert.equal(decoder.unfinishedBytes, long.length - 1);
  assert.deepEqual(decoder.push(Buffer.concat([long.subarray(-1), stun(0)])), [long, stun(0)]);
});

const noTurn: Readonly<Record<string, Buffer>> = {
  'a first byte of neither': Buffer.of(0x80),
  'a length that is no multiple of four': Buffer.of(1, 1, 0, 5),
  'no magic cookie': Buffer.concat([Buffer.of(1, 1, 0, 0), Buffer.alloc(4)]),
  'a channel beyond the last': Buffer.of(0x50, 0, 0, 0),
  'another protocol': Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'),
  'garbage after a frame': Buffer.concat([channelData(5), Buffer.of(0xff)]),
};
for (const [what, bytes] of Object.entries(noTurn)) {
  test(`${what} is no TURN`, () => {
    assert.throws(() => new TurnFrames().push(bytes), EvioError);
  });
}

/** A server of one connection, and a transport to it. */
async function connected(t: T): Promise<{ server: Socket; transport: StreamTransport }> {
  const listener = createServer();
  t.defer(() => void listener.close());
  const accepted = once(listener, 'connection');
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address: AddressInfo | string | null = listener.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const target = { transport: 'tcp', host: '127.0.0.1', address: '127.0.0.1', port, ca: null };
  const transport = await StreamTransport.open(
    { ...target, transport: 'tcp' },
    systemClock,
    t.signal,
  );
  t.defer(() => transport.close());
  const [server]: Socket[] = await accepted;
  if (server === undefined) throw new Error('nobody connected');
  t.defer(() => void server.destroy());
  return { server, transport };
}

test('a connection that is no TURN ends, and says so once; nothing grows', async (t) => {
  const { server, transport } = await connected(t);
  const seen: Buffer[] = [];
  let lost = 0;
  transport.onData = (data) => void seen.push(data);
  transport.onLost = () => {
    lost += 1;
  };
  server.on('error', () => {}); // reset by us
  const frame = stun(8);
  server.write(frame.subarray(0, 11));
  server.write(frame.subarray(11));
  await waitFor('the frame', () => seen.length === 1);
  assert.deepEqual(seen, [frame]);
  server.write(Buffer.alloc(1_000_000, 0xff));
  await waitFor('the end', () => lost === 1 && transport.closed);
  assert.equal(seen.length, 1);
});
