/**
 * What an operator reads when the configuration is wrong: whole outputs, so that a change of a
 * word shows.
 */
import assert from 'node:assert/strict';
import { checkText, formatFinding } from '../../../config/check.ts';
import { suite } from '../../support/harness.ts';

const test = suite('config check');

/** A right configuration; each case replaces one piece of its text. */
const good = `{
  "Broker": { "Overlays": ["farm", "barn"] },
  "Signal": { "Overlays": {
    "farm": { "HostAddress": "xmpp.example", "Username": "a@example", "PasswordFile": "p" },
    "barn": { "HostAddress": "192.0.2.1", "Username": "a@example", "PasswordEnv": "P" }
  } },
  "LinkManager": { "Stun": ["stun.example"], "Turn": [] },
  "BridgeController": { "Overlays": {
    "farm": { "NetDevice": { "IP4": "10.1.0.1", "PrefixLen": 16, "MTU": 1400 } },
    "barn": { "NetDevice": { "IP4": "10.2.0.1", "PrefixLen": 16 } }
  } }
}`;

const found = (text: string): readonly string[] =>
  checkText(text).findings.map((finding) => formatFinding('f', finding));

/** Title, what is replaced, by what, and all findings. */
const cases: readonly (readonly [string, string, string, readonly string[]])[] = [
  [
    'a comma too many',
    '"PasswordEnv": "P" }',
    '"PasswordEnv": "P", }',
    ['f:5:88: error: a comma before "}" is not allowed'],
  ],
  [
    'a comma that is missing',
    '"farm", "barn"',
    '"farm" "barn"',
    ['f:2:35: error: expected "," or "]", found "\\""'],
  ],
  [
    'a file that ends early',
    '    "barn": { "NetDevice": { "IP4": "10.2.0.1", "PrefixLen": 16 } }\n  } }\n}',
    '',
    ['f:10:1: error: expected a key in double quotes, found the end of the file'],
  ],
  [
    'a text without quotes, which may be a password and is not shown',
    '"PasswordFile": "p"',
    '"Password": hunter2',
    ['f:4:83: error: not a JSON value: texts need double quotes'],
  ],
  [
    'a comment',
    '"Broker"',
    '// node\n"Broker"',
    ['f:2:3: error: comments are not allowed in JSON'],
  ],
  [
    'a key that stands twice',
    '"MTU": 1400',
    '"MTU": 1400, "MTU": 1500',
    ['f:9:79: error: BridgeController.Overlays.farm.NetDevice.MTU: key stands twice'],
  ],
  [
    'a mistyped key, which leaves another one missing',
    '"HostAddress": "xmpp.example"',
    '"HostAdress": "xmpp.example"',
    [
      'f:4:5: error: Signal.Overlays.farm.HostAddress: is missing',
      'f:4:15: error: Signal.Overlays.farm.HostAdress: unknown key; did you mean "HostAddress"?',
    ],
  ],
  [
    'a key like no other',
    '"Stun"',
    '"Zebra"',
    [
      'f:7:20: error: LinkManager.Zebra: unknown key; known here: Stun, Turn, IgnoredNetInterfaces, Overlays',
    ],
  ],
  [
    'a key of the original Evio',
    '"Broker": {',
    '"Broker": { "Controllers": {},',
    ['f:2:15: error: Broker.Controllers: has no meaning here: the modules are built in'],
  ],
  [
    'a key of the original Evio that has a successor',
    '"LinkManager"',
    '"Topology": { "Overlays": { "farm": { "MaxSuccessors": 2 } } }, "LinkManager"',
    ['f:7:41: error: Topology.Overlays.farm.MaxSuccessors: is replaced by MinSuccessors'],
  ],
  [
    'a topology that cannot be',
    '"LinkManager"',
    '"Topology": { "MaxConcurrentOps": 0, "Overlays": { "farm": { "Role": "hub", "DemandThreshold": "ten", "StaticEdges": ["x"] } } }, "LinkManager"',
    [
      'f:7:37: error: Topology.MaxConcurrentOps is 0: must be at least 1',
      'f:7:72: error: Topology.Overlays.farm.Role is "hub": must be "Switch" or "Leaf"',
      'f:7:98: error: Topology.Overlays.farm.DemandThreshold is "ten": must be a number of bytes, as "10M"',
      'f:7:121: error: Topology.Overlays.farm.StaticEdges[0] is "x": must be 32 lower-case hex digits',
    ],
  ],
  [
    'a leaf with more than one uplink',
    '"LinkManager"',
    '"Topology": { "Overlays": { "farm": { "Role": "Leaf", "MinSuccessors": 3 } } }, "LinkManager"',
    [
      'f:7:57: error: Topology.Overlays.farm.MinSuccessors: is only for Role "Switch": a leaf has its static links or one uplink',
    ],
  ],
  [
    'a provider that there is not',
    '"IP4": "10.2.0.1"',
    '"BridgeProvider": "XDP", "IP4": "10.2.0.1"',
    [
      'f:10:48: error: BridgeController.Overlays.barn.NetDevice.BridgeProvider is "XDP": must be "LXBR", "OVS" or "VNIC"',
    ],
  ],
  [
    'a switch protocol that is built in',
    '"IP4": "10.2.0.1"',
    '"SwitchProtocol": "BF", "IP4": "10.2.0.1"',
    [
      'f:10:48: error: BridgeController.Overlays.barn.NetDevice.SwitchProtocol is "BF": must be "none" or "STP": "BF" (bounded flood) is built in and needs no setting',
    ],
  ],
  [
    'a datapath without Open vSwitch',
    '"IP4": "10.2.0.1"',
    '"DatapathType": "netdev", "IP4": "10.2.0.1"',
    [
      'f:10:46: error: BridgeController.Overlays.barn.NetDevice.DatapathType is "netdev": is only for BridgeProvider "OVS"',
    ],
  ],
  [
    'an address beside a bridge for applications',
    '"IP4": "10.2.0.1", "PrefixLen": 16 }',
    '"IP4": "10.2.0.1", "PrefixLen": 16 }, "AppBridge": {}',
    [
      'f:10:30: error: BridgeController.Overlays.barn.NetDevice.IP4: belongs to AppBridge, which holds the address of this host',
    ],
  ],
  [
    'a bridge for applications of another provider, in a subnet of another overlay',
    '"NetDevice": { "IP4": "10.2.0.1", "PrefixLen": 16 }',
    '"AppBridge": { "BridgeProvider": "OVS", "IP4": "10.1.0.2", "PrefixLen": 16 }',
    [
      'f:10:48: error: BridgeController.Overlays.barn.AppBridge.BridgeProvider is "OVS": must be that of NetDevice, "LXBR"',
      'f:10:62: error: BridgeController.Overlays.barn.AppBridge.IP4 is "10.1.0.2": is in a subnet that overlaps the one of overlay "farm"',
    ],
  ],
  [
    'a bridge for applications, and a spanning tree, without a bridge',
    '"IP4": "10.2.0.1", "PrefixLen": 16 }',
    '"BridgeProvider": "VNIC", "SwitchProtocol": "STP" }, "AppBridge": {}',
    [
      'f:10:74: error: BridgeController.Overlays.barn.NetDevice.SwitchProtocol is "STP": needs a bridge: BridgeProvider is "VNIC"',
      'f:10:83: error: BridgeController.Overlays.barn.AppBridge: needs a bridge to be patched to: NetDevice.BridgeProvider is "VNIC"',
    ],
  ],
  [
    'a wrong type',
    '"192.0.2.1"',
    '17',
    ['f:5:30: error: Signal.Overlays.barn.HostAddress is 17: must be a text'],
  ],
  [
    'a section that is no object',
    '{ "Stun": ["stun.example"], "Turn": [] }',
    '[]',
    ['f:7:18: error: LinkManager is an array: must be an object'],
  ],
  [
    'a number out of range',
    '1400',
    '9001',
    ['f:9:73: error: BridgeController.Overlays.farm.NetDevice.MTU is 9001: must be at most 9000'],
  ],
  [
    'a number with a fraction',
    '1400',
    '1400.5',
    [
      'f:9:73: error: BridgeController.Overlays.farm.NetDevice.MTU is 1400.5: must be a whole number',
    ],
  ],
  [
    'a port as text that is none',
    '"Username": "a@example", "PasswordEnv"',
    '"Port": "99999", "Username": "a@example", "PasswordEnv"',
    ['f:5:51: error: Signal.Overlays.barn.Port is "99999": must be a port number, 1 to 65535'],
  ],
  [
    'an account with a resource',
    '"a@example", "PasswordFile"',
    '"a@example/x", "PasswordFile"',
    [
      'f:4:58: error: Signal.Overlays.farm.Username is "a@example/x": must be a bare JID, account@domain, without resource',
    ],
  ],
  [
    'no password',
    ', "PasswordFile": "p"',
    '',
    [
      'f:4:13: error: Signal.Overlays.farm: needs one of Password, PasswordFile, PasswordEnv, PasswordCredential',
    ],
  ],
  [
    'two passwords, neither shown',
    '"PasswordFile": "p"',
    '"PasswordFile": "p", "Password": "hunter2"',
    [
      'f:4:71: error: Signal.Overlays.farm.PasswordFile: is one password too many: Password is given too',
    ],
  ],
  [
    'a password of a wrong type, not shown',
    '"PasswordFile": "p"',
    '"Password": 12345',
    ['f:4:83: error: Signal.Overlays.farm.Password: must be a text'],
  ],
  [
    'a certificate login without its files',
    '"PasswordEnv": "P"',
    '"AuthenticationMethod": "x509"',
    [
      'f:5:13: error: Signal.Overlays.barn: needs CertFile for AuthenticationMethod "x509"',
      'f:5:13: error: Signal.Overlays.barn: needs KeyFile for AuthenticationMethod "x509"',
    ],
  ],
  [
    'an overlay without signalling',
    '"farm", "barn"]',
    '"farm", "barn", "field"]',
    ['f:2:44: error: Broker.Overlays[2] is "field": has no entry in Signal.Overlays'],
  ],
  [
    'an overlay that is not joined',
    '"LinkManager"',
    '"Trust": { "Overlays": { "fram": {} } }, "LinkManager"',
    ['f:7:28: error: Trust.Overlays.fram: is not in Broker.Overlays; did you mean "farm"?'],
  ],
  [
    'a STUN server that is none',
    '"stun.example"',
    '"2001:db8::1:3478"',
    [
      'f:7:29: error: LinkManager.Stun[0] is "2001:db8::1:3478": must be "host:port", "host" (port 3478) or "[IPv6]:port"',
    ],
  ],
  [
    'a TURN server without user and password',
    '"Turn": []',
    '"Turn": [{ "Address": "turn.example" }]',
    [
      'f:7:55: error: LinkManager.Turn[0].User: is missing',
      'f:7:55: error: LinkManager.Turn[0]: needs one of Password, PasswordFile, PasswordEnv, PasswordCredential',
    ],
  ],
  [
    'an address without prefix',
    ', "PrefixLen": 16 }',
    ' }',
    [
      'f:10:37: error: BridgeController.Overlays.barn.NetDevice.IP4 is "10.2.0.1": needs PrefixLen beside it',
    ],
  ],
  [
    'the network address',
    '10.1.0.1',
    '10.1.0.0',
    [
      'f:9:37: error: BridgeController.Overlays.farm.NetDevice.IP4 is "10.1.0.0": is the network address of its /16, not of a host',
    ],
  ],
  [
    'the broadcast address',
    '10.1.0.1',
    '10.1.255.255',
    [
      'f:9:37: error: BridgeController.Overlays.farm.NetDevice.IP4 is "10.1.255.255": is the broadcast address of its /16, not of a host',
    ],
  ],
  [
    'overlays whose subnets overlap',
    '10.2.0.1',
    '10.1.200.1',
    [
      'f:10:37: error: BridgeController.Overlays.barn.NetDevice.IP4 is "10.1.200.1": is in a subnet that overlaps the one of overlay "farm"',
    ],
  ],
  [
    'an MTU that is too small for IPv6',
    '"MTU": 1400',
    '"MTU": 1279, "IP6": "fd00::1", "PrefixLen6": 64',
    [
      'f:9:73: error: BridgeController.Overlays.farm.NetDevice.MTU is 1279: is below 1280, which IPv6 needs',
    ],
  ],
  [
    'policy ca without what it rests on',
    '"LinkManager"',
    '"Trust": { "Overlays": { "farm": { "Policy": "ca", "CaFile": "ca.pem" } } }, "LinkManager"',
    ['f:7:36: error: Trust.Overlays.farm: needs CertFile for Policy "ca"'],
  ],
  [
    'files of a CA for policy roster',
    '"LinkManager"',
    '"Trust": { "Overlays": { "farm": { "CaFile": "ca.pem", "CrlFile": "crl.pem" } } }, "LinkManager"',
    [
      'f:7:38: error: Trust.Overlays.farm.CaFile: is only for Policy "ca"',
      'f:7:58: error: Trust.Overlays.farm.CrlFile: is only for Policy "ca"',
    ],
  ],
  [
    'a policy that does not exist',
    '"LinkManager"',
    '"Trust": { "Overlays": { "farm": { "Policy": "CA" } } }, "LinkManager"',
    ['f:7:48: error: Trust.Overlays.farm.Policy is "CA": must be "roster" or "ca"'],
  ],
  [
    'several mistakes at once, in the order of the lines',
    '"Broker": { "Overlays": ["farm", "barn"] }',
    '"Broker": { "Overlays": ["farm", "barn", "barn"], "LogLevel": "loud", "RunDirectory": "run" }',
    [
      'f:2:44: error: Broker.Overlays[2] is "barn": stands twice',
      'f:2:65: error: Broker.LogLevel is "loud": must be "debug", "info", "warn" or "error"',
      'f:2:89: error: Broker.RunDirectory is "run": must be an absolute path',
    ],
  ],
];

test('the configuration that the cases start from is right', () => {
  assert.deepEqual(found(good), []);
});

for (const [title, from, to, expected] of cases) {
  test(title, () => {
    assert.ok(good.includes(from), 'the case replaces something');
    assert.deepEqual(found(good.replace(from, to)), expected);
  });
}

test('a finding of a name that holds control characters shows none of them', () => {
  const [line = ''] = found('{ "\\u001b[2J": 1, "Broker": {"Overlays": ["a"]} }');
  assert.doesNotMatch(line, /\p{Cc}/u);
});
