/**
 * The tunnel process's decoders over mutated corpora: the bridge protocol, descriptions and
 * candidates, control frames, "too big" answers, upcalls, STUN. Nothing but an EvioError comes out.
 */
import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import fc from 'fast-check';
import { systemClock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import { NodeId } from '../../base/ids.ts';
import { createMemoryDatapath } from '../../tincan-bridge/datapath/memory.ts';
import { MemoryNetwork } from '../../tincan-bridge/datapath/memory-network.ts';
import { decodeUpcalls } from '../../tincan-bridge/datapath/upcalls.ts';
import { decodeResolution } from '../../tincan-bridge/fabric/core/address-resolution.ts';
import { decodeFlood, floodHeaderBytes } from '../../tincan-bridge/fabric/core/flood-codec.ts';
import { decodeOwnFrame, encodeOwnFrame } from '../../tincan-bridge/fabric/core/loop-frame.ts';
import {
  decodeRingControl,
  encodeRingControl,
} from '../../tincan-bridge/fabric/core/ring-control.ts';
import { tooBigAnswer } from '../../tincan-bridge/fabric/core/too-big.ts';
import { decodeTrace, encodeTrace, maxTraceHops } from '../../tincan-bridge/fabric/core/trace.ts';
import { parseCandidate } from '../../tincan-bridge/ice/candidates.ts';
import { OwnTransport, transportKey } from '../../tincan-bridge/ice/own-transport.ts';
import { ReflexiveQuery } from '../../tincan-bridge/ice/reflexive.ts';
import { DatagramRouter } from '../../tincan-bridge/ice/router.ts';
import { maxTurnFrameBytes, TurnFrames } from '../../tincan-bridge/ice/turn-frames.ts';
import { SessionDescription } from '../../tincan-bridge/protocol/description.ts';
import { encodeFrame, FrameDecoder } from '../../tincan-bridge/protocol/frames.ts';
import {
  BridgeMessage,
  paramsProblem,
  RequestMessage,
} from '../../tincan-bridge/protocol/messages.ts';
import { maxFrameBytes, maxMessageChars, methods } from '../../tincan-bridge/protocol/schema.ts';
import { decodeControl, encodeControl } from '../../tincan-bridge/session/core/control.ts';
import { MessageParts } from '../../tincan-bridge/session/core/message-parts.ts';
import { decodeRingSetup, encodeRingSetup } from '../../tincan-bridge/session/core/ring-setup.ts';
import { fuzz, fuzzSeconds } from '../support/fuzz.ts';
import { suite } from '../support/harness.ts';

const test = suite('fuzz: tunnel process');
const seconds = fuzzSeconds(1);
const limitMs = seconds * 1_000 + 20_000;

const isMethod = (name: string): name is keyof typeof methods => Object.hasOwn(methods, name);

test(
  'bridge protocol frames: bad ones end the channel by an EvioError, memory stays bounded',
  async () => {
    const runs = await fuzz({ target: 'frames', seconds }, (input, random) => {
      const decoder = new FrameDecoder();
      for (let at = 0; at < input.length; ) {
        const step = 1 + random.below(input.length);
        for (const raw of decoder.push(input.subarray(at, at + step))) {
          const request = RequestMessage.safeParse(raw);
          if (request.success && isMethod(request.data.method))
            paramsProblem(request.data.method, request.data.params);
        }
        assert.ok(decoder.unfinishedBytes < maxFrameBytes + 4 + step);
        at += step;
      }
    });
    assert.ok(runs > 50, `${runs} runs`);
  },
  limitMs,
);

test(
  'any JSON crosses the framing, however it is cut',
  () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 1, max: 40 }), (value, step) => {
        const wanted: unknown = JSON.parse(JSON.stringify(value));
        const frame = encodeFrame(value);
        const decoder = new FrameDecoder();
        const got: unknown[] = [];
        for (let at = 0; at < frame.length; at += step)
          got.push(...decoder.push(frame.subarray(at, at + step)));
        assert.deepEqual(got, [wanted]);
        assert.equal(decoder.unfinishedBytes, 0);
      }),
      { interruptAfterTimeLimit: seconds * 1_000, markInterruptAsFailure: false },
    );
  },
  limitMs,
);

