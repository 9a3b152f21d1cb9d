/**
 * Traffic by real programs: ping, iperf3, socat, dnsmasq with busybox' DHCP client, tshark. Owns
 * the reading of their output; never measures by itself.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Child } from './child.ts';
import type { Lab } from './netns.ts';
import { waitFor } from './scope.ts';

export interface PingOptions {
  readonly count?: number;
  readonly intervalS?: number;
  readonly sizeBytes?: number;
  /** Forbids fragmentation. */
  readonly df?: boolean;
  readonly waitS?: number;
}

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  readonly lossPercent: number;
  /** Sorted; empty when nothing came back. */
  readonly timesMs: readonly number[];
  readonly medianMs: number;
  readonly p99Ms: number;
}

/** Never throws for lost packets: the caller says what is too much. */
export async function ping(
  lab: Lab,
  ns: string,
  target: string,
  options: PingOptions = {},
): Promise<PingResult> {
  const { count = 5, intervalS = 0.05, sizeBytes = 56, df = false, waitS = 2 } = options;
  const flags = ['-n', '-c', `${count}`, '-i', `${intervalS}`, '-s', `${sizeBytes}`];
  const argv = ['ping', ...flags, '-W', `${waitS}`, ...(df ? ['-M', 'do'] : []), target];
  const child = lab.spawn(ns, argv);
  await waitFor(`${argv.join(' ')} ends`, () => child.exit, {
    timeoutMs: count * intervalS * 1_000 + waitS * 1_000 * 2 + 10_000,
  });
  const report = child.log();
  const totals = /(\d+) packets transmitted, (\d+) received/.exec(report);
  if (totals === null) throw new Error(`${argv.join(' ')}: ${report}`);
  const timesMs = [...report.matchAll(/time[=<]([\d.]+) ms/g)]
    .map((m) => Number(m[1]))
    .sort((a, b) => a - b);
  const [sent, received] = [Number(totals[1]), Number(totals[2])];
  return {
    sent,
    received,
    lossPercent: (100 * (sent - received)) / sent,
    timesMs,
    medianMs: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
  };
}

/** Of sorted numbers; NaN of none. */
export const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;

export interface IperfOptions {
  readonly from: string;
  readonly to: string;
  /** Address of the server, which runs in namespace `to`. */
  readonly address: string;
  readonly seconds?: number;
  /** Default 5201. */
  readonly port?: number;
  /** The server sends. */
  readonly reverse?: boolean;
  readonly parallel?: number;
  /** UDP of this payload instead of TCP, as fast as it goes unless `bitrate` (`10M`) is given. */
  readonly udpBytes?: number;
  readonly bitrate?: string;
}

const Sum = z.looseObject({
  bytes: z.number(),
  bits_per_second: z.number(),
  seconds: z.number(),
  packets: z.number().optional(),
  lost_packets: z.number().optional(),
  retransmits: z.number().optional(),
});
const IperfReport = z.looseObject({
  error: z.string().optional(),
  end: z.looseObject({
    sum: Sum.optional(),
    sum_sent: Sum.optional(),
    sum_received: Sum.optional(),
  }),
});

export interface IperfResult {
  /** What arrived. */
  readonly mbps: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly retransmits: number;
  /** UDP: datagrams that arrived, per second, and those that did not, of all sent. */
  readonly deliveredPerSecond: number;
  readonly lossPercent: number;
}

export async function iperf(lab: Lab, options: IperfOptions): Promise<IperfResult> {
  const seconds = options.seconds ?? 5;
  const port = `${options.port ?? 5_201}`;
  const server = lab.spawn(options.to, ['iperf3', '-s', '-1', '-p', port]);
  try {
    await waitFor('iperf3 listens', async () =>
      (await lab.exec(options.to, ['ss', '-Hltn', `sport = :${port}`])).includes(port),
    );
    const flags = ['-J', '-p', port, '-t', `${seconds}`, '-P', `${options.parallel ?? 1}`];
    if (options.reverse === true) flags.push('-R');
    if (options.udpBytes !== undefined) {
      flags.push('-u', '-l', `${options.udpBytes}`, '-b', options.bitrate ?? '0');
    } else if (options.bitrate !== undefined) flags.push('-b', options.bitrate);
    const argv = ['iperf3', '-c', options.address, ...flags];
    const text = await lab.exec(options.from, argv, { timeoutMs: seconds * 1_000 + 20_000 });
    return readIperf(IperfReport.parse(JSON.parse(text)));
  } finally {
    await server.stop(1_000);
  }
}

function readIperf({ error, end }: z.infer<typeof IperfReport>): IperfResult {
  const received = end.sum_received ?? end.sum;
  if (error !== undefined || received === undefined) throw new Error(`iperf3: ${error}`);
  const sum = end.sum;
  const packets = sum?.packets ?? 0;
  const lost = sum?.lost_packets ?? 0;
  return {
    mbps: received.bits_per_second / 1e6,
    bytes: received.bytes,
    seconds: received.seconds,
    retransmits: end.sum_sent?.retransmits ?? 0,
    deliveredPerSecond: (packets - lost) / received.seconds,
    lossPercent: packets === 0 ? 0 : (100 * lost) / packets,
  };
}

