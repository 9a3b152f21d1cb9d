/**
 * The controller's decoders over mutated corpora: envelopes and announcements, presences, messages,
 * rosters and services of an XMPP server, SCRAM, configuration, the local API's socket.
 */
import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { Secret } from '../../base/secret.ts';
import { checkText } from '../../config/check.ts';
import { Bus } from '../../controller/bus.ts';
import { createLocalApi } from '../../controller/local-api/index.ts';
import { readServices } from '../../controller/signal/core/external-services.ts';
import { parseJid } from '../../controller/signal/core/jid.ts';
import { isRosterPush, readRoster } from '../../controller/signal/core/roster.ts';
import { clientNamespace, element, type Stanza } from '../../controller/signal/core/stanza.ts';
import { Members } from '../../controller/signal/members.ts';
import { startScram } from '../../controller/signal/scram.ts';
import { answerTo, decodePayload } from '../../controller/signal/stanzas-out.ts';
import { fuzz, fuzzSeconds } from '../support/fuzz.ts';
import { suite, type T } from '../support/harness.ts';
import { makeAuthority } from '../support/identities.ts';
import { noPods, noTrust, sampleRing, sampleStatus } from '../support/sample-status.ts';

const test = suite('fuzz: controller');
const seconds = fuzzSeconds(1);
const limitMs = seconds * 4_000 + 30_000;
const lab = OverlayId.parse('lab');
const place = { overlay: lab, jid: 'alice@lab.test/x', account: 'alice@lab.test' };

test(
  'envelopes: nothing that nobody signed is believed',
  async (t) => {
    const [alice, bob] = [await makeAuthority(t), await makeAuthority(t)];
    bob.authority.admit(alice.authority.announce(lab, place.jid, 'alice'), place);
    await fuzz({ target: 'envelope', seconds }, (input) => {
      const text = input.toString('latin1');
      assert.equal(bob.authority.open(lab, alice.identity.node, text).kind, 'refused');
      assert.equal(bob.authority.admit(text, place).kind, 'refused');
      decodePayload(text);
    });
  },
  limitMs,
);

test(
  'bodies with a right signature: still checked, whatever they say',
  async (t) => {
    const [alice, bob] = [await makeAuthority(t), await makeAuthority(t)];
    bob.authority.admit(alice.authority.announce(lab, place.jid, 'alice'), place);
    const seal = (context: string, bytes: Buffer): string => {
      const key = { key: alice.identity.privateKey, dsaEncoding: 'ieee-p1363' as const };
      const signature = sign('sha256', Buffer.concat([Buffer.from(context), bytes]), key);
      return JSON.stringify({
        body: bytes.toString('base64'),
        signature: signature.toString('base64'),
      });
    };
    await fuzz({ target: 'body', seconds }, (input) => {
      const opened = bob.authority.open(
        lab,
        alice.identity.node,
        seal('evio peer message 1\0', input),
      );
      assert.equal(opened.kind, 'refused'); // the addresses inside are not bob's
      bob.authority.admit(seal('evio announcement 1\0', input), place);
    });
  },
  limitMs,
);

/** Lines: name, from, type, namespace and name of the child, its text, its items. */
function stanzaOf(input: Buffer): Stanza {
  const [name = '', from = '', type = '', namespace = '', child = '', text = '', ...items] = input
    .toString('latin1')
    .split('\n');
  const children = items.slice(0, 5_000).map((line) => {
    const [kind = '', ...f] = line.split(':');
    const [one = '', two = '', port = '', transport = '', ...rest] = f;
    const attributes = {
      jid: one,
      subscription: two,
      type: one,
      host: two,
      port,
      transport,
      username: 'u',
      password: 'p',
      expires: rest.join(':'),
    };
    return element(kind, namespace, attributes, element('group', namespace, {}, two));
  });
  const attributes = {
    ...(from === '' ? {} : { from }),
    ...(type === '' ? {} : { type }),
    id: from,
  };
  return element(
    name,
    clientNamespace,
    attributes,
    element(child, namespace, {}, text, ...children),
  );
}

