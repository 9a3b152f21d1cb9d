/**
 * The table of the original Evio's keys says nothing that the schema contradicts.
 */
import assert from 'node:assert/strict';
import { checkText } from '../../../config/check.ts';
import { evioKeys } from '../../../config/evio-keys.ts';
import { suite } from '../../support/harness.ts';

const test = suite('config evio keys');

test('each key of the table is refused with its own text', () => {
  for (const { path, why } of evioKeys) {
    const parts = path.split('.').map((part) => (part === '*' ? 'farm' : part));
    const value = parts.reduceRight<unknown>((inner, part) => ({ [part]: inner }), 1);
    const found = checkText(JSON.stringify(value)).findings.find(
      (finding) => finding.path === parts.join('.'),
    );
    assert.equal(found?.message, why, path);
  }
});

test('the keys of a configuration of the original are all read or explained', () => {
  // The sections and keys that its documentation shows in examples.
  const original = {
    Broker: { Overlays: ['A0000001'], LogLevel: 'INFO', Controllers: {}, BrokerLogName: 'b.log' },
    Signal: {
      PresenceInterval: 30,
      Overlays: {
        A0000001: {
          HostAddress: 'xmpp.example',
          Port: '5222',
          AuthenticationMethod: 'PASSWORD',
          Username: 'a@example',
          Password: 'p',
        },
      },
    },
    Topology: { Overlays: { A0000001: { MinSuccessors: 2, MaxOnDemandEdges: 1 } } },
    LinkManager: {
      Stun: ['stun.example:3478'],
      Turn: [{ Address: 'turn.example:3478', User: 'u', Password: 'p' }],
      Overlays: { A0000001: { TapNamePrefix: 'tnl', IgnoredNetInterfaces: ['flannel.1'] } },
    },
    BridgeController: {
      BoundedFlood: {},
      Overlays: {
        A0000001: { NetDevice: { AutoDelete: true, BridgeProvider: 'OVS', SwitchProtocol: 'BF' } },
      },
    },
    UsageReport: { Enabled: false },
  };
  const findings = checkText(JSON.stringify(original)).findings;
  assert.ok(findings.length > 0);
  for (const { message } of findings) assert.doesNotMatch(message, /unknown key/);
});
