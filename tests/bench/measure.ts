/**
 * The cases of the bench: what is measured of a running program, in which unit. Owns how long each
 * takes; never compares.
 */
import { iperf, ping } from '../support/traffic.ts';
import { type Pair, type Running, rssMiB, withDescendants } from './programs/program.ts';

/** Case → unit, in the order of measuring. `rss` is first: the programs are idle then. */
export const units = {
  rss: 'MiB',
  'ping-median': 'ms',
  'ping-p99': 'ms',
  'tcp-1': 'Mbit/s',
  'cpu-per-gb': 's/GB',
  'tcp-1-reverse': 'Mbit/s',
  'tcp-4': 'Mbit/s',
  'udp-64': 'kpps',
  'udp-1200': 'kpps',
} as const;
export type Case = keyof typeof units;

/** What could be measured; a case that failed is missing, and `note` says why. */
export interface Measured {
  readonly values: ReadonlyMap<Case, number>;
  readonly notes: readonly string[];
}

export async function measure(pair: Pair, running: Running, seconds: number): Promise<Measured> {
  const { lab } = pair;
  const values = new Map<Case, number>();
  const notes: string[] = [];
  const attempt = async (name: Case, body: () => Promise<void>): Promise<void> => {
    await body().catch((error: unknown) => notes.push(`${name}: ${String(error)}`));
  };
  const stream = { from: 'a', to: 'b', address: running.addresses.b, seconds };
  const all = [...running.pids.a, ...running.pids.b];
  if (running.pids.a.length > 0) values.set('rss', rssMiB(running.pids.a));
  await attempt('ping-median', async () => {
    const times = await ping(lab, 'a', running.addresses.b, { count: 500, intervalS: 0.01 });
    if (times.received === 0) throw new Error('no answer');
    values.set('ping-median', times.medianMs).set('ping-p99', times.p99Ms);
  });
  await attempt('tcp-1', async () => {
    const before = cpuSeconds(all);
    const result = await iperf(lab, stream);
    values.set('tcp-1', result.mbps);
    if (all.length > 0) {
      values.set('cpu-per-gb', (cpuSeconds(all) - before) / (result.bytes / 1e9));
    }
  });
  await attempt('tcp-1-reverse', async () => {
    values.set('tcp-1-reverse', (await iperf(lab, { ...stream, reverse: true })).mbps);
  });
  await attempt('tcp-4', async () => {
    values.set('tcp-4', (await iperf(lab, { ...stream, parallel: 4 })).mbps);
  });
  for (const udpBytes of [64, 1200] as const) {
    await attempt(`udp-${udpBytes}`, async () => {
      const result = await iperf(lab, { ...stream, udpBytes });
      values.set(`udp-${udpBytes}`, result.deliveredPerSecond / 1000);
    });
  }
  return { values, notes };
}

const cpuSeconds = (pids: readonly number[]): number =>
  withDescendants(pids).reduce((sum, { cpuSeconds: seconds }) => sum + seconds, 0);
