/**
 * A soak by hand: two nodes behind NATs under steady traffic for a long time, memory and counters
 * looked at in between. Fails when a process has grown, a ping was lost or a warning was logged.
 *
 * Usage: npm run soak -- [--minutes 60] [--kinds port,restricted] [--bitrate 300M]
 *
 * Without a bitrate iperf3 sends as fast as it goes.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { isNatKind } from '../support/nat-lab.ts';
import type { EvioNode } from '../support/node.ts';
import { print } from '../support/print.ts';
import { withScope } from '../support/scope.ts';
import { iperf, ping } from '../support/traffic.ts';
import { startTwo } from '../support/two-nodes.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    kinds: { type: 'string', default: 'port,restricted' },
    bitrate: { type: 'string' },
  },
});

/** Growth from the first sample after the warm-up to the last that is still called flat, MiB. */
const flatMib = 16;
/** Each round: this long with iperf3 at full speed, then pings. */
const roundSeconds = 30;

interface Sample {
  readonly minute: number;
  /** Controller a, tunnel process a, controller b, tunnel process b; MiB. */
  readonly rss: readonly number[];
  readonly mbps: number;
  readonly lost: number;
  readonly medianMs: number;
}

const rssMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;

async function pidsOf(node: EvioNode): Promise<readonly number[]> {
  const status: { overlays: ReadonlyArray<{ bridgeProcess: { pid: number } }> } = JSON.parse(
    await node.evio('status', '--json'),
  );
  return [node.pid, status.overlays[0]?.bridgeProcess.pid ?? 0];
}

await withScope(async (scope) => {
  const kinds = values.kinds.split(',').filter(isNatKind);
  const { lab, a, b } = await startTwo(scope, { kinds });
  await a.waitUp('b');
  const pids = [...(await pidsOf(a)), ...(await pidsOf(b))];
  const samples: Sample[] = [];
  const startedMs = performance.now();
  const minutes = (): number => (performance.now() - startedMs) / 60_000;
  print('minute   controller a  tunnel a  controller b  tunnel b  MiB   Mbit/s  lost  ping ms');
  while (minutes() < Number(values.minutes)) {
    const reverse = samples.length % 2 === 1;
    const { bitrate } = values;
    const run = {
      from: a.ns,
      to: b.ns,
      address: b.address,
      seconds: roundSeconds,
      reverse,
      ...(bitrate === undefined ? {} : { bitrate }),
    };
    const [flow, pings] = await Promise.all([
      iperf(lab, run),
      ping(lab, b.ns, a.address, { count: roundSeconds * 4, intervalS: 0.25 }),
    ]);
    const sample = {
      minute: minutes(),
      rss: pids.map(rssMib),
      mbps: flow.mbps,
      lost: pings.sent - pings.received,
      medianMs: pings.medianMs,
    };
    samples.push(sample);
    const columns = sample.rss.map((mib) => mib.toFixed(1).padStart(12)).join('');
    print(
      `${sample.minute.toFixed(1).padStart(6)} ${columns} ${sample.mbps.toFixed(0).padStart(12)}` +
        ` ${String(sample.lost).padStart(5)} ${sample.medianMs.toFixed(2).padStart(8)}`,
    );
  }
  const [first, last] = [samples[Math.min(4, samples.length - 1)], samples.at(-1)];
  const grown = pids.map((_, i) => (last?.rss[i] ?? 0) - (first?.rss[i] ?? 0));
  const lost = samples.reduce((n, s) => n + s.lost, 0);
  const warnings = [a, b].flatMap((node) =>
    node
      .log()
      .split('\n')
      .filter((line) => /"level":"(warn|error)"/.test(line) && !line.includes('configuration')),
  );
  print(`growth since the fifth sample, MiB: ${grown.map((g) => g.toFixed(1)).join(', ')}`);
  print(`pings lost: ${lost}; lines of warning: ${warnings.length}`);
  for (const line of warnings.slice(0, 20)) print(line);
  process.exitCode = grown.some((g) => g > flatMib) || lost > 0 || warnings.length > 0 ? 1 : 0;
});