const json = (input: Buffer): unknown => {
  try {
    return JSON.parse(input.toString());
  } catch {
    return undefined;
  }
};

test(
  'messages of a tunnel process, descriptions: refused or within their bounds',
  async () => {
    await fuzz({ target: 'messages', seconds: seconds / 2 }, (input) => {
      BridgeMessage.safeParse(json(input));
    });
    await fuzz({ target: 'description', seconds: seconds / 2 }, (input) => {
      const { data } = SessionDescription.safeParse(json(input));
      if (data !== undefined)
        assert.ok(data.candidates.length <= 32 && JSON.stringify(data).length < 12_000);
    });
  },
  limitMs,
);

test(
  'candidates: none that is accepted points where no packet of ours may go',
  async () => {
    const overlays = new BlockList();
    overlays.addSubnet('10.77.0.0', 16, 'ipv4');
    await fuzz({ target: 'candidate', seconds }, (input) => {
      const found = parseCandidate(input.toString('latin1'), { loopback: false, overlays });
      if (found === null) return;
      assert.ok(found.port >= 1 && found.port <= 65_535 && found.priority <= 0x7fff_ffff);
      assert.doesNotMatch(
        found.address,
        /^(127\.|0\.|169\.254|22[4-9]\.|2[3-5]\d\.|10\.77\.|::1?$|fe[89ab]\w:|ff\w\w:|::ffff:\w+:\w+$|::ffff:\d+\.)/i,
      );
    });
  },
  limitMs,
);

test(
  'control frames: null or one that is written and read again the same',
  async () => {
    await fuzz({ target: 'control', seconds: seconds / 2 }, (input) => {
      const control = decodeControl(Uint8Array.from(input));
      if (control === null) return;
      const written = encodeControl(control);
      assert.deepEqual(Buffer.from(written.subarray(0, 9)), input.subarray(0, 9));
      assert.deepEqual(decodeControl(written), control);
    });
  },
  limitMs,
);

test(
  'what members say of the ring: null or one that is written and read again the same',
  async () => {
    await fuzz({ target: 'ring', seconds }, (input) => {
      const bytes = Uint8Array.from(input);
      const setup = decodeRingSetup(bytes);
      if (setup !== null) assert.deepEqual(encodeRingSetup(setup), bytes);
      const trace = decodeTrace(bytes);
      if (trace !== null) {
        assert.ok(trace.hops.length <= maxTraceHops);
        assert.deepEqual(decodeTrace(encodeTrace(trace)), trace);
      }
      const ring = decodeRingControl(bytes);
      if (ring !== null) assert.deepEqual(decodeRingControl(encodeRingControl(ring)), ring);
      const own = decodeOwnFrame(bytes);
      if (own !== null) assert.deepEqual(decodeOwnFrame(encodeOwnFrame(own)), own);
      const flood = decodeFlood(bytes);
      if (flood !== null) assert.equal(flood.frame.length, bytes.length - floodHeaderBytes);
    });
  },
  limitMs,
);

test(
  'parts of messages: whatever comes in whatever order, what is kept stays bounded',
  async () => {
    const parts = new MessageParts();
    await fuzz({ target: 'control', seconds }, (input, random) => {
      const control = decodeControl(Uint8Array.from(input));
      const [nonce, index] = [BigInt(random.below(8)), random.below(4)];
      const part = { nonce, index, count: index + 1 + random.below(2), part: input };
      const joined = parts.add(control?.kind === 'message' ? control : part);
      if (joined.kind === 'done' && joined.body !== null) {
        assert.ok(joined.body.length >= 1 && joined.body.length <= maxMessageChars);
      }
    });
  },
  limitMs,
);

test(
  'questions for addresses: of every frame at most an address and a station',
  async () => {
    await fuzz({ target: 'resolution', seconds }, (input) => {
      const read = decodeResolution(input);
      for (const ip of [read?.asks?.ip, read?.asks?.asker, read?.says?.ip]) {
        assert.match(ip ?? '00000000', /^([0-9a-f]{8}|[0-9a-f]{32})$/);
      }
    });
  },
  limitMs,
);

test(
  '"too big" answers: never longer than a small frame, never to a group',
  async () => {
    await fuzz({ target: 'too-big', seconds }, (input) => {
      const answer = tooBigAnswer(input, 1_280);
      if (answer === null) return;
      assert.ok(answer.length <= 18 + 48 + 1_232 && (answer[0] ?? 1) % 2 === 0);
    });
  },
  limitMs,
);

