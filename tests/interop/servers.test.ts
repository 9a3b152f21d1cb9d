/**
 * Certifies the servers of the lab by programs that are not ours: openssl for TLS and the offered
 * login mechanisms, coturn's own clients for STUN and TURN. All on loopback of the host.
 */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { join } from 'node:path';
import { createCa } from '../support/ca.ts';
import { startCoturn } from '../support/coturn.ts';
import { startEjabberd } from '../support/ejabberd.ts';
import { suite } from '../support/harness.ts';
import { needsProgram } from '../support/needs.ts';
import { createLab, type Lab } from '../support/netns.ts';
import { startProsody } from '../support/prosody.ts';
import { waitFor } from '../support/scope.ts';

const test = suite('servers of the lab');
const header = (domain: string): string =>
  `<stream:stream to='${domain}' version='1.0' xmlns='jabber:client' ` +
  `xmlns:stream='http://etherx.jabber.org/streams'>`;

interface Server {
  readonly port: number;
  readonly directTlsPort: number;
  readonly domain: string;
}

/** What openssl reads after STARTTLS and a stream header; throws when the chain is not trusted. */
function starttls(lab: Lab, server: Server, caFile: string): Promise<string> {
  const { port, domain } = server;
  return openssl(lab, caFile, domain, port, ['-starttls', 'xmpp', '-xmpphost', domain]);
}

async function openssl(
  lab: Lab,
  caFile: string,
  domain: string,
  port: number,
  more: readonly string[],
): Promise<string> {
  const verify = ['-verify_return_error', '-CAfile', caFile, '-verify_hostname', domain];
  const argv = ['openssl', 's_client', '-connect', `127.0.0.1:${port}`, '-ign_eof', ...verify];
  const client = lab.spawn('', [...argv, ...more], { input: header(domain) });
  const done = (): boolean => client.log().includes('</stream:features>');
  await waitFor('stream features', () => done() || client.exit !== undefined);
  client.kill('SIGTERM');
  if (!done()) throw new Error(client.log());
  return client.log();
}

test.unless(
  needsProgram('prosody'),
  'Prosody offers STARTTLS and direct TLS with our CA, then SCRAM; a foreign CA is refused',
  async (t) => {
    const lab = await createLab(t);
    const ca = await createCa(join(lab.folder, 'ca'));
    const other = await createCa(join(lab.folder, 'other'));
    const prosody = await startProsody(lab, { ca, users: { alice: 'pw' }, scram: 'SHA-256' });
    const seen = await starttls(lab, prosody, ca.certFile);
    assert.match(seen, /Verify return code: 0 \(ok\)/);
    assert.match(seen, /<mechanism>SCRAM-SHA-256<\/mechanism>/);
    assert.match(
      await openssl(lab, ca.certFile, prosody.domain, prosody.directTlsPort, []),
      /Verify return code: 0 \(ok\)/,
    );
    await assert.rejects(starttls(lab, prosody, other.certFile), /verify error/);
    await prosody.restart();
    await starttls(lab, prosody, ca.certFile);
    await prosody.kill('SIGKILL');
    await prosody.start();
    await starttls(lab, prosody, ca.certFile);
  },
  20_000,
);

test.unless(
  needsProgram('prosody'),
  'Prosody without TLS, or with a certificate for another domain, is what its options say',
  async (t) => {
    const lab = await createLab(t);
    const ca = await createCa(join(lab.folder, 'ca'));
    const wrong = await startProsody(lab, { ca, certificateNames: ['other.test'] });
    await assert.rejects(starttls(lab, wrong, ca.certFile), /ostname mismatch/);
    const plain = await startProsody(lab, { users: { alice: 'pw' } });
    // shut-none: a half-closed stream is one that Prosody ends.
    const to = `TCP:127.0.0.1:${plain.port},shut-none`;
    const client = lab.spawn('', ['socat', '-t5', '-', to], { input: header(plain.domain) });
    await client.waitLog('</stream:features>');
    assert.match(client.log(), /<mechanism>/);
    assert.doesNotMatch(client.log(), /starttls/);
  },
  20_000,
);

test.unless(
  needsProgram('ejabberdctl'),
  'ejabberd offers STARTTLS with our CA, and changes groups while it runs',
  async (t) => {
    const lab = await createLab(t);
    const ca = await createCa(join(lab.folder, 'ca'));
    const users = { alice: 'pw', bob: 'pw' };
    const ejabberd = await startEjabberd(lab, { ca, users, groups: { lab: ['alice'] } });
    const seen = await starttls(lab, ejabberd, ca.certFile);
    assert.match(seen, /Verify return code: 0 \(ok\)/);
    assert.match(seen, /<mechanism>SCRAM-SHA-256<\/mechanism>/);
    const members = (): Promise<string> =>
      ejabberd.api('srg_get_members', { group: 'lab', host: ejabberd.domain });
    await ejabberd.addMember('lab', 'bob');
    assert.match(await members(), /alice@lab\.test.*bob@lab\.test/s);
    await ejabberd.removeMember('lab', 'alice');
    assert.doesNotMatch(await members(), /alice/);
  },
  40_000,
);

test.unless(
  needsProgram('turnserver'),
  'coturn relays with a static user, and with credentials of a shared secret',
  async (t) => {
    const lab = await createLab(t);
    const fixed = await startCoturn(lab, { users: { u: 'p' }, allowLoopbackPeers: true });
    await relay(lab, fixed.port, 'u', 'p');
    await assert.rejects(relay(lab, fixed.port, 'u', 'wrong', 3));
    const timed = await startCoturn(lab, { sharedSecret: 'secret', allowLoopbackPeers: true });
    // draft-uberti-behave-turn-rest: the user name is the expiry, the password its HMAC.
    const user = String(Math.floor(Date.now() / 1000) + 600);
    const password = createHmac('sha1', 'secret').update(user).digest('base64');
    await relay(lab, timed.port, user, password);
    await assert.rejects(relay(lab, timed.port, user, 'wrong', 3));
  },
  40_000,
);

/** Two clients of coturn's own send to each other through the relay. */
async function relay(
  lab: Lab,
  port: number,
  user: string,
  password: string,
  limitS = 15,
): Promise<void> {
  const credentials = ['-u', user, '-w', password];
  const argv = ['turnutils_uclient', '-y', '-n', '4', '-p', String(port), ...credentials];
  const report = await lab.exec('', ['timeout', `${limitS}`, ...argv, '127.0.0.1'], {
    timeoutMs: 20_000,
  });
  assert.match(report, /Total lost packets 0/, report);
}
