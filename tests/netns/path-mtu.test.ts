/** Paths narrower than they look: noticed with and without ICMP, answered inside, never a black hole. */
import assert from 'node:assert/strict';
import { ethernetHeaderBytes } from '../../tincan-bridge/session/core/path.ts';
import { tap } from '../support/bridge-process.ts';
import { suite, type T } from '../support/harness.ts';
import { assertWithin } from '../support/pace.ts';
import { type PairOptions, type RoutedPair, startRoutedPair } from '../support/routed-pair.ts';
import { waitFor } from '../support/scope.ts';
import { iperf } from '../support/traffic.ts';

const test = suite('path mtu');
const why = process.getuid?.() === 0 ? null : 'needs root for namespaces';
const icmpBytes = 28;

/** What one datagram costs between the IP packet outside and the one inside. */
const overhead = { 4: 20, 6: 40, udp: 8, record: 37, type: 1, channel: 4 } as const;
const innerMtu = (outer: number, family: 4 | 6, channel: boolean): number =>
  outer -
  overhead[family] -
  overhead.udp -
  (channel ? overhead.channel : 0) -
  overhead.record -
  overhead.type -
  ethernetHeaderBytes;

/** The report of one ping that may not be cut, also when it fails. */
const pingDf = (pair: RoutedPair, mtu: number): Promise<string> =>
  pair.lab
    .exec('a', `ping -n -c 2 -i 0.3 -W 2 -M do -s ${mtu - icmpBytes} 10.77.0.2`.split(' '), {})
    .catch(String);

/** The router says nothing about what it drops: an ICMP black hole. */
const silence = ({ lab }: RoutedPair): Promise<void> =>
  lab.nft(
    'r',
    `table inet mute {
  chain out {
    type filter hook output priority 0
    icmp type destination-unreachable drop
    icmpv6 type packet-too-big drop
  }
}
`,
  );

async function narrow(t: T, options: PairOptions, mtu: number, mute: boolean): Promise<void> {
  const { family = 4, relay = false } = options;
  const pair = await startRoutedPair(t, options);
  const whole = innerMtu(1_500, family, relay);
  await pair.followMtu();
  assert.match(await pingDf(pair, whole), / 0% packet loss/);
  if (mute) {
    await silence(pair);
  }
  await pair.setMtu('a', mtu);
  // A relay fragments what it sends on; without one the far leg counts too.
  if (!relay) await pair.setMtu('b', mtu);
  // Something flows, so that the change is looked for at once; else it takes up to 30 s.
  const load = pair.lab.spawn('a', ['ping', '-q', '-i', '0.005', '-s', '1300', '10.77.0.2']);
  const changedMs = performance.now();
  // A cable lets 4 bytes more in than its MTU, for a VLAN tag: what leaves the router is exact. The
  // relay in use may be the peer's, and then this leg carries no ChannelData.
  const right = [mtu, mtu + 4].flatMap((m) =>
    (relay ? [true, false] : [false]).map((channel) => innerMtu(m, family, channel)),
  );
  let seen = '';
  const whenFound = (side: 0 | 1): Promise<number> =>
    waitFor(
      'the narrower path is found',
      async () => {
        const { mtu, hostMtu, path, history } = await pair.session(side);
        seen = `${'ab'[side]} has ${mtu}, none of ${right}, and says ${hostMtu}: ${JSON.stringify({ path, history })}`;
        // While it still searches, frames are held to less than what has been found to pass.
        return mtu === hostMtu && right.includes(mtu) ? mtu : undefined;
      },
      { timeoutMs: 30_000, context: () => seen },
    );
  const found = await whenFound(0);
  const tookMs = performance.now() - changedMs;
  if (!relay) await whenFound(1);
  load.kill('SIGINT');
  await load.ended;
  process.stdout.write(`${whole} → ${found} after ${tookMs.toFixed(0)} ms\n`);
  const inner = await pair.followMtu();
  // What was sent during the search was told a smaller size, which the host keeps for 10 minutes.
  await pair.lab.exec('a', ['ip', 'route', 'flush', 'cache']);
  assert.match(await pingDf(pair, inner), / 0% packet loss/);
  assert.match(await pingDf(pair, inner + 1), /message too long|frag needed/i);
  // The host's device as wide as any: then the switch must answer.
  await pair.lab.ip('a', `link set ${tap} mtu 1500`);
  assert.match(
    await pingDf(pair, found + 1),
    new RegExp(`(message too long|frag needed).*${found}`, 'i'),
  );
  // 2 to 3 s where nobody else computes; of a path without traffic it would be up to 30 s.
  await assertWithin('the search', tookMs, 15_000);
}