test(
  'packed upcalls: decoded within their bytes',
  async () => {
    await fuzz({ target: 'upcalls', seconds }, (input) => {
      let bytes = 0;
      for (const upcall of decodeUpcalls(input))
        bytes += 'frame' in upcall ? upcall.frame.bytes.length : upcall.bytes.length;
      assert.ok(bytes <= input.length);
    });
  },
  limitMs,
);

test(
  'STUN from anybody: no datagram disturbs the socket or the question',
  async (t) => {
    const network = new MemoryNetwork();
    const datapath = createMemoryDatapath({
      network,
      nodeId: NodeId.parse('a'.repeat(32)),
      onUpcalls: () => {},
      onFrame: () => {},
    });
    t.defer(() => datapath.close());
    const router = new DatagramRouter();
    const server = { address: '192.0.2.1', port: 3_478 };
    let asked = Buffer.alloc(0);
    const spied = {
      ...datapath,
      openSocket: datapath.openSocket.bind(datapath),
      closeSocket: datapath.closeSocket.bind(datapath),
      sendDatagram: (_socket: number, _to: unknown, bytes: Uint8Array) => {
        asked = Buffer.from(bytes);
        return true;
      },
    };
    let query: ReflexiveQuery | null = null;
    const owner = {
      datapath: spied,
      router,
      ufrag: 'abcd',
      password: 'p'.repeat(24),
      opened: () => {},
      answered: (_: OwnTransport, from: typeof server, bytes: Buffer) =>
        void query?.answer(from, bytes),
      record: () => {},
    };
    transportKey(owner);
    const transport = new OwnTransport(owner, 4);
    t.defer(() => transport.close());
    let answers = 0;
    await fuzz({ target: 'stun', seconds: seconds * 2 }, (input, random) => {
      const life = new AbortController();
      query = new ReflexiveQuery(transport, [{ ...server, family: 4 }], ({ address, port }) => {
        assert.ok(address.length < 64 && port <= 65_535);
        answers += 1;
      });
      asked = Buffer.alloc(0);
      void query.run(
        { ...systemClock, after: (ms, _signal, run) => (ms === 0 ? run() : undefined) },
        life.signal,
      );
      life.abort();
      const bytes = Buffer.from(input);
      if (random.below(4) > 0) asked.copy(bytes, 8, 8, 20); // the transaction that was asked for
      router.route(transport.socket, server, bytes);
    });
    assert.ok(answers > 0);
  },
  limitMs,
);

test(
  "a TURN server's stream: cut the same however it comes, nothing is kept beyond one frame",
  async () => {
    let cut = 0;
    await fuzz({ target: 'turn-stream', seconds }, (input, random) => {
      const [whole, pieces] = [new TurnFrames(), new TurnFrames()];
      const expected = outcome(() => whole.push(input));
      assert.ok(whole.unfinishedBytes <= maxTurnFrameBytes);
      const found: Buffer[] = [];
      const error = outcome(() => {
        for (let at = 0; at < input.length; ) {
          const step = 1 + random.below(input.length);
          found.push(...pieces.push(input.subarray(at, at + step)));
          assert.ok(pieces.unfinishedBytes <= maxTurnFrameBytes);
          at += step;
        }
        return found;
      });
      assert.equal(error instanceof EvioError, expected instanceof EvioError);
      assert.ok(found.every((frame) => frame.length % 4 === 0 && frame.length >= 4));
      assert.deepEqual(Buffer.concat(found), input.subarray(0, Buffer.concat(found).length));
      if (!(expected instanceof EvioError)) assert.deepEqual(found, expected);
      cut += found.length;
    });
    assert.ok(cut > 100, `${cut} frames`);
  },
  limitMs,
);

/** What it gives, or the EvioError that it throws. */
function outcome<Result>(body: () => Result): Result | EvioError {
  try {
    return body();
  } catch (error) {
    if (error instanceof EvioError) return error;
    throw error;
  }
}

test('only EvioErrors say what a decoder refuses', () => {
  assert.throws(() => new FrameDecoder().push(Buffer.alloc(4)), EvioError);
});
