/** Keys are replaced under traffic, many times, and nobody inside notices. */
import assert from 'node:assert/strict';
import { suite, type T } from '../support/harness.ts';
import { type PairOptions, type RoutedPair, startRoutedPair } from '../support/routed-pair.ts';
import { waitFor } from '../support/scope.ts';
import { iperf, tcpRetransmits } from '../support/traffic.ts';

const test = suite('rekey');
const why = process.getuid?.() === 0 ? null : 'needs root for namespaces';
const often = { rekey: { afterMs: 200, afterBytes: 2 ** 36 } };

/** Replacements on the side that has counted fewer. */
async function replaced({ bridges }: RoutedPair): Promise<number> {
  const all = await Promise.all(bridges.map((b) => b.client.call('status', {}, 10_000)));
  return Math.min(...all.map(({ counters }) => counters['rekeys'] ?? 0));
}

interface Run {
  readonly pair: RoutedPair;
  /** TCP segments that were lost: sent again, and not because the sender was impatient. */
  readonly lostSegments: number;
  readonly lost: number;
  readonly pings: number;
}

/**
 * TCP at a rate that the machine carries easily, and a hundred pings a second beside it. The sender
 * does without tail loss probes (RFC 8985 section 7): they are sent when an acknowledgement is a few
 * milliseconds late, which is as long as the four handshakes of two ends compute on two processors,
 * and would hide a loss among dozens of segments that had arrived.
 */
async function traffic(t: T, options: PairOptions, seconds: number): Promise<Run> {
  const pair = await startRoutedPair(t, options);
  const { lab } = pair;
  await lab.sysctl('a', { 'net.ipv4.tcp_early_retrans': 0 });
  const flags = ['-n', '-i', '0.01', '-W', '2', '10.77.0.2'];
  await lab.exec('a', ['ping', '-c', '3', '-W', '2', '10.77.0.2']);
  const ping = lab.spawn('a', ['ping', ...flags]);
  const tcp = await iperf(lab, {
    from: 'a',
    to: 'b',
    address: '10.77.0.2',
    seconds,
    bitrate: '200M',
  });
  ping.kill('SIGINT');
  await ping.ended;
  const totals = /(\d+) packets transmitted, (\d+) received/.exec(ping.log());
  const [pings, received] = [Number(totals?.[1]), Number(totals?.[2])];
  const { all, needless } = await tcpRetransmits(lab, 'a');
  process.stdout.write(
    `${await replaced(pair)} replacements, ${tcp.mbps.toFixed(0)} Mbit/s, ${all} retransmits, ` +
      `${needless} of them needless, ${received}/${pings} pings\n`,
  );
  return { pair, lostSegments: all - needless, pings, lost: pings - received };
}

let lostWithout = 0;

test.unless(
  why,
  'without a replacement this traffic loses nothing here',
  async (t) => {
    const { lostSegments, lost } = await traffic(t, {}, 8);
    lostWithout = lostSegments;
    assert.ok(lost <= 1, `${lost} pings lost`); // the last one may be on its way
  },
  40_000,
);

test.unless(
  why,
  'a hundred replacements cost no ping and no segment',
  async (t) => {
    const { pair, lostSegments, lost } = await traffic(t, { open: often }, 24);
    const count = await replaced(pair);
    assert.ok(count >= 100, `only ${count} replacements`);
    assert.ok(lost <= 1, `${lost} pings lost`);
    // One record lost by each would be a hundred; what a stalled machine drops comes without them too.
    const most = 10 + 2 * ((lostWithout * 24) / 8);
    assert.ok(lostSegments <= most, `${lostSegments} segments lost, ${lostWithout} without`);
    const { counters, sessions } = await pair.bridges[0].client.call('status', {}, 10_000);
    assert.deepEqual(sessions[0]?.path, pair.bridges[0].ups[0]?.path, 'no new ICE attempt');
    assert.equal(pair.bridges[0].ups.length, 1);
    assert.ok((counters['associations'] ?? 0) <= 34, 'old associations end');
  },
  90_000,
);

test.unless(
  why,
  'the same through a relay',
  async (t) => {
    // No word on segments: coturn drops thousands by itself where others compute.
    const { pair, lost } = await traffic(t, { open: often, relay: true }, 6);
    const count = await replaced(pair);
    assert.ok(count >= 8, `only ${count} replacements`);
    assert.ok(lost <= 1, `${lost} pings lost`);
  },
  60_000,
);

test.unless(
  why,
  'so many bytes under one key are a reason, and the old keys are gone after the grace time',
  async (t) => {
    const open = { rekey: { afterMs: 3_600_000, afterBytes: 2 ** 24 } };
    const pair = await startRoutedPair(t, { open });
    await iperf(pair.lab, {
      from: 'a',
      to: 'b',
      address: '10.77.0.2',
      seconds: 2,
      bitrate: '200M',
    });
    await waitFor('keys are replaced', async () => (await replaced(pair)) >= 1, {
      timeoutMs: 5_000,
    });
    await waitFor(
      'one association on either side',
      async () => {
        const all = await Promise.all(pair.bridges.map((b) => b.client.call('status', {}, 10_000)));
        return all.every(({ counters }) => counters['associations'] === 1);
      },
      { timeoutMs: 20_000 },
    );
  },
  60_000,
);