/**
 * What the namespace's TCP has sent twice so far. `needless`: the peer had it already and said so
 * (RFC 2883): sent again by a timer, not lost.
 */
export async function tcpRetransmits(
  lab: Lab,
  ns: string,
): Promise<{ readonly all: number; readonly needless: number }> {
  const text = await lab.exec(ns, ['nstat', '-asz', 'TcpRetransSegs', 'TcpExtTCPDSACKRecvSegs']);
  const count = (name: string): number => {
    const found = new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(text);
    if (found === null) throw new Error(`no ${name}: ${text}`);
    return Number(found[1]);
  };
  return { all: count('TcpRetransSegs'), needless: count('TcpExtTCPDSACKRecvSegs') };
}

/** Listens for datagrams on a port (of a multicast group, when named); its log holds the texts. */
export async function receiveUdp(
  lab: Lab,
  ns: string,
  port: number,
  group?: { readonly address: string; readonly dev: string },
): Promise<Child> {
  const join = group === undefined ? '' : `,ip-add-membership=${group.address}:${group.dev}`;
  const child = lab.spawn(ns, ['socat', '-u', `UDP4-RECV:${port},reuseaddr${join}`, '-']);
  await waitFor('socat listens', async () =>
    (await lab.exec(ns, ['ss', '-Hlun', `sport = :${port}`])).includes(`:${port}`),
  );
  return child;
}

/** Sends one datagram; `dev` for multicast and broadcast. */
export async function sendUdp(
  lab: Lab,
  ns: string,
  to: { readonly address: string; readonly port: number; readonly dev?: string },
  text: string,
): Promise<void> {
  const on = to.dev === undefined ? '' : `,so-bindtodevice=${to.dev},broadcast`;
  const argv = ['socat', '-u', '-', `UDP4-SENDTO:${to.address}:${to.port}${on}`];
  await lab.exec(ns, argv, { input: text });
}

/** A DHCP server on a device, for addresses from `first` to `last`. */
export async function startDhcpServer(
  lab: Lab,
  ns: string,
  dev: string,
  range: { readonly first: string; readonly last: string; readonly mask?: string },
): Promise<Child> {
  const lease = `${range.first},${range.last},${range.mask ?? '255.255.255.0'},5m`;
  const server = lab.spawn(ns, [
    ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--port=0', '--no-hosts'],
    ...['--no-resolv', '--no-ping', '--user=root', '--log-facility=-', '--log-dhcp'],
    ...[`--interface=${dev}`, '--bind-interfaces', `--dhcp-range=${lease}`],
    ...[`--dhcp-leasefile=${join(lab.folder, `leases-${ns}`)}`, '--pid-file'],
  ]);
  await server.waitLog('DHCP, IP range');
  return server;
}

export interface Lease {
  readonly address: string;
  readonly mask: string;
  readonly server: string;
}

/** Gets a lease and puts the address on the device. The script never touches resolv.conf. */
export async function requestLease(lab: Lab, ns: string, dev: string): Promise<Lease> {
  const script = join(lab.folder, 'udhcpc.sh');
  const lines = [
    '#!/bin/sh',
    '[ "$1" = bound ] || exit 0',
    'ip addr replace "$ip/$mask" dev "$interface"',
    'echo "lease $ip $subnet $serverid"',
  ];
  writeFileSync(script, `${lines.join('\n')}\n`, { mode: 0o755 });
  const argv = ['busybox', 'udhcpc', '-f', '-n', '-q', '-t', '5', '-T', '1', '-i', dev];
  const report = await lab.exec(ns, [...argv, '-s', script], { timeoutMs: 15_000 });
  const [, address, mask, server] = /^lease (\S+) (\S+) (\S+)$/m.exec(report) ?? [];
  if (address === undefined || mask === undefined || server === undefined) {
    throw new Error(`no lease on ${dev}: ${report}`);
  }
  return { address, mask, server };
}

export interface Capture {
  readonly file: string;
  /** The columns of each packet so far that passes the display filter, as tshark names them. */
  read(fields: readonly string[], displayFilter?: string): Promise<readonly (readonly string[])[]>;
}

let captures = 0;

/** Captures on a device until the lab ends; `filter` in pcap's words. */
export async function capture(lab: Lab, ns: string, dev: string, filter = ''): Promise<Capture> {
  captures += 1;
  const file = join(lab.folder, `capture-${captures}.pcap`);
  // tcpdump writes each packet at once; tshark's capture loses what is in its last block.
  const argv = ['tcpdump', '-n', '-U', '--immediate-mode', '-Z', 'root', '-i', dev, '-w', file];
  const child = lab.spawn(ns, filter === '' ? argv : [...argv, filter]);
  await child.waitLog('listening on');
  return {
    file,
    async read(fields, displayFilter = '') {
      const columns = fields.flatMap((field) => ['-e', field]);
      const wanted = displayFilter === '' ? [] : ['-Y', displayFilter];
      const reader = ['tshark', '-n', '-r', file, ...wanted, '-T', 'fields', ...columns];
      const text = await lab.exec('', reader, { timeoutMs: 30_000 });
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split('\t'));
    },
  };
}
