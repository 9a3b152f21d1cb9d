/**
 * Two tunnel processes behind address-translating routers, with a STUN server between them:
 *
 *   [site a] 10.1.0.2 ── [nat a] 198.18.1.2 ── [pub: coturn] ── 198.18.2.2 [nat b] ── 10.2.0.2 [site b]
 */
import { strict as assert } from 'node:assert';
import { existsSync } from 'node:fs';
import { exec } from '../../base/exec.ts';
import { cable, newNs, newSite, startOnline, startTurn, wire } from '../support/bridge-process.ts';
import { suite, type T } from '../support/harness.ts';

const test = suite('bridge-nat');
const missing = existsSync('/usr/bin/turnserver') ? null : 'coturn is not installed';
const why = process.getuid?.() === 0 ? missing : 'needs root for namespaces';

/** A router as homes have it: translates, keeps the port, drops what was not asked for. */
async function newNat(t: T, name: string, masquerade: string): Promise<string> {
  const ns = await newNs(t, name);
  await exec(['ip', 'netns', 'exec', ns, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  const rules = `table ip n {
    chain post { type nat hook postrouting priority 100; oifname "evso" ${masquerade}; }
    chain local { type filter hook input priority 0; iifname "evso" ct state new drop; }
    chain through { type filter hook forward priority 0; iifname "evso" ct state new drop; }
  }`;
  await exec(['ip', 'netns', 'exec', ns, 'nft', '-f', '-'], { input: rules });
  return ns;
}

async function run(t: T, masquerades: readonly [string, string]): Promise<string[]> {
  const pub = await newNs(t, 'p');
  await exec(['ip', 'netns', 'exec', pub, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  const sites: string[] = [];
  for (const [n, name] of (['a', 'b'] as const).entries()) {
    const site = await newSite(t, name, `10.77.0.${n + 1}/24`);
    const nat = await newNat(t, `n${name}`, masquerades[n] ?? '');
    await wire([site, `10.${n + 1}.0.2/24`], [nat, `10.${n + 1}.0.1/24`], 'evsi');
    await exec(['ip', '-n', site, 'route', 'add', 'default', 'via', `10.${n + 1}.0.1`]);
    await cable(
      { ns: pub, device: `evs${name}`, address: `198.18.${n + 1}.1/24` },
      { ns: nat, device: 'evso', address: `198.18.${n + 1}.2/24` },
    );
    await exec(['ip', '-n', nat, 'route', 'add', 'default', 'via', `198.18.${n + 1}.1`]);
    sites.push(site);
  }
  await startTurn(t, pub, ['198.18.1.1', '198.18.2.1']);
  const servers = {
    stun: [{ host: '198.18.1.1', port: 3_478 }],
    turn: [
      { host: '198.18.1.1', port: 3_478, transport: 'udp' as const, user: 'u', password: 'p' },
    ],
  };
  const [a = '', b = ''] = sites;
  const [one, two] = await startOnline(t, [a, b], [servers, servers]);
  const flags = '-c 3 -i 0.1 -W 2'.split(' ');
  const out = await exec(['ip', 'netns', 'exec', a, 'ping', ...flags, '10.77.0.2']);
  assert.match(out, / 0% packet loss/);
  process.stdout.write(`${one.ups[0]?.setUpMs}/${two.ups[0]?.setUpMs} ms\n`);
  return [one, two].map((side) => side.ups[0]?.path.kind ?? 'none');
}

test.unless(
  why,
  'behind two port-keeping routers the path is direct, though a relay is there',
  async (t) => {
    const kinds = await run(t, ['masquerade', 'masquerade']);
    assert.deepEqual(kinds, ['direct-reflexive', 'direct-reflexive']);
  },
  40_000,
);

test.unless(
  why,
  'behind two routers with random ports the relay carries',
  async (t) => {
    const kinds = await run(t, ['masquerade fully-random', 'masquerade fully-random']);
    assert.deepEqual(kinds, ['turn', 'turn']);
  },
  40_000,
);