test(
  'stanzas of anybody: screened, bounded, never more than counted',
  async (t) => {
    const { clock, identity, authority } = await makeAuthority(t);
    const account = parseJid('me@lab.test');
    assert.ok(account);
    const config = {
      overlay: lab,
      host: 'h',
      port: 1,
      tls: 'starttls' as const,
      username: 'me@lab.test',
      password: null,
      clientCertificate: null,
      caPem: null,
      rosterGroup: null,
      nodeName: 'me',
      leaf: false,
      addresses: [],
    };
    const deps = {
      port: new Bus(silentLogger).port('signal'),
      clock: { ...clock, now: () => clock.wallMs },
      random: () => 0.5,
      log: silentLogger,
      self: identity.node,
      authority,
      overlays: [config],
    };
    const members = new Members(config, account, deps, silentLogger, () => {});
    const roster = ['bob@lab.test', 'carol@lab.test'].map((a) => ({ account: a, member: true }));
    members.advance({ kind: 'online', jid: 'me@lab.test/x', roster });
    await fuzz({ target: 'stanza', seconds: seconds * 2 }, (input) => {
      const stanza = stanzaOf(input);
      members.receivePresence(stanza);
      members.receiveMessage(stanza);
      isRosterPush(stanza, 'me@lab.test');
      answerTo(stanza, false);
      const items = readRoster(stanza, null);
      if (items.length > 0) members.advance({ kind: 'roster-changed', items: items.slice(0, 3) });
      const { stun, turn, refreshInMs } = readServices(stanza, 1_764_000_000_000);
      assert.ok(stun.length <= 8 && turn.length <= 8 && refreshInMs >= 30_000);
      assert.equal(members.state.peers.size, 0);
    });
  },
  limitMs,
);

test(
  'SCRAM: a server without the password proves nothing',
  async () => {
    await fuzz({ target: 'scram', seconds, limitMs: 5_000 }, async (input) => {
      const text = input.toString('latin1');
      const exchange = startScram('sha256', 'user', new Secret('pencil'), 'clientnonce');
      try {
        await exchange.final(text);
      } finally {
        assert.throws(() => exchange.verify(text));
      }
    });
  },
  limitMs,
);

test(
  'configuration text: findings, never a crash',
  async () => {
    await fuzz({ target: 'config', seconds }, (input) => {
      const { findings } = checkText(input.toString());
      for (const finding of findings) assert.ok(finding.message.length < 10_000);
    });
  },
  limitMs,
);

test(
  'the local API answers or drops whatever is written to its socket',
  async (t: T) => {
    const runDirectory = join(mkdtempSync(join(tmpdir(), 'evio-fuzz-api-')), 'run');
    t.defer(() => rmSync(join(runDirectory, '..'), { recursive: true }));
    const api = await createLocalApi(
      {
        status: () => sampleStatus,
        tap: () => {},
        version: '1',
        trust: noTrust,
        ring: sampleRing,
        cni: noPods,
      },
      { runDirectory, clock: systemClock, log: silentLogger },
    );
    t.defer(() => api.close());
    const ask = async (bytes: Buffer): Promise<string> => {
      const socket = connect(api.socketPath);
      let answer = '';
      socket.on('data', (data: Buffer) => {
        answer += data.toString();
        if (answer.includes('x-ndjson')) socket.destroy(); // a watch has no end
      });
      socket.on('error', () => {}); // it may be dropped while we write
      socket.end(bytes);
      await once(socket, 'close');
      return answer;
    };
    await fuzz(
      { target: 'local-api', seconds, limitMs: 9_000 },
      async (input) => void (await ask(input)),
    );
    const good = await ask(
      Buffer.from('GET /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
    );
    assert.match(good, /200 OK[\s\S]*"version":"1"/);
  },
  limitMs,
);