test.unless(
  why,
  'a direct path narrowed to 1400 is found, ICMP or not heard of',
  async (t) => {
    await narrow(t, {}, 1_400, false);
  },
  60_000,
);

test.unless(
  why,
  'the same where no ICMP comes back',
  async (t) => {
    await narrow(t, {}, 1_400, true);
  },
  60_000,
);

test.unless(
  why,
  'the same over IPv6',
  async (t) => {
    await narrow(t, { family: 6 }, 1_400, true);
  },
  60_000,
);

test.unless(
  why,
  'the same through a relay',
  async (t) => {
    await narrow(t, { relay: true }, 1_400, true);
  },
  60_000,
);

test.unless(
  why,
  'TCP over a path that shrinks goes on within 5 s',
  async (t) => {
    const pair = await startRoutedPair(t, {});
    const { lab } = pair;
    await silence(pair);
    const run = iperf(lab, {
      from: 'a',
      to: 'b',
      address: '10.77.0.2',
      seconds: 14,
      bitrate: '100M',
    });
    const sent = async (): Promise<number> => {
      const text = await lab.exec('b', ['cat', `/sys/class/net/${tap}/statistics/rx_bytes`]);
      return Number(text);
    };
    await waitFor('traffic flows', async () => (await sent()) > 10_000_000, { timeoutMs: 8_000 });
    await pair.setMtu('a', 1_400);
    await pair.setMtu('b', 1_400);
    const shrunkMs = performance.now();
    const before = await sent();
    // What was under way arrives; megabytes more mean that it goes on.
    await waitFor('it goes on', async () => (await sent()) > before + 8_000_000, {
      timeoutMs: 12_000,
    });
    const stallMs = performance.now() - shrunkMs;
    process.stdout.write(`8 MB more ${stallMs.toFixed(0)} ms after the path shrank\n`);
    // The 8 MB take 700 ms of their own.
    await assertWithin('the stall', stallMs, 5_000 + 700);
    assert.ok((await run).mbps > 30);
  },
  60_000,
);

test.unless(
  why,
  'a guest on a Linux bridge that knows nothing of our MTU does TCP, and is told what fits',
  async (t) => {
    const { lab } = await startRoutedPair(t, {});
    // As the controller makes them: the port as wide as any guest, the bridge as the paths.
    await lab.bridge('a', 'br0', ['10.77.0.9/24']);
    await lab.ip(
      'a',
      `addr flush dev ${tap}
link set ${tap} master br0 mtu 9000
link set br0 mtu 1420`,
    );
    await lab.namespace('guest');
    await lab.cable(
      { ns: 'a', dev: 'guest0', bridge: 'br0' },
      { ns: 'guest', dev: 'eth0', addresses: ['10.77.0.10/24'] },
    );
    await lab.exec('guest', ['ping', '-c', '1', '-W', '2', '10.77.0.2']);
    const ping = (bytes: number): Promise<string> =>
      lab
        .exec('guest', `ping -n -c 2 -i 0.3 -W 2 -M do -s ${bytes} 10.77.0.2`.split(' '))
        .catch(String);
    assert.match(await ping(1_472), /(frag needed|message too long).*1420/i);
    assert.match(await ping(1_420 - icmpBytes), / 0% packet loss/);
    await lab.exec('guest', ['ip', 'route', 'flush', 'cache']);
    const there = await iperf(lab, { from: 'guest', to: 'b', address: '10.77.0.2', seconds: 2 });
    const back = await iperf(lab, { from: 'b', to: 'guest', address: '10.77.0.10', seconds: 2 });
    process.stdout.write(`${there.mbps.toFixed(0)} and ${back.mbps.toFixed(0)} Mbit/s\n`);
    assert.ok(there.mbps > 50 && back.mbps > 50);
  },
  60_000,
);
