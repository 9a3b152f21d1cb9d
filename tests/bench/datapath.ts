/**
 * The data path alone: two namespaces joined by a veth, a data path with fixed keys in each, and
 * iperf3 and ping raw and through it, interleaved. Prints figures; judges nothing.
 *
 * Usage: node dist/tests/bench/datapath.js [--seconds N] [--rounds N] [--suite NAME]
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { exec } from '../../base/exec.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '2' },
    suite: { type: 'string', default: 'aes-128-gcm' },
    only: { type: 'string', default: 'tcp,udp,ping' },
  },
});
const seconds = Number(values.seconds);
const prefix = `dpb${process.pid}`;
const namespaces = [`${prefix}a`, `${prefix}b`] as const;
const macs = ['02:00:00:00:0a:01', '02:00:00:00:0a:02'] as const;
const children: ChildProcess[] = [];
const run = (...argv: string[]): Promise<string> => exec(argv, { timeoutMs: 60_000 });
const inside = (index: 0 | 1, ...argv: string[]): Promise<string> =>
  run('ip', 'netns', 'exec', namespaces[index], ...argv);

function background(index: 0 | 1, argv: readonly string[], ready: string): Promise<ChildProcess> {
  const child = spawn('ip', ['netns', 'exec', namespaces[index], ...argv], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`${argv.join(' ')} ended with ${code}`)));
    child.stdout?.on('data', (data: Buffer) => {
      if (data.toString().includes(ready)) resolve(child);
    });
  });
}

async function build(): Promise<void> {
  for (const name of namespaces) await run('ip', 'netns', 'add', name);
  const ends = [`${prefix}0`, `${prefix}1`] as const;
  await run('ip', 'link', 'add', ends[0], 'type', 'veth', 'peer', 'name', ends[1]);
  for (const index of [0, 1] as const) {
    await run('ip', 'link', 'set', ends[index], 'netns', namespaces[index]);
    await inside(index, 'ip', 'addr', 'add', `10.1.0.${index + 1}/24`, 'dev', ends[index]);
    await inside(index, 'ip', 'link', 'set', ends[index], 'up');
    await inside(index, 'ip', 'link', 'set', 'lo', 'up');
    await inside(index, 'ip', 'tuntap', 'add', 'tap0', 'mode', 'tap');
    await inside(index, 'ip', 'link', 'set', 'tap0', 'address', macs[index], 'mtu', '1420', 'up');
    await inside(index, 'ip', 'addr', 'add', `10.2.0.${index + 1}/24`, 'dev', 'tap0');
  }
  const script = join(import.meta.dirname, 'datapath-node.js');
  for (const index of [0, 1] as const) {
    const other = index === 0 ? 1 : 0;
    const argv = [process.execPath, script, 'tap0', macs[index], macs[other]];
    argv.push(`10.1.0.${other + 1}`, String(index), values.suite);
    await background(index, argv, 'ready');
  }
  await background(1, ['iperf3', '-s', '--forceflush'], 'listening');
}

interface Result {
  readonly mbits: number;
  readonly kpps: number;
}

async function iperf(address: string, extra: readonly string[]): Promise<Result> {
  const text = await inside(0, 'iperf3', '-c', address, '-t', String(seconds), '-J', ...extra);
  const sum = JSON.parse(text).end;
  const bits = sum.sum_received?.bits_per_second ?? sum.sum?.bits_per_second;
  const udp = sum.sum?.packets ?? 0;
  const delivered = udp - (sum.sum?.lost_packets ?? 0);
  return { mbits: bits / 1e6, kpps: delivered / seconds / 1000 };
}

async function ping(address: string): Promise<number> {
  const text = await inside(0, 'ping', '-c', '40', '-i', '0.05', address);
  const times = [...text.matchAll(/time=([\d.]+)/g)].map((m) => Number(m[1])).sort((a, b) => a - b);
  return times[Math.floor(times.length / 2)] ?? Number.NaN;
}

/** CPU seconds that both data paths have used: user and system, in ticks of 10 ms. */
function cpuSeconds(): number {
  const ticks = children.slice(0, 2).map((child) => {
    const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return Number(stat[11]) + Number(stat[12]);
  });
  return ticks.reduce((a, b) => a + b, 0) / 100;
}

async function measure(): Promise<void> {
  const udp = ['-u', '-b', '0', '-l', '64'];
  for (let round = 0; round < Number(values.rounds); round++) {
    if (values.only.includes('tcp')) {
      const raw = await iperf('10.1.0.2', []);
      const before = cpuSeconds();
      const ours = await iperf('10.2.0.2', []);
      const cost = ((cpuSeconds() - before) / ((ours.mbits * seconds) / 8000)).toFixed(2);
      const ratio = `${(ours.mbits / raw.mbits).toFixed(2)}, ${cost} CPU s/GB both ends`;
      process.stdout.write(
        `tcp  raw ${raw.mbits.toFixed(0)} ours ${ours.mbits.toFixed(0)} Mbit/s, ${ratio}\n`,
      );
    }
    if (values.only.includes('udp')) {
      const [raw, ours] = [await iperf('10.1.0.2', udp), await iperf('10.2.0.2', udp)];
      const ratio = (ours.kpps / raw.kpps).toFixed(2);
      process.stdout.write(
        `udp  raw ${raw.kpps.toFixed(0)} ours ${ours.kpps.toFixed(0)} kpps, ${ratio}\n`,
      );
    }
    if (values.only.includes('ping')) {
      const [raw, ours] = [await ping('10.1.0.2'), await ping('10.2.0.2')];
      process.stdout.write(`ping raw ${raw} ours ${ours} ms\n`);
    }
  }
  const errors = await inside(1, 'nstat', '-az', 'TcpInCsumErrors', 'UdpInCsumErrors');
  process.stdout.write(errors);
}

try {
  await build();
  await measure();
} finally {
  for (const child of children) {
    child.removeAllListeners('exit');
    child.stdin?.end();
  }
  await Promise.all(
    children
      .slice(0, 2)
      .map((child) =>
        child.exitCode === null ? new Promise((resolve) => child.once('exit', resolve)) : undefined,
      ),
  );
  children[2]?.kill();
  for (const name of namespaces) await run('ip', 'netns', 'del', name).catch(() => '');
}
