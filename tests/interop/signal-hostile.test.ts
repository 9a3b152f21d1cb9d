/**
 * Signalling against servers that lie, stall or attack: a scripted one on loopback, with a right
 * certificate where the attack is behind it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret } from '../../base/secret.ts';
import type { SignalPolicy } from '../../controller/signal/index.ts';
import { type Ca, createCa } from '../support/ca.ts';
import { suite, type T } from '../support/harness.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import {
  features,
  header,
  offer,
  type ScriptedServer,
  type Step,
  sasl,
  startScripted,
  untilSecure,
} from '../support/scripted-xmpp.ts';
import { type SignalNode, startNode } from '../support/signal-node.ts';

const test = suite('signalling with hostile servers');

interface Stage {
  readonly ca: Ca;
  readonly server: ScriptedServer;
  readonly node: SignalNode;
}

async function stage(
  t: T,
  steps: readonly Step[],
  policy: Partial<SignalPolicy> = {},
): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'evio-ca-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const ca = await createCa(folder);
  const server = await startScripted(t, await ca.issue({ name: 'x', dns: ['lab.test'] }), steps);
  const caPem = readFileSync(ca.certFile, 'utf8');
  const config = { host: '127.0.0.1', port: server.port, caPem, password: new Secret('hunter2') };
  return { ca, server, node: await startNode(t, { user: 'alice', config, policy }) };
}

const ends = async ({ node }: Stage, code: string): Promise<string> => {
  const event = await node.expect('signal.stateChanged', (e) => e.problem !== null, 4_000);
  assert.equal(event.problem?.code, code, event.problem?.message);
  return event.problem?.message ?? '';
};

/** The client's nonce of a SCRAM auth element. */
const nonceOf = (match: RegExpExecArray): string =>
  /r=(.*)$/.exec(Buffer.from(match[1] ?? '', 'base64').toString())?.[1] ?? '';
const authElement = /<auth [^>]*>([^<]*)<\/auth>/;
const challenge = (iterations: number): Step => ({
  expect: authElement,
  reply: (match) => sasl('challenge', `r=${nonceOf(match)}server,s=c2FsdA==,i=${iterations}`),
});

test('to a server without TLS nothing but the stream header is sent', async (t) => {
  const at = await stage(t, [
    { expect: /<stream:stream[^>]*>/, reply: header + features(offer('PLAIN', 'SCRAM-SHA-256')) },
  ]);
  await ends(at, 'signal.no-tls');
  await at.node.signal.stop();
  assert.match(
    at.server.clear(),
    /^<\?xml version='1\.0'\?><stream:stream [^<>]*to="lab\.test"[^<>]*>$/,
  );
  assert.doesNotMatch(at.server.clear(), /alice|from=/);
});

test('a server that cannot prove the password is refused', async (t) => {
  const at = await stage(t, [
    ...untilSecure(offer('SCRAM-SHA-256')),
    challenge(4_096),
    { expect: /<response/, reply: sasl('success', `v=${Buffer.alloc(32).toString('base64')}`) },
    { expect: /<stream:stream[^>]*>/, reply: header + features('') },
  ]);
  await ends(at, 'signal.server-unproven');
  const [event] = at.node.events('signal.stateChanged').slice(-1);
  assert.equal(event?.state, 'refused');
  assert.ok((event?.retryInMs ?? 0) >= 300_000);
});

for (const [what, reply] of [
  ['a success without proof', sasl('success', '')],
  ['another nonce', sasl('challenge', 'r=other,s=c2FsdA==,i=4096')],
  ['an unknown extension', sasl('challenge', 'm=x,r=other,s=c2FsdA==,i=4096')],
] as const) {
  test(`${what} is refused before the proof of the password is sent`, async (t) => {
    const at = await stage(t, [
      ...untilSecure(offer('SCRAM-SHA-256')),
      { expect: authElement, reply },
    ]);
    await ends(at, 'signal.server-unproven');
    assert.doesNotMatch(at.server.secure(), /<response/);
  });
}

for (const iterations of [1, 4_095, 1_000_001]) {
  test(`${iterations} iterations are refused`, async (t) => {
    const at = await stage(t, [...untilSecure(offer('SCRAM-SHA-1')), challenge(iterations)]);
    await ends(at, 'signal.server-unproven');
    assert.doesNotMatch(at.server.secure(), /<response/);
  });
}

test('PLAIN is never used', async (t) => {
  const at = await stage(t, untilSecure(offer('PLAIN', 'DIGEST-MD5', 'X-OAUTH2')));
  assert.match(await ends(at, 'signal.no-mechanism'), /PLAIN, DIGEST-MD5/);
  assert.doesNotMatch(at.server.secure(), /<auth/);
});

test('SHA-256 is preferred, whatever the order of the offer', async (t) => {
  const at = await stage(t, [
    ...untilSecure(offer('SCRAM-SHA-1', 'PLAIN', 'SCRAM-SHA-256')),
    { expect: authElement, reply: sasl('failure', '') },
  ]);
  await ends(at, 'signal.auth-failed');
  assert.match(at.server.secure(), /<auth [^>]*mechanism="SCRAM-SHA-256"/);
});

test('what was injected in clear behind the answer to STARTTLS is not believed', async (t) => {
  const [first, second, ...rest] = untilSecure(offer('SCRAM-SHA-256'));
  assert.ok(first && second);
  const injected = header + features(offer('PLAIN'));
  const at = await stage(t, [
    first,
    { ...second, reply: `<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>${injected}` },
    ...rest,
    { expect: authElement, reply: sasl('failure', '') },
  ]);
  await ends(at, 'signal.auth-failed');
  assert.match(at.server.secure(), /SCRAM-SHA-256/);
});

test('a redirection to another host is not followed', async (t) => {
  const other = await stage(t, []);
  const at = await stage(t, [
    {
      expect: /<stream:stream[^>]*>/,
      reply: `${header}<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>127.0.0.1:${other.server.port}</see-other-host></stream:error>`,
    },
  ]);
  const before = other.server.connections();
  assert.match(await ends(at, 'signal.disconnected'), /see-other-host/);
  assert.equal(other.server.connections(), before);
});

for (const [what, inner] of [
  ['an endless element', `<a>${'x'.repeat(70_000)}`],
  ['an illegal entity', '<a>&bogus;</a>'],
  ['a wrongly closed element', '<a></b>'],
] as const) {
  test(`${what} ends the stream`, async (t) => {
    const at = await stage(t, [{ expect: /<stream:stream[^>]*>/, reply: header + inner }]);
    await ends(at, 'signal.disconnected');
  });
}

test('STARTTLS to something that speaks no TLS is refused', async (t) => {
  const [first, second] = untilSecure('');
  assert.ok(first && second);
  const at = await stage(t, [
    first,
    { ...second, thenTls: false },
    { expect: /[\s\S]{100}/, reply: 'no TLS here' },
  ]);
  await ends(at, 'signal.no-tls');
});

test('a server that says nothing is given up in time, and does not delay the stop', async (t) => {
  const at = await stage(t, [{ expect: /never/, reply: '' }], { loginTimeoutMs: 300 });
  assert.match(await ends(at, 'signal.disconnected'), /no login .* within 300 ms/);
  const patient = await stage(t, [{ expect: /never/, reply: '' }]);
  await waitFor('the header came', () => patient.server.clear().includes('<stream:stream'));
  const started = performance.now();
  await patient.node.signal.stop();
  await assertWithin('the stop', performance.now() - started, 2_000);
  assert.equal(patient.node.events('signal.stateChanged').at(-1)?.state, 'stopped');
});
