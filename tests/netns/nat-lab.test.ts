/**
 * Certifies the NATs of the lab by a program that is not ours: turnutils_natdiscovery against
 * coturn (RFC 5780). Every other test that names a kind of NAT rests on this one.
 *
 *   hA…hG ── rA…rG ── pub (coturn on 10.99.0.1 and 10.99.0.11); hG behind two NATs
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { startCoturn } from '../support/coturn.ts';
import { suite } from '../support/harness.ts';
import { createNatLab, type NatKind, natKinds } from '../support/nat-lab.ts';
import { needsRoot } from '../support/needs.ts';
import { createLab } from '../support/netns.ts';
import { withScope } from '../support/scope.ts';

const test = suite('NAT lab');

/** What RFC 4787 says of each kind, in the words of turnutils_natdiscovery. */
const expected: Record<NatKind, readonly string[]> = {
  open: ['NAT with Endpoint Independent Mapping', 'NAT with Endpoint Independent Filtering'],
  full: ['NAT with Endpoint Independent Mapping', 'NAT with Endpoint Independent Filtering'],
  restricted: ['NAT with Endpoint Independent Mapping', 'NAT with Address Dependent Filtering'],
  port: ['NAT with Endpoint Independent Mapping', 'NAT with Address and Port Dependent Filtering'],
  symmetric: [
    'NAT with Address and Port Dependent Mapping',
    'NAT with Address and Port Dependent Filtering',
  ],
  cgnat: [
    'NAT with Address and Port Dependent Mapping',
    'NAT with Address and Port Dependent Filtering',
  ],
  blocked: [],
};

test.unless(
  needsRoot,
  'each kind maps and filters as RFC 4787 says',
  async (t) => {
    const { lab, pub, sites, publicAddress } = await createNatLab(t, { kinds: natKinds });
    const second = { secondAddress: '10.99.0.11' };
    await startCoturn(lab, { ns: pub, address: publicAddress, ...second });
    const found = sites.map(async (site) => {
      const argv = ['turnutils_natdiscovery', '-m', '-f', publicAddress];
      const report = await lab.exec(site.host, argv, { timeoutMs: 40_000 });
      return { site, report };
    });
    for (const { site, report } of await Promise.all(found)) {
      const verdicts = [...report.matchAll(/^(.*(?:Mapping|Filtering))!$/gm)].map((m) => m[1]);
      assert.deepEqual(verdicts, expected[site.kind], `${site.kind}: ${report}`);
      // The mapping must be seen where the lab says that it is.
      const seen = /reflexive addr: ([\d.]+)/.exec(report)?.[1];
      assert.equal(seen, site.kind === 'blocked' ? undefined : site.publicAddress, site.kind);
    }
  },
  60_000,
);

test.unless(
  needsRoot,
  'TCP reaches the public segment from every site, and no site from outside',
  async (t) => {
    const { lab, pub, sites } = await createNatLab(t, { kinds: natKinds });
    lab.spawn(pub, ['socat', 'TCP-LISTEN:7000,fork,reuseaddr', 'EXEC:"echo reached"']);
    const ask = async (ns: string, to: string): Promise<string> =>
      lab.exec(ns, ['socat', '-T2', '-', `TCP:${to},connect-timeout=1,retry=3,interval=0.1`]);
    for (const site of sites) {
      assert.equal((await ask(site.host, '10.99.0.1:7000')).trim(), 'reached', site.kind);
    }
    const [first, second] = sites.filter((site) => site.kind !== 'open');
    assert.ok(first !== undefined && second !== undefined);
    lab.spawn(second.host, ['socat', 'TCP-LISTEN:7000,fork,reuseaddr', 'EXEC:"echo reached"']);
    await assert.rejects(
      lab.exec(first.host, ['socat', '-', `TCP:${second.publicAddress}:7000,connect-timeout=1`]),
    );
  },
  30_000,
);

test.unless(needsRoot, 'a lab leaves nothing behind, also after a failure', async () => {
  let names: readonly string[] = [];
  let folder = '';
  let pid = 0;
  await assert.rejects(
    withScope(async (scope) => {
      const lab = await createLab(scope);
      folder = lab.folder;
      await lab.namespace('x');
      names = [lab.fullName('x'), lab.fullName('y')];
      pid = lab.spawn('x', ['sleep', '1000']).pid;
      await lab.namespace('y');
      await lab.ip('y', 'link add nonsense type nonsense');
    }),
    /nonsense/,
  );
  const left = await exec(['ip', 'netns', 'list']);
  for (const name of names) assert.ok(!left.includes(name), `${name} is left`);
  assert.ok(!existsSync(folder), `${folder} is left`);
  assert.throws(() => process.kill(pid, 0), /ESRCH/);
});

test.unless(
  needsRoot,
  'a new lab removes what a killed process left, and nothing else',
  async (t) => {
    const gone = spawn('true');
    await new Promise((resolve) => gone.on('exit', resolve));
    const [dead, alive] = [`evl${gone.pid}-dead`, `evl${process.ppid}-alive`];
    const folder = join(tmpdir(), `evl${gone.pid}-dead`);
    t.defer(() => exec(['ip', 'netns', 'del', alive]).then(() => {}));
    await exec(['ip', 'netns', 'add', alive]);
    await exec(['ip', 'netns', 'add', dead]);
    mkdirSync(folder);
    await createLab(t);
    const left = await exec(['ip', 'netns', 'list']);
    assert.ok(!left.includes(dead) && left.includes(alive), left);
    assert.ok(!existsSync(folder));
  },
);
